//! A transform that routes orders: each to the topic of its region, urgent ones also to the pickers as a
//! summary, and those that are not in order aside, with the reason.
//!
//! | output | records |
//! |---|---|
//! | `orders.eu`, `orders.us`, `orders.apac` | the order as it came, keyed by customer, with the headers `order-priority` and `order-total-cents` |
//! | `orders.priority` | a JSON summary of each order that is not `standard`, keyed by order |
//! | `orders.rejected` | the record as it came, with the header `rejected-because` |
//!
//! The setting `prefix` replaces `orders` in the topics' names. The same transform in other languages is in
//! `examples/plugins`.

mod order;

use millrace_plugin::{Context, Output, Outputs, Record, Result, Transform};

use order::{Order, Priority, Region};

/// The transform: its output topics.
#[derive(Debug)]
pub struct OrderRouting {
    eu: Output,
    us: Output,
    apac: Output,
    priority: Output,
    rejected: Output,
}

/// What the pickers get to see of an urgent order.
#[derive(serde::Serialize)]
struct Summary<'a> {
    order_id: &'a str,
    customer_id: &'a str,
    region: &'a str,
    priority: &'a str,
    items: usize,
    total_cents: u64,
}

#[millrace_plugin::transform]
impl Transform for OrderRouting {
    fn start(context: &Context) -> Result<Self> {
        let prefix = context.get("prefix").unwrap_or("orders");
        let output = |name: &str| context.output(&format!("{prefix}.{name}"));
        Ok(Self {
            eu: output("eu")?,
            us: output("us")?,
            apac: output("apac")?,
            priority: output("priority")?,
            rejected: output("rejected")?,
        })
    }

    fn transform(&mut self, record: &Record<'_>, out: &mut Outputs) -> Result<()> {
        match Order::read(record.value()) {
            Ok(order) => self.route(record, &order, out),
            Err(reason) => {
                let headers = [("rejected-because", reason.as_bytes())];
                out.send_to(self.rejected, &record.draft().add_headers(&headers));
                Ok(())
            }
        }
    }
}

impl OrderRouting {
    fn route(&self, record: &Record<'_>, order: &Order<'_>, out: &mut Outputs) -> Result<()> {
        let region = match order.region {
            Region::Eu => self.eu,
            Region::Us => self.us,
            Region::Apac => self.apac,
        };
        let total = order.total_cents.to_string();
        let priority = order.priority.as_str();
        let headers = [("order-priority", priority.as_bytes()), ("order-total-cents", total.as_bytes())];
        out.send_to(region, &record.draft().key(&*order.customer_id).add_headers(&headers));
        if order.priority == Priority::Standard {
            return Ok(());
        }
        let summary = Summary {
            order_id: &order.order_id,
            customer_id: &order.customer_id,
            region: order.region.as_str(),
            priority,
            items: order.items,
            total_cents: order.total_cents,
        };
        let draft = record.draft().key(&*order.order_id).without_headers();
        out.send_json(self.priority, &draft, &summary)
    }
}

#[cfg(test)]
mod tests;
