//! What a cluster says of each document.

use millrace_plugin::DeliveryError;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Answer {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

/// The action's outcome under its name.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Item {
    Index(Outcome),
    Delete(Outcome),
    Create(Outcome),
    Update(Outcome),
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(rename = "_id", default)]
    id: String,
    status: u16,
    #[serde(default)]
    error: Value,
}

/// Whether every document has arrived. Those that a busy cluster pushed back make the batch come again, which
/// is harmless to the others; one that it will never take is at fault itself, unless its status speaks of the
/// index or of who asks.
pub(crate) fn check(body: &[u8]) -> Result<(), DeliveryError> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| DeliveryError::retryable(format!("the cluster's answer cannot be read: {error}")))?;
    if !answer.errors {
        return Ok(());
    }
    let mut pushed_back = None;
    for item in answer.items {
        let (deletes, outcome) = match item {
            Item::Delete(outcome) => (true, outcome),
            Item::Index(outcome) | Item::Create(outcome) | Item::Update(outcome) => (false, outcome),
        };
        match outcome.status {
            0..300 => {}
            404 if deletes => {}
            429 | 500.. => pushed_back = pushed_back.or(Some(outcome)),
            401 | 403 | 404 => return Err(DeliveryError::target(describe(&outcome))),
            _ => return Err(DeliveryError::record(describe(&outcome))),
        }
    }
    pushed_back.map_or(Ok(()), |outcome| Err(DeliveryError::retryable(describe(&outcome))))
}

fn describe(outcome: &Outcome) -> String {
    let text = |name: &str| outcome.error.get(name).and_then(Value::as_str).unwrap_or("?");
    let (id, status) = (&outcome.id, outcome.status);
    format!("document `{id}`: status {status}, {}: {}", text("type"), text("reason"))
}
