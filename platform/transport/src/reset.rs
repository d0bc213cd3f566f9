//! Stateless resets (RFC 9000, section 10.3) that clients of the process before believe.
//!
//! A broker that was killed knows nothing of its connections when it is back. It can only answer their
//! packets with a reset, and a client believes that if it carries the token which the connection began with.
//! Tokens and connection ids are made with keys that are the same after a restart, derived from the
//! certificate's private key; so clients connect again as soon as the broker is back. With keys of the
//! process's own they would notice only when nothing had come for the idle timeout.

use std::sync::Arc;

use quinn::EndpointConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn_proto::HashedConnectionIdGenerator;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::crypto::tls13::{Hkdf, OkmBlock};
use rustls_pki_types::PrivateKeyDer;

/// Separates this use of the private key from every other.
const PURPOSE: &[u8] = b"millrace quic stateless reset 1";

const SIGNATURE_LEN: usize = 32;

/// Signs connection ids; the signature's start is the reset token.
#[derive(Clone)]
pub(crate) struct ResetKey {
    hkdf: &'static dyn Hkdf,
    key: Arc<OkmBlock>,
}

impl ResetKey {
    pub(crate) fn derive(private: &PrivateKeyDer<'_>) -> Self {
        let hkdf = cipher_suite::TLS13_AES_128_GCM_SHA256
            .tls13()
            .expect("a suite of TLS 1.3, as its name says")
            .hkdf_provider;
        let key = hkdf.extract_from_secret(None, private.secret_der()).expand_block(&[PURPOSE]);
        Self { hkdf, key: Arc::new(key) }
    }

    pub(crate) fn install(self, config: &mut EndpointConfig) {
        let ids = self.id_key();
        config.reset_key(Arc::new(self));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    }

    /// Connection ids prove that they are a broker's own by a hash with this key; what does not is garbage,
    /// and is not worth a reset.
    fn id_key(&self) -> u64 {
        let signature = self.hkdf.hmac_sign(&self.key, b"connection ids");
        signature.as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        signature.copy_from_slice(self.hkdf.hmac_sign(&self.key, data).as_ref());
    }

    fn signature_len(&self) -> usize {
        SIGNATURE_LEN
    }

    /// Not for secrets' sake: quinn verifies only what it has signed itself.
    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        if self.hkdf.hmac_sign(&self.key, data).as_ref() == signature { Ok(()) } else { Err(CryptoError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &[u8]) -> ResetKey {
        ResetKey::derive(&PrivateKeyDer::Pkcs8(secret.to_vec().into()))
    }

    fn signature(key: &ResetKey) -> [u8; SIGNATURE_LEN] {
        let mut signature = [0; SIGNATURE_LEN];
        key.sign(b"an id", &mut signature);
        signature
    }

    #[test]
    fn the_same_certificate_makes_the_same_keys() {
        assert_eq!(signature(&key(b"one")), signature(&key(b"one")));
        assert_ne!(signature(&key(b"one")), signature(&key(b"two")));
        assert_eq!(key(b"one").id_key(), key(b"one").id_key());
        assert_ne!(key(b"one").id_key(), key(b"two").id_key());
        assert!(key(b"one").verify(b"an id", &signature(&key(b"one"))).is_ok());
    }
}
