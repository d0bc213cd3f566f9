#!/usr/bin/env python3
"""Writes orders.jsonl: some thousand orders of an imaginary outdoor shop, the same ones at every run.

Most are in order; a few percent carry what such streams carry: a missing field, a quantity of zero, an
unknown region, a line that is no JSON.
"""

import json
import pathlib
import random

COUNT = 4000
# 2026-03-02 06:00 UTC.
START_MS = 1_772_431_200_000
REGIONS = {
    "eu": (("DE", "FR", "NL", "PL", "SE", "ES"), "EUR", 46),
    "us": (("US", "CA"), "USD", 34),
    "apac": (("JP", "AU", "SG", "KR"), "USD", 20),
}
PRODUCTS = [
    ("TENT-2P", 24900), ("TENT-4P", 38900), ("BAG-WINTER", 17950), ("BAG-SUMMER", 8990), ("STOVE-GAS", 5495),
    ("LAMP-HEAD", 3999), ("BOTTLE-1L", 1895), ("ROPE-60M", 14990), ("BOOT-HIKE", 18900), ("SOCK-WOOL", 1690),
    ("MAP-ALPS", 1290), ("PACK-45L", 13950), ("MAT-LIGHT", 7990), ("FILTER-H2O", 4290), ("KNIFE-FOLD", 3450),
]
NOTES = ["leave at the door", "Klingel defekt, bitte klopfen", "cadeau: emballer s'il vous plaît", "call before delivery",
         "Café im Erdgeschoss", "gate code \"4711\"", "午前中にお願いします"]


def order(rng: random.Random, number: int, time_ms: int) -> dict:
    region = rng.choices(list(REGIONS), [weight for _, _, weight in REGIONS.values()])[0]
    countries, currency, _ = REGIONS[region]
    items = [
        {"sku": sku, "quantity": rng.choice((1, 1, 1, 1, 2, 2, 3, 5)), "unit_price_cents": price}
        for sku, price in rng.sample(PRODUCTS, rng.choice((1, 1, 1, 2, 2, 3, 4)))
    ]
    made = {
        "order_id": f"o-{number:06}",
        "customer_id": f"c-{int(900 * rng.random() ** 3):04}",
        "placed_at_ms": time_ms,
        "region": region,
        "country": rng.choice(countries),
        "currency": currency,
        "priority": rng.choices(("standard", "express", "same-day"), (83, 13, 4))[0],
        "items": items,
    }
    if rng.random() < 0.06:
        made["note"] = rng.choice(NOTES)
    return made


def line(rng: random.Random, number: int, time_ms: int) -> str:
    made = order(rng, number, time_ms)
    fault = rng.random()
    if fault < 0.005:
        del made["customer_id"]
    elif fault < 0.010:
        made["items"] = []
    elif fault < 0.015:
        made["items"][0]["quantity"] = 0
    elif fault < 0.020:
        made["region"] = rng.choice(("moon", "EU", ""))
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    return text[: len(text) // 2] if 0.020 <= fault < 0.025 else text


def main() -> None:
    rng = random.Random(20260302)
    time_ms, lines = START_MS, []
    for number in range(1, COUNT + 1):
        time_ms += int(rng.expovariate(1 / 900)) + 1
        lines.append(line(rng, number, time_ms))
    path = pathlib.Path(__file__).with_name("orders.jsonl")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
