//! What a consumer says about itself when it joins: Kafka's `ConsumerProtocolSubscription`, of which the topics are read.
//!
//! | field | form |
//! |---|---|
//! | version | i16 |
//! | topics | i32: how many; strings with a 16-bit length |

use std::collections::BTreeSet;

use bytes::Buf;

use super::format::take_text;

/// The protocol type under which members say this.
pub(super) const CONSUMER_PROTOCOL: &str = "consumer";

/// The topics; `None` for what is none of it.
pub(super) fn topics(mut metadata: &[u8]) -> Option<BTreeSet<String>> {
    let metadata = &mut metadata;
    if metadata.try_get_i16().ok()? < 0 {
        return None;
    }
    let count = u32::try_from(metadata.try_get_i32().ok()?).ok()?;
    (0..count).map(|_| take_text(metadata)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_and_nothing_else_is_taken_for_them() {
        let metadata = b"\x00\x03\x00\x00\x00\x02\x00\x01a\x00\x02bc\xff\xff\xff\xff";
        assert_eq!(topics(metadata), Some(BTreeSet::from(["a".into(), "bc".into()])));
        for len in 0..13 {
            assert_eq!(topics(&metadata[..len]), None);
        }
        assert_eq!(topics(b"\x00\x03\x7f\xff\xff\xff\x00"), None);
    }
}
