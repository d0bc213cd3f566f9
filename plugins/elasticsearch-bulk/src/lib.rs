//! A sink that delivers records into Elasticsearch, or OpenSearch, through the bulk API.
//!
//! | setting | meaning |
//! |---|---|
//! | `url` | the cluster: `https://search.example.com:9200` |
//! | `index` | the index; the topic's name if absent |
//! | `id` | a document's id: `offset`, which is `<topic>-<partition>-<offset>` and the default, or `key` |
//! | `authorization-secret` | name of a secret whose value becomes the header `authorization` |
//! | `timeout-ms` | how long to wait for the cluster; 30000 if absent |
//!
//! Values must be JSON objects. Ids make repetitions harmless. With `id` = `key` a later record replaces an
//! earlier one, and a tombstone deletes it; with `offset` tombstones are left out.

mod answer;

use std::time::Duration;

use millrace_plugin::http::Request;
use millrace_plugin::{Batch, Context, DeliveryError, Error, Record, Result, Sink, secrets};
use serde::Serialize;

/// The cluster and the form of what it gets.
#[derive(Debug)]
pub struct ElasticsearchBulk {
    url: String,
    index: String,
    by_key: bool,
    id_prefix: String,
    authorization: Option<String>,
    timeout: Duration,
}

/// The line before a document.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Action<'a> {
    Index(Target<'a>),
    Delete(Target<'a>),
}

#[derive(Serialize)]
struct Target<'a> {
    _index: &'a str,
    _id: &'a str,
}

#[millrace_plugin::sink]
impl Sink for ElasticsearchBulk {
    fn start(context: &Context) -> Result<Self> {
        let url = format!("{}/_bulk", context.require("url")?.trim_end_matches('/'));
        millrace_plugin::http::split_url(&url)?;
        let by_key = match context.get("id").unwrap_or("offset") {
            "offset" => false,
            "key" => true,
            other => {
                let message = format!("the setting `id` is `{other}`; expected `offset` or `key`");
                return Err(Error::new(message));
            }
        };
        Ok(Self {
            url,
            index: context.get("index").unwrap_or(context.topic()).to_owned(),
            by_key,
            id_prefix: format!("{}-{}-", context.topic(), context.partition()),
            authorization: context.get("authorization-secret").map(secrets::require).transpose()?,
            timeout: Duration::from_millis(context.parse("timeout-ms", 30_000)?),
        })
    }

    fn deliver(&mut self, batch: &Batch<'_>, _: &str) -> Result<(), DeliveryError> {
        let mut body = Vec::with_capacity(batch.as_bytes().len() * 3 / 2);
        // Which of the records each action is for.
        let mut places = Vec::with_capacity(batch.len());
        for (place, record) in batch.into_iter().enumerate() {
            let before = body.len();
            self.append(&record, &mut body).map_err(|error| {
                DeliveryError::record(format!("record at offset {}: {error}", record.offset()))
            })?;
            if body.len() > before {
                places.push(place);
            }
        }
        if body.is_empty() {
            return Ok(());
        }
        let mut request = Request::post(&self.url)
            .timeout(self.timeout)
            .header("content-type", "application/x-ndjson")
            .body(body);
        // Every document is told about, so the answer grows with the batch.
        request.response_bytes_max = 64 << 20;
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        let answer = request.send()?.accepted()?;
        if answer.is_cut {
            let max = request.response_bytes_max;
            return Err(DeliveryError::target(format!("the cluster's answer exceeds {max} bytes")));
        }
        answer::check(&answer.body, &places)
    }
}

impl ElasticsearchBulk {
    /// Appends a record's lines.
    fn append(&self, record: &Record<'_>, body: &mut Vec<u8>) -> Result<()> {
        let id = if self.by_key {
            record.key_str().ok_or_else(|| Error::new("it has no key that is text"))?.to_owned()
        } else {
            format!("{}{}", self.id_prefix, record.offset())
        };
        let target = Target { _index: &self.index, _id: &id };
        match record.value() {
            Some(value) => {
                append_line(body, &Action::Index(target))?;
                append_document(body, value)
            }
            None if self.by_key => append_line(body, &Action::Delete(target)),
            None => Ok(()),
        }
    }
}

fn append_line(body: &mut Vec<u8>, action: &Action<'_>) -> Result<()> {
    serde_json::to_writer(&mut *body, action)?;
    body.push(b'\n');
    Ok(())
}

/// In one line: within JSON, line ends are but white space.
fn append_document(body: &mut Vec<u8>, value: &[u8]) -> Result<()> {
    let parsed: &serde_json::value::RawValue = serde_json::from_slice(value)?;
    if !parsed.get().starts_with('{') {
        return Err(Error::new("its value is no JSON object"));
    }
    let lineless = parsed.get().bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte });
    body.extend(lineless);
    body.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests;
