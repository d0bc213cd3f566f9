//! AWS Signature Version 4, for requests without a query.

use hmac::{Hmac, Mac};
use millrace_plugin::clock::Utc;
use millrace_plugin::http::Request;
use sha2::{Digest, Sha256};

/// Who signs, and for where.
pub(crate) struct Signer {
    pub host: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
}

// Credentials appear in no log.
impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Signer").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Signer {
    /// The request with the headers that prove who sent it.
    pub(crate) fn sign(&self, request: Request, path: &str, now_ms: i64) -> Request {
        let time = Utc::from_ms(now_ms).basic();
        let date = &time[..8];
        let payload = hex(&Sha256::digest(&request.body));
        let request = request.header("x-amz-content-sha256", &payload).header("x-amz-date", &time);

        let mut headers: Vec<(String, &str)> =
            request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect();
        headers.push(("host".to_owned(), &self.host));
        headers.sort();
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");

        let canonical = format!("{}\n{path}\n\n{lines}\n{names}\n{payload}", request.method);
        let scope = format!("{date}/{}/s3/aws4_request", self.region);
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let mut key = hmac(format!("AWS4{}", self.secret_key).as_bytes(), date);
        for part in [self.region.as_str(), "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        let signature = hex(&hmac(&key, &to_sign));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            self.access_key
        );
        request.header("authorization", authorization)
    }
}

/// Bucket and key as a path, everything but letters, digits and `-._~/` percent-encoded.
pub(crate) fn path(bucket: &str, key: &str) -> String {
    let mut path = String::new();
    for byte in format!("/{bucket}/{key}").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
