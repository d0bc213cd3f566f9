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
/// index or of who asks. `places` has the place in the batch of each action's record: those before the first that
/// has not arrived do not come again.
pub(crate) fn check(body: &[u8], places: &[usize]) -> Result<(), DeliveryError> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| DeliveryError::retryable(format!("the cluster's answer cannot be read: {error}")))?;
    if !answer.errors {
        return Ok(());
    }
    let mut arrived = None;
    let mut pushed_back = None;
    for (index, item) in answer.items.into_iter().enumerate() {
        let (deletes, outcome) = match item {
            Item::Delete(outcome) => (true, outcome),
            Item::Index(outcome) | Item::Create(outcome) | Item::Update(outcome) => (false, outcome),
        };
        if matches!(outcome.status, 0..300) || deletes && outcome.status == 404 {
            continue;
        }
        let arrived = *arrived.get_or_insert(places.get(index).copied().unwrap_or(0));
        let error = match outcome.status {
            429 | 500.. => {
                pushed_back =
                    pushed_back.or(Some(DeliveryError::retryable(describe(&outcome)).delivered(arrived)));
                continue;
            }
            401 | 403 | 404 => DeliveryError::target(describe(&outcome)),
            _ => DeliveryError::record(describe(&outcome)),
        };
        return Err(error.delivered(arrived));
    }
    pushed_back.map_or(Ok(()), Err)
}

fn describe(outcome: &Outcome) -> String {
    let text = |name: &str| outcome.error.get(name).and_then(Value::as_str).unwrap_or("?");
    let (id, status) = (&outcome.id, outcome.status);
    format!("document `{id}`: status {status}, {}: {}", text("type"), text("reason"))
}
