//! Who a client is, by its certificate.

use rustls_pki_types::CertificateDer;

use super::x509;

/// Who a client's certificate, verified against the client authorities, says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The subject as RFC 4514 writes it, e.g. `CN=orders,O=Example`, which Kafka takes as the principal's
    /// name.
    pub subject: String,
}

impl ClientIdentity {
    /// The identity in the first of the peer's verified certificates.
    pub(crate) fn of(certificates: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let facts = x509::read(certificates?.first()?)?;
        Some(Self { subject: facts.subject })
    }
}
