"""One case of the compatibility tests with confluent-kafka, that is, with a current librdkafka.

usage: confluent_kafka_case.py BOOTSTRAP CASE
"""

import sys
import time

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType,
)

BOOTSTRAP = sys.argv[1]
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def admin():
    # To be kept as long as its futures: they end with it.
    return AdminClient({"bootstrap.servers": BOOTSTRAP})


def wait(futures):
    return [future.result(30) for future in futures.values()]


def create(topic, partitions=1, **config):
    client = admin()
    wait(client.create_topics([NewTopic(topic, partitions, 1, config=config)]))


def consumer(topic, offset, partitions=(0,)):
    # The library insists on a group's name, though a consumer that is assigned by hand uses none.
    reading = Consumer({
        "bootstrap.servers": BOOTSTRAP,
        "group.id": "unused",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    })
    reading.assign([TopicPartition(topic, partition, offset) for partition in partitions])
    return reading


def read(reading, count, limit=20):
    records = []
    deadline = time.time() + limit
    while len(records) < count and time.time() < deadline:
        record = reading.poll(0.5)
        if record is None:
            continue
        if record.error():
            # Only ever about the group that is not used.
            assert "oordinator" in str(record.error()), record.error()
            continue
        records.append(record)
    return records


def fill(topic, count, partition=0, **settings):
    failed = []
    sending = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5, **settings})

    def delivered(error, _record):
        if error:
            failed.append(error)

    for number in range(count):
        value = f"value {number} ".encode() * 10
        sending.produce(
            topic, value, key=b"key %d" % number, partition=partition, timestamp=1_000_000 + 1_000 * number,
            headers=[("number", str(number).encode())], on_delivery=delivered,
        )
    expect(sending.flush(30), 0, "records that were not delivered")
    expect(failed, [], "failed deliveries")


def expect(found, expected, what):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


def round_trip():
    create("round-trip")
    runs = [(codec, acks) for codec in CODECS for acks in ["0", "1", "all"]]
    for codec, acks in runs:
        fill("round-trip", 50, **{"compression.type": codec, "acks": acks})
    records = read(consumer("round-trip", 0), 50 * len(runs))
    expect([r.offset() for r in records], list(range(50 * len(runs))), "offsets")
    for record in records:
        number = record.offset() % 50
        expect(record.key(), b"key %d" % number, f"key of {record.offset()}")
        expect(record.value(), f"value {number} ".encode() * 10, f"value of {record.offset()}")
        expect(record.headers(), [("number", str(number).encode())], f"headers of {record.offset()}")
        expect(record.timestamp()[1], 1_000_000 + 1_000 * number, f"timestamp of {record.offset()}")


def idempotent():
    create("idempotent")
    fill("idempotent", 2_000, **{"enable.idempotence": True, "compression.type": "zstd"})
    records = read(consumer("idempotent", 0), 2_000)
    expect([r.key() for r in records], [b"key %d" % n for n in range(2_000)], "records")


def seek():
    create("seek")
    fill("seek", 100)
    reading = consumer("seek", 42)
    expect([r.offset() for r in read(reading, 2)], [42, 43], "from 42")
    reading.seek(TopicPartition("seek", 0, 7))
    expect(read(reading, 1)[0].offset(), 7, "after seek(7)")
    expect(reading.position([TopicPartition("seek", 0)])[0].offset, 8, "position")
    expect(reading.get_watermark_offsets(TopicPartition("seek", 0), timeout=20), (0, 100), "watermarks")


