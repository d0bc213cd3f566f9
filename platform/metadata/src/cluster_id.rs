//! Names for new clusters, made as Kafka makes them: 16 random bytes in URL-safe base64, 22 characters.

use millrace_base::Random;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub(crate) fn random(random: &Random) -> String {
    base64(random.uuid().into_bytes())
}

fn base64(bytes: [u8; 16]) -> String {
    let bits = u128::from_be_bytes(bytes);
    // 21 digits of 6 bits, and one of the last 2 bits followed by four zeroes.
    let digit = |i: u32| if i < 21 { bits >> (122 - 6 * i) } else { bits << 4 };
    (0..22).map(|i| char::from(ALPHABET[(digit(i) & 63) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_base64() {
        assert_eq!(base64([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(base64([255; 16]), "_____________________w");
        assert_eq!(base64(*b"sixteen bytes!!!"), "c2l4dGVlbiBieXRlcyEhIQ");
        assert_eq!(random(&Random::seeded(1)), random(&Random::seeded(1)));
        assert_ne!(random(&Random::system()), random(&Random::system()));
    }
}
