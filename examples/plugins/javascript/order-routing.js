/** The order-routing transform in JavaScript; its rules are in `examples/plugins/README.md`. */

import { Batch, Outputs } from "./millrace.js";

const REGIONS = ["eu", "us", "apac"];
const PRIORITIES = ["standard", "express", "same-day"];
const ITEMS_MAX = 1_000;
const QUANTITY_MAX = 10_000;
const UNIT_PRICE_CENTS_MAX = 100_000_000;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Index of each output topic by its name without the prefix, and what collects records for them. */
let topics;
let outputs;

export function start(context) {
  const prefix = new Map(context.config).get("prefix") ?? "orders";
  topics = {};
  for (const name of [...REGIONS, "priority", "rejected"]) {
    topics[name] = context.outputs.indexOf(`${prefix}.${name}`);
    if (topics[name] < 0) throw `the deployment has no output topic \`${prefix}.${name}\``;
  }
  outputs = new Outputs(context);
}

export function transform(bytes) {
  const batch = new Batch(bytes);
  outputs.begin(batch);
  for (const record of batch.records()) {
    const { order, rejected } = read(record.value);
    if (rejected) {
      outputs.send(topics.rejected, record, { added: [["rejected-because", rejected]] });
    } else {
      route(record, order);
    }
  }
  outputs.finish();
}

function route(record, order) {
  const total = order.items.reduce((sum, item) => sum + item.quantity * item.unit_price_cents, 0);
  outputs.send(topics[order.region], record, {
    key: encoder.encode(order.customer_id),
    added: [["order-priority", order.priority], ["order-total-cents", String(total)]],
  });
  if (order.priority === "standard") return;
  const summary = {
    order_id: order.order_id,
    customer_id: order.customer_id,
    region: order.region,
    priority: order.priority,
    items: order.items.length,
    total_cents: total,
  };
  outputs.send(topics.priority, record, {
    key: encoder.encode(order.order_id),
    value: encoder.encode(JSON.stringify(summary)),
    keepHeaders: false,
  });
}

/** The order in a record's value, or the first thing that is wrong with it. */
function read(value) {
  if (value === null) return { rejected: "no value" };
  let order;
  try {
    order = JSON.parse(decoder.decode(value));
  } catch {
    return { rejected: "not a JSON object" };
  }
  if (order === null || typeof order !== "object" || Array.isArray(order)) return { rejected: "not a JSON object" };
  if (!isId(order.order_id)) return { rejected: "no order_id" };
  if (!isId(order.customer_id)) return { rejected: "no customer_id" };
  if (!REGIONS.includes(order.region)) return { rejected: "unknown region" };
  if (!PRIORITIES.includes(order.priority)) return { rejected: "unknown priority" };
  const { items } = order;
  if (!Array.isArray(items) || items.length === 0 || items.length > ITEMS_MAX) return { rejected: "no items" };
  return items.every(isSound) ? { order } : { rejected: "bad item" };
}

function isId(text) {
  return typeof text === "string" && /^[A-Za-z0-9_-]{1,64}$/.test(text);
}

function isSound(item) {
  return isCount(item?.quantity, 1, QUANTITY_MAX) && isCount(item.unit_price_cents, 0, UNIT_PRICE_CENTS_MAX);
}

function isCount(value, min, max) {
  return Number.isInteger(value) && value >= min && value <= max;
}
