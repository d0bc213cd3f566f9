//! A sink that delivers records as CloudEvents 1.0 over HTTP.
//!
//! | setting | meaning |
//! |---|---|
//! | `url` | where events are posted |
//! | `mode` | `binary`: a request per event, attributes as `ce-` headers, the value as its body; `structured`: a request per event, everything in one JSON object; `batch`: all events of a batch in one request, the default |
//! | `type` | the events' type; `millrace.record` if absent |
//! | `source` | their source; `/topics/<topic>/<partition>` if absent |
//! | `content-type` | the values' type; `application/json` if absent |
//! | `authorization-secret` | name of a secret whose value becomes the header `authorization` |
//! | `timeout-ms` | how long an exchange may take, the response included; 30000 if absent |
//!
//! An event's id is `<topic>-<partition>-<offset>`: what arrives twice, after a retry, has the same id twice.
//! Requests carry a token as `idempotency-key`: the batch's, or the record's own in the other two modes, which it
//! keeps in every attempt.
//!
//! A record's key is the event's `subject`, unless it is empty. Its headers become extension attributes, the first
//! of a name counts: names in lower case without all that is no letter or digit (`Order-Id` is `orderid`), with
//! `header` before those that an event has of its own (`headerid`). Values that are no text, or would bring an
//! event's headers over 8 KiB, stay behind. Control characters, which CloudEvents forbids, are percent-encoded.

mod event;

use std::time::Duration;

use millrace_plugin::http::Request;
use millrace_plugin::{Batch, Context, DeliveryError, Error, Result, Sink, record_token, secrets};

use event::{Attributes, Event};

/// Where events go, and in which form.
#[derive(Debug)]
pub struct HttpWebhook {
    url: String,
    mode: Mode,
    attributes: Attributes,
    authorization: Option<String>,
    timeout: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Binary,
    Structured,
    Batch,
}

#[millrace_plugin::sink]
impl Sink for HttpWebhook {
    fn start(context: &Context) -> Result<Self> {
        let mode = match context.get("mode").unwrap_or("batch") {
            "binary" => Mode::Binary,
            "structured" => Mode::Structured,
            "batch" => Mode::Batch,
            other => {
                let expected = "expected `binary`, `structured` or `batch`";
                return Err(Error::new(format!("the setting `mode` is `{other}`; {expected}")));
            }
        };
        let url = context.require("url")?.to_owned();
        millrace_plugin::http::split_url(&url)?;
        Ok(Self {
            url,
            mode,
            attributes: Attributes::new(context),
            authorization: context.get("authorization-secret").map(secrets::require).transpose()?,
            timeout: Duration::from_millis(context.parse("timeout-ms", 30_000)?),
        })
    }

    fn deliver(&mut self, batch: &Batch<'_>, token: &str) -> Result<(), DeliveryError> {
        let events = batch.records().map(|record| Event::new(&self.attributes, record));
        if matches!(self.mode, Mode::Batch) {
            let events: Vec<Event<'_>> = events.collect();
            let body = serde_json::to_vec(&events).map_err(Error::from)?;
            let request = self.request(token).header("content-type", "application/cloudevents-batch+json");
            return post(&request.body(body));
        }
        for (number, event) in events.enumerate() {
            let request = self.request(&record_token(token, event.offset()));
            let request = match self.mode {
                Mode::Binary => event.binary(request),
                _ => request
                    .header("content-type", "application/cloudevents+json")
                    .body(serde_json::to_vec(&event).map_err(Error::from)?),
            };
            post(&request).map_err(|error| error.delivered(number))?;
        }
        Ok(())
    }
}

impl HttpWebhook {
    fn request(&self, idempotency_key: &str) -> Request {
        let request =
            Request::post(&self.url).timeout(self.timeout).header("idempotency-key", idempotency_key);
        match &self.authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    }
}

fn post(request: &Request) -> Result<(), DeliveryError> {
    request.send()?.accepted()?;
    Ok(())
}

#[cfg(test)]
mod tests;
