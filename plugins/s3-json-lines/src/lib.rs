//! A sink that puts batches as JSON Lines objects into S3-compatible storage.
//!
//! | setting | meaning |
//! |---|---|
//! | `endpoint` | `https://s3.eu-central-1.amazonaws.com`, `http://minio:9000` |
//! | `bucket`, `region` | the bucket and its region; `us-east-1` if no region is named |
//! | `prefix` | what the objects' keys begin with; nothing if absent |
//! | `format` | `value`: each line is a record's value, which must be JSON; `record`, the default: each line is an object with the record's offset, time, key, headers and value |
//! | `access-key-secret`, `secret-key-secret` | names of the secrets that hold the credentials; `s3-access-key` and `s3-secret-key` if absent |
//! | `timeout-ms` | how long to wait for the storage; 30000 if absent |
//!
//! An object's key is `<prefix><topic>/<partition>/<first offset>-<last offset>.jsonl`, the offsets with 20
//! digits: a batch that comes again overwrites its own object, and keys sort as offsets do.

mod lines;
mod sign;

use std::time::Duration;

use millrace_plugin::http::{Request, split_url};
use millrace_plugin::{Batch, Context, DeliveryError, Error, Result, Sink, clock, secrets};

use lines::Format;
use sign::Signer;

/// The bucket and the form of what goes there.
#[derive(Debug)]
pub struct S3JsonLines {
    endpoint: String,
    bucket: String,
    key_prefix: String,
    format: Format,
    signer: Signer,
    timeout: Duration,
}

#[millrace_plugin::sink]
impl Sink for S3JsonLines {
    fn start(context: &Context) -> Result<Self> {
        let endpoint = context.require("endpoint")?.trim_end_matches('/').to_owned();
        let (_, authority, path) = split_url(&endpoint)?;
        if path != "/" {
            return Err(Error::new(format!(
                "the setting `endpoint` is `{endpoint}`; expected no path in it"
            )));
        }
        let secret = |setting: &str, default| secrets::require(context.get(setting).unwrap_or(default));
        let signer = Signer {
            host: authority.to_owned(),
            region: context.get("region").unwrap_or("us-east-1").to_owned(),
            access_key: secret("access-key-secret", "s3-access-key")?,
            secret_key: secret("secret-key-secret", "s3-secret-key")?,
        };
        let prefix = context.get("prefix").unwrap_or_default();
        Ok(Self {
            bucket: context.require("bucket")?.to_owned(),
            key_prefix: format!("{prefix}{}/{}/", context.topic(), context.partition()),
            format: Format::parse(context.get("format").unwrap_or("record"))?,
            timeout: Duration::from_millis(context.parse("timeout-ms", 30_000)?),
            endpoint,
            signer,
        })
    }

    fn deliver(&mut self, batch: &Batch<'_>, _: &str) -> Result<(), DeliveryError> {
        let mut body = Vec::with_capacity(batch.as_bytes().len() * 2);
        let (mut first, mut last) = (None, 0);
        for record in batch {
            self.format.append(&record, &mut body).map_err(|error| {
                DeliveryError::record(format!("record at offset {}: {error}", record.offset()))
            })?;
            first = first.or(Some(record.offset()));
            last = record.offset();
        }
        let Some(first) = first else { return Ok(()) };
        let path = sign::path(&self.bucket, &format!("{}{first:020}-{last:020}.jsonl", self.key_prefix));
        let request = Request::put(format!("{}{path}", self.endpoint))
            .timeout(self.timeout)
            .header("content-type", "application/x-ndjson");
        let signed = self.signer.sign(request.body(body), &path, clock::now_ms());
        signed.send()?.accepted()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
