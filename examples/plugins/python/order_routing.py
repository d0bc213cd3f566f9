"""The order-routing transform in Python; its rules are in examples/plugins/README.md."""

import json
import re

import wit_world
from componentize_py_types import Err
from wit_world.imports import types

from millrace import Batch, Outputs, Record, reported

REGIONS = ("eu", "us", "apac")
PRIORITIES = ("standard", "express", "same-day")
ITEMS_MAX = 1_000
QUANTITY_MAX = 10_000
UNIT_PRICE_CENTS_MAX = 100_000_000

IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Rejected(Exception):
    """Why a record is no order."""


class Routing:
    """Index of each output topic by its name without the prefix, and what collects records for them."""

    def __init__(self, context: types.Context) -> None:
        prefix = dict(context.config).get("prefix", "orders")
        self.topics = {}
        for name in (*REGIONS, "priority", "rejected"):
            if f"{prefix}.{name}" not in context.outputs:
                raise Err(f"the deployment has no output topic `{prefix}.{name}`")
            self.topics[name] = context.outputs.index(f"{prefix}.{name}")
        self.outputs = Outputs(len(context.outputs), context.block_bytes_max)
    def transform(self, batch: Batch) -> None:
        self.outputs.begin(batch)
        for record in batch.records():
            try:
                order = read(record.value)
            except Rejected as reason:
                added = (("rejected-because", str(reason)),)
                self.outputs.send(
                    self.topics["rejected"], record, key=record.key, value=record.value, added=added
                )
            else:
                self.route(record, order)
        self.outputs.finish()

    def route(self, record: Record, order: dict) -> None:
        total = sum(item["quantity"] * item["unit_price_cents"] for item in order["items"])
        priority = order["priority"]
        self.outputs.send(
            self.topics[order["region"]],
            record,
            key=order["customer_id"].encode(),
            value=record.value,
            added=(("order-priority", priority), ("order-total-cents", str(total))),
        )
        if priority == "standard":
            return
        summary = {
            "order_id": order["order_id"],
            "customer_id": order["customer_id"],
            "region": order["region"],
            "priority": priority,
            "items": len(order["items"]),
            "total_cents": total,
        }
        self.outputs.send(
            self.topics["priority"],
            record,
            key=order["order_id"].encode(),
            value=json.dumps(summary, separators=(",", ":")).encode(),
            keep_headers=False,
        )


# Not an attribute of the world: each call gets another object of its class.
routing: Routing


class WitWorld(wit_world.WitWorld):
    @reported
    def start(self, context: types.Context) -> None:
        global routing
        routing = Routing(context)

    @reported
    def transform(self, batch: bytes) -> None:
        routing.transform(Batch(batch))


def read(value: bytes | None) -> dict:
    """The order in a record's value."""
    if value is None:
        raise Rejected("no value")
    try:
        # Python would take NaN and Infinity, which JSON does not know.
        order = json.loads(value.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        order = None
    if not isinstance(order, dict):
        raise Rejected("not a JSON object")
    if not is_id(order.get("order_id")):
        raise Rejected("no order_id")
    if not is_id(order.get("customer_id")):
        raise Rejected("no customer_id")
    if order.get("region") not in REGIONS:
        raise Rejected("unknown region")
    if order.get("priority") not in PRIORITIES:
        raise Rejected("unknown priority")
    items = order.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= ITEMS_MAX:
        raise Rejected("no items")
    if not all(is_sound(item) for item in items):
        raise Rejected("bad item")
    return order


def refuse(constant: str) -> None:
    raise ValueError(constant)


def is_id(value: object) -> bool:
    return isinstance(value, str) and IDENTIFIER.fullmatch(value) is not None


def is_sound(item: object) -> bool:
    return (
        isinstance(item, dict)
        and is_count(item.get("quantity"), 1, QUANTITY_MAX)
        and is_count(item.get("unit_price_cents"), 0, UNIT_PRICE_CENTS_MAX)
    )


def is_count(value: object, least: int, most: int) -> bool:
    # True is an integer in Python.
    return type(value) is int and least <= value <= most
