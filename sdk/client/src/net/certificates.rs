//! Connections that fail over a certificate, in words that say whose and why.
//!
//! With TLS 1.3 a client is through with the handshake before the broker has looked at its certificate, so that the
//! broker's refusal is what the first read of the connection fails with.

use std::error::Error;
use std::io;

use quinn::{ConnectionError, TransportErrorCode};
use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// Begins the text with which rustls refuses a certificate; QUIC has no more of it than the text.
const REFUSED: &str = "invalid peer certificate: ";

/// What is wrong with which certificate, if that is why a connection failed.
pub(crate) fn trouble(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let found = if let Some(tls) = error.downcast_ref::<TlsError>() {
            in_tls(tls)
        } else if let Some(quic) = error.downcast_ref::<ConnectionError>() {
            in_quic(quic)
        } else {
            None
        };
        if found.is_some() {
            return found;
        }
        cause = match error.downcast_ref::<io::Error>() {
            // What such an error was made of, and not that one's own cause.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn in_tls(error: &TlsError) -> Option<String> {
    match error {
        TlsError::InvalidCertificate(error) => Some(of_the_broker(error)),
        TlsError::AlertReceived(alert) => of_the_client(*alert),
        _ => None,
    }
}

fn in_quic(error: &ConnectionError) -> Option<String> {
    match error {
        ConnectionError::TransportError(error) => error
            .reason
            .strip_prefix(REFUSED)
            .map(|why| in_words(why, "the broker's certificate is not accepted")),
        ConnectionError::ConnectionClosed(close) => of_the_client(alert(close.error_code)?),
        _ => None,
    }
}

/// The alert within a code of QUIC's (RFC 9001, 4.8).
fn alert(code: TransportErrorCode) -> Option<AlertDescription> {
    let code = u64::from(code).checked_sub(0x100)?;
    u8::try_from(code).ok().map(AlertDescription::from)
}

fn of_the_broker(error: &CertificateError) -> String {
    in_words(&error.to_string(), "the broker's certificate is not accepted")
}

/// `said` by rustls, after `what`, with a hint where one helps.
fn in_words(said: &str, what: &str) -> String {
    let hint = if ["UnknownIssuer", "BadSignature"].iter().any(|name| said.starts_with(name)) {
        "the authority that is trusted has not signed it"
    } else if said.starts_with("Expired") || said.starts_with("certificate expired") {
        "it has expired, or a clock is wrong"
    } else {
        return format!("{what}: {said}");
    };
    format!("{what}: {hint} ({said})")
}

fn of_the_client(alert: AlertDescription) -> Option<String> {
    match alert {
        AlertDescription::CertificateRequired => {
            Some("the broker asks for a certificate of the client, and none was given".to_owned())
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => {
            Some(format!("the broker does not accept the client's certificate ({alert:?})"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_at_fault_is_found_below_other_errors() {
        let wrapped = |error: TlsError| trouble(&io::Error::other(io::Error::other(error)));
        let unknown = wrapped(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)).unwrap();
        assert!(unknown.starts_with("the broker's certificate is not accepted: the authority"), "{unknown}");
        let expired = wrapped(TlsError::InvalidCertificate(CertificateError::Expired)).unwrap();
        assert!(expired.contains("it has expired"), "{expired}");
        let required = wrapped(TlsError::AlertReceived(AlertDescription::CertificateRequired)).unwrap();
        assert!(required.contains("asks for a certificate of the client"), "{required}");
        assert_eq!(wrapped(TlsError::DecryptError), None);
        assert_eq!(wrapped(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)), None);
        assert_eq!(trouble(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
    }
}