def timestamps():
    create("timestamps")
    fill("timestamps", 100, **{"compression.type": "lz4"})
    reading = consumer("timestamps", 0)
    for timestamp, offset in [(0, 0), (1_000_001, 1), (1_042_000, 42), (1_099_000, 99), (1_099_001, -1)]:
        found = reading.offsets_for_times([TopicPartition("timestamps", 0, timestamp)], timeout=20)[0]
        assert found.error is None, found.error
        expect(found.offset, offset, f"offset for {timestamp}")
    client = admin()
    for spec, offset in [
        (OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 100), (OffsetSpec.max_timestamp(), 99),
        (OffsetSpec.for_timestamp(1_007_000), 7),
    ]:
        request = {TopicPartition("timestamps", 0): spec}
        found = wait(client.list_offsets(request, isolation_level=IsolationLevel.READ_UNCOMMITTED))[0]
        expect(found.offset, offset, f"list_offsets {spec}")


def topics():
    client = admin()
    create("orders", 3, **{"retention.ms": "60000"})
    expect(len(client.list_topics("orders", timeout=20).topics["orders"].partitions), 3, "partitions")
    assert "orders" in client.list_topics(timeout=20).topics
    expect(len(client.list_topics(timeout=20).brokers), 1, "brokers")
    try:
        create("orders", 3)
        raise AssertionError("a topic was created twice")
    except KafkaException as error:
        expect(error.args[0].code(), KafkaError.TOPIC_ALREADY_EXISTS, "error")
    wait(client.delete_topics(["orders"]))
    deadline = time.time() + 20
    while "orders" in client.list_topics(timeout=20).topics:
        assert time.time() < deadline, "a deleted topic is still listed"
    cluster = client.describe_cluster().result(30)
    expect(len(cluster.nodes), 1, "nodes")
    assert cluster.cluster_id


def settings():
    client = admin()
    create("settings", 1, **{"retention.ms": "123456"})

    def described():
        return wait(client.describe_configs([ConfigResource(ResourceType.TOPIC, "settings")]))[0]

    expect(described()["retention.ms"].value, "123456", "retention.ms")
    change = ConfigResource(ResourceType.TOPIC, "settings", incremental_configs=[
        ConfigEntry("max.message.bytes", "2000", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE),
    ])
    wait(client.incremental_alter_configs([change]))
    expect(described()["max.message.bytes"].value, "2000", "max.message.bytes")
    expect(described()["retention.ms"].value, "604800000", "retention.ms, back to its default")
    wait(client.alter_configs([ConfigResource(ResourceType.TOPIC, "settings", {"segment.bytes": "20000000"})]))
    expect(described()["segment.bytes"].value, "20000000", "segment.bytes")
    expect(described()["max.message.bytes"].value, "1048588", "max.message.bytes, which the request left out")
    bad = ConfigResource(ResourceType.TOPIC, "settings", {"retention.ms": "soon"})
    try:
        wait(client.alter_configs([bad]))
        raise AssertionError("a bad value was accepted")
    except KafkaException as error:
        expect(error.args[0].code(), KafkaError.INVALID_CONFIG, "error")
    assert wait(client.describe_configs([ConfigResource(ResourceType.BROKER, "1")]))[0]


def delete_records():
    create("delete-records")
    fill("delete-records", 100)
    client = admin()
    deleted = wait(client.delete_records([TopicPartition("delete-records", 0, 60)]))[0]
    expect(deleted.low_watermark, 60, "low watermark")
    reading = consumer("delete-records", 10)
    expect(read(reading, 1)[0].offset(), 60, "first record after an offset that is gone")
    expect(reading.get_watermark_offsets(TopicPartition("delete-records", 0), timeout=20), (60, 100), "watermarks")


def partitions():
    create("partitions", 1)
    fill("partitions", 1)
    client = admin()
    wait(client.create_partitions([NewPartitions("partitions", 3)]))
    for partition in range(3):
        fill("partitions", 1, partition)
    found = sorted(r.partition() for r in read(consumer("partitions", 0, range(3)), 4))
    expect(found, [0, 0, 1, 2], "records by partition")


if __name__ == "__main__":
    {
        case.__name__: case
        for case in [round_trip, idempotent, seek, timestamps, topics, settings, delete_records, partitions]
    }[sys.argv[2]]()
