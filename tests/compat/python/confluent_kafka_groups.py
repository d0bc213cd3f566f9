"""Groups with confluent-kafka, that is, with a current librdkafka.

usage: confluent_kafka_groups.py BOOTSTRAP CASE...
"""

import sys
import time
from collections import Counter

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer
from confluent_kafka.admin import AdminClient, NewTopic

BOOTSTRAP = sys.argv[1]
PARTITIONS = 6
RECORDS = 600
LIMIT = 40


class Member:
    """A consumer that remembers what it was told and commits what it has read."""

    def __init__(self, topic, seen, settings):
        self.assigned, self.revoked, self.seen = set(), set(), seen
        self.consumer = Consumer({
            "bootstrap.servers": BOOTSTRAP, "group.id": topic, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, **settings,
        })
        self.consumer.subscribe([topic], on_assign=self.on_assign, on_revoke=self.on_revoke)

    def on_assign(self, _consumer, partitions):
        self.assigned.update(p.partition for p in partitions)

    def on_revoke(self, _consumer, partitions):
        self.assigned.difference_update(p.partition for p in partitions)
        self.revoked.update(p.partition for p in partitions)

    def turn(self):
        records = self.consumer.consume(200, timeout=0.05)
        for record in records:
            assert record.error() is None, record.error()
            self.seen[record.value()] += 1
        if records:
            self.consumer.commit(asynchronous=False)


def turns(done, *members):
    deadline = time.time() + LIMIT
    while not done():
        state = [(sorted(m.assigned), sum(m.seen.values())) for m in members]
        assert time.time() < deadline, f"not settled in time: {state}"
        for member in members:
            member.turn()


def rebalances(topic, **settings):
    """One member, then two, then one: who has what, what each is told, and every record read once."""
    create(topic, PARTITIONS)
    fill(topic)
    seen = Counter()
    first = Member(topic, seen, settings)
    turns(lambda: len(first.assigned) == PARTITIONS and len(seen) == RECORDS, first)
    second = Member(topic, seen, settings)
    first.revoked.clear()
    turns(lambda: len(first.assigned) == 3 and len(second.assigned) == 3, first, second)
    expect(first.assigned | second.assigned, set(range(PARTITIONS)), "partitions that either has")
    expect(len(first.revoked), 6 if topic == "eager" else 3, "revoked partitions")
    described = admin.describe_consumer_groups([topic])[topic].result(30)
    expect(described.state.name, "STABLE", "state")
    expect([len(m.assignment.topic_partitions) for m in described.members], [3, 3], "described partitions")
    fill(topic)
    turns(lambda: sum(seen.values()) == 2 * RECORDS, first, second)
    second.consumer.close()
    turns(lambda: len(first.assigned) == PARTITIONS, first)
    fill(topic)
    turns(lambda: sum(seen.values()) == 3 * RECORDS, first)
    first.consumer.close()
    expect(set(seen.values()), {3}, "times that each record was read")
    expect(committed(topic), 3 * RECORDS, "sum of committed offsets")
    admin.delete_consumer_groups([topic])[topic].result(30)


def eager():
    rebalances("eager", **{"partition.assignment.strategy": "range", "heartbeat.interval.ms": 300})


def cooperative():
    rebalances("cooperative", **{
        "partition.assignment.strategy": "cooperative-sticky", "heartbeat.interval.ms": 300,
    })


def committed(group):
    request = [ConsumerGroupTopicPartitions(group)]
    offsets = admin.list_consumer_group_offsets(request)[group].result(30)
    return sum(p.offset for p in offsets.topic_partitions)


def create(topic, partitions):
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)


def fill(topic):
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5})
    for number in range(RECORDS):
        producer.produce(topic, b"record %d" % number, partition=number % PARTITIONS)
    expect(producer.flush(30), 0, "records that were not delivered")


def expect(found, expected, what):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
if __name__ == "__main__":
    cases = {case.__name__: case for case in [eager, cooperative]}
    for name in sys.argv[2:]:
        cases[name]()
        print(name, "passed", flush=True)
