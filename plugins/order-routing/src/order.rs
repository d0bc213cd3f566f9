//! An order, and why something is none.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

const ID_LEN_MAX: usize = 64;
const ITEMS_MAX: usize = 1_000;
const QUANTITY_MAX: u64 = 10_000;
const UNIT_PRICE_CENTS_MAX: u64 = 100_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Region {
    Eu,
    Us,
    Apac,
}

impl Region {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Eu => "eu",
            Self::Us => "us",
            Self::Apac => "apac",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Priority {
    Standard,
    Express,
    SameDay,
}

impl Priority {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Express => "express",
            Self::SameDay => "same-day",
        }
    }
}

/// What of an order counts for its way.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub order_id: Cow<'a, str>,
    pub customer_id: Cow<'a, str>,
    pub region: Region,
    pub priority: Priority,
    pub items: usize,
    pub total_cents: u64,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    order_id: Cow<'a, str>,
    #[serde(borrow)]
    customer_id: Cow<'a, str>,
    region: Region,
    priority: Priority,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    quantity: u64,
    unit_price_cents: u64,
}

impl Item {
    fn is_sound(&self) -> bool {
        (1..=QUANTITY_MAX).contains(&self.quantity) && self.unit_price_cents <= UNIT_PRICE_CENTS_MAX
    }
}

impl<'a> Order<'a> {
    /// The order in a record's value, or why there is none.
    pub(crate) fn read(value: Option<&'a [u8]>) -> Result<Self, &'static str> {
        let value = value.ok_or("no value")?;
        // Almost all are in order: only for the others is it worth looking for the reason.
        let Ok(wire) = serde_json::from_slice::<Wire<'_>>(value) else { return Err(reason(value)) };
        let count = wire.items.len();
        if !is_id(&wire.order_id) || !is_id(&wire.customer_id) || count == 0 || count > ITEMS_MAX {
            return Err(reason(value));
        }
        if !wire.items.iter().all(Item::is_sound) {
            return Err("bad item");
        }
        Ok(Self {
            order_id: wire.order_id,
            customer_id: wire.customer_id,
            region: wire.region,
            priority: wire.priority,
            items: count,
            total_cents: wire.items.iter().map(|item| item.quantity * item.unit_price_cents).sum(),
        })
    }
}

/// Letters, digits, `-` and `_`, so that identifiers look the same wherever they end up.
fn is_id(text: &str) -> bool {
    (1..=ID_LEN_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The first thing that is wrong with what is no order.
fn reason(value: &[u8]) -> &'static str {
    let Ok(Value::Object(fields)) = serde_json::from_slice(value) else { return "not a JSON object" };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    if !is_id(text("order_id")) {
        return "no order_id";
    }
    if !is_id(text("customer_id")) {
        return "no customer_id";
    }
    if !["eu", "us", "apac"].contains(&text("region")) {
        return "unknown region";
    }
    if !["standard", "express", "same-day"].contains(&text("priority")) {
        return "unknown priority";
    }
    match fields.get("items").and_then(Value::as_array) {
        Some(items) if (1..=ITEMS_MAX).contains(&items.len()) => "bad item",
        _ => "no items",
    }
}
