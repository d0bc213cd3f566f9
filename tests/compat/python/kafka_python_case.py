"""One case of the compatibility tests with kafka-python, of its 2.x and its 3.x series alike.

usage: kafka_python_case.py BOOTSTRAP CASE
"""

import sys
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

BOOTSTRAP = sys.argv[1]
SERIES = int(kafka.__version__.split(".")[0])
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


def admin():
    return KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def producer(**settings):
    return KafkaProducer(bootstrap_servers=BOOTSTRAP, **settings)


def consumer(topic, partitions=(0,), **settings):
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, consumer_timeout_ms=20_000, **settings)
    consumer.assign([TopicPartition(topic, partition) for partition in partitions])
    return consumer


def create(topic, partitions=1, **configs):
    admin().create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])


def read(consumer, count):
    """The next `count` records; fewer when they do not come in time."""
    records = []
    for record in consumer:
        records.append(record)
        if len(records) == count:
            break
    return records


def fill(topic, count, **settings):
    # With less than all, what was acknowledged may be a moment away from being seen.
    sending = producer(acks="all", **settings)
    for number in range(count):
        sending.send(topic, b"value %d" % number, partition=0, timestamp_ms=1_000_000 + 1_000 * number)
    sending.flush(30)
    sending.close()


def expect(found, expected, what):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


def round_trip():
    """Every codec with every level of acknowledgement; keys, headers, timestamps, nulls."""
    create("round-trip", 2)
    sent = []
    for codec in CODECS:
        for acks in [0, 1, "all"]:
            sending = producer(compression_type=codec, acks=acks, enable_idempotence=False, linger_ms=5)
            for number in range(20):
                key = None if number == 3 else b"key %d" % number
                value = None if number == 4 else f"{codec} {acks} {number} ".encode() * 20
                headers = [("codec", str(codec).encode()), ("empty", b"")]
                sending.send("round-trip", value, key, headers=headers, partition=1, timestamp_ms=5_000 + number)
                sent.append((key, value, headers, 5_000 + number))
            sending.flush(30)
            if acks == 0 and SERIES < 3:
                # A defect of this series: what awaits no answer leaves only with the next request that does.
                sending.partitions_for("another")
            sending.close()
    reading = consumer("round-trip", [1], auto_offset_reset="earliest")
    records = read(reading, len(sent))
    expect([r.offset for r in records], list(range(len(sent))), "offsets")
    for record, (key, value, headers, timestamp) in zip(records, sent):
        expect((record.key, record.value), (key, value), f"record {record.offset}")
        expect([tuple(header) for header in record.headers], headers, f"headers of {record.offset}")
        expect(record.timestamp, timestamp, f"timestamp of {record.offset}")
    expect(reading.end_offsets([TopicPartition("round-trip", 0)])[TopicPartition("round-trip", 0)], 0, "partition 0")


def idempotent():
    """An idempotent producer, whose batches carry its id and sequence numbers."""
    create("idempotent")
    fill("idempotent", 500, enable_idempotence=True, compression_type="lz4", linger_ms=2)
    records = read(consumer("idempotent", auto_offset_reset="earliest"), 500)
    expect([r.value for r in records], [b"value %d" % n for n in range(500)], "records")


def seek():
    create("seek")
    fill("seek", 100)
    partition = TopicPartition("seek", 0)
    reading = consumer("seek")
    reading.seek(partition, 42)
    expect([r.offset for r in read(reading, 3)], [42, 43, 44], "after seek(42)")
    expect(reading.position(partition), 45, "position")
    reading.seek_to_beginning(partition)
    expect(read(reading, 1)[0].offset, 0, "after seek_to_beginning")
    reading.seek_to_end(partition)
    expect(reading.position(partition), 100, "after seek_to_end")
    fill("seek", 1)
    expect(read(reading, 1)[0].offset, 100, "a record that came later")


def timestamps():
    create("timestamps")
    fill("timestamps", 100, compression_type="gzip")
    partition = TopicPartition("timestamps", 0)
    reading = consumer("timestamps")
    for timestamp, offset in [(0, 0), (1_000_000, 0), (1_000_001, 1), (1_042_000, 42), (1_099_000, 99)]:
        found = reading.offsets_for_times({partition: timestamp})[partition]
        expect((found.offset, found.timestamp), (offset, 1_000_000 + 1_000 * offset), f"offset for {timestamp}")
    expect(reading.offsets_for_times({partition: 1_099_001})[partition], None, "offset for a time after all")
    expect(reading.beginning_offsets([partition]), {partition: 0}, "beginning")
    expect(reading.end_offsets([partition]), {partition: 100}, "end")


def topics():
    client = admin()
    create("orders", 3)
    assert "orders" in client.list_topics()
    described = client.describe_topics(["orders"])[0]
    partitions = described["partitions"]
    expect(len(partitions), 3, "partitions")
    try:
        create("orders", 3)
        raise AssertionError("a topic was created twice")
    except TopicAlreadyExistsError:
        pass
    for name, count, factor in [("no partitions", 1, 1), ("bad-count", 0, 1), ("bad-factor", 1, 5)]:
        try:
            client.create_topics([NewTopic(name, count, factor)])
            raise AssertionError(f"a topic '{name}' with {count} partitions and {factor} replicas was created")
        except KafkaError:
            pass
    client.delete_topics(["orders"])
    deadline = time.time() + 20
    while "orders" in client.list_topics():
        assert time.time() < deadline, "a deleted topic is still listed"
    create("orders", 1)
    expect(consumer("orders").end_offsets([TopicPartition("orders", 0)]), {TopicPartition("orders", 0): 0}, "new topic")


def settings_of(client, topic):
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    if SERIES >= 3:
        found = client.describe_configs([resource], config_filter="all")
        entries = next(iter(found.values()))[topic]
        return {name: entry["value"] for name, entry in entries.items()}
    found = client.describe_configs([resource])[0].resources[0]
    assert found[0] == 0, f"describe_configs: error {found[0]}: {found[1]}"
    return {entry[0]: entry[1] for entry in found[4]}


def settings():
    client = admin()
    create("settings", 1, **{"retention.ms": "123456"})
    found = settings_of(client, "settings")
    expect(found["retention.ms"], "123456", "retention.ms")
    expect(found["cleanup.policy"], "delete", "cleanup.policy")
    change = ConfigResource(ConfigResourceType.TOPIC, "settings", {"max.message.bytes": "2000"})
    client.alter_configs([change])
    expect(settings_of(client, "settings")["max.message.bytes"], "2000", "max.message.bytes")
    sending = producer(acks="all")
    sending.send("settings", b"x" * 500).get(20)
    try:
        sending.send("settings", b"x" * 5_000).get(20)
        raise AssertionError("a record over max.message.bytes was stored")
    except KafkaError as error:
        assert "RecordTooLarge" in repr(error) or "MessageSizeTooLarge" in repr(error), repr(error)
    broker = ConfigResource(ConfigResourceType.BROKER, "1")
    assert client.describe_configs([broker]), "the broker's settings"


def delete_records():
    create("delete-records")
    fill("delete-records", 100)
    partition = TopicPartition("delete-records", 0)
    admin().delete_records({partition: 60})
    reading = consumer("delete-records", auto_offset_reset="earliest")
    expect(reading.beginning_offsets([partition]), {partition: 60}, "beginning")
    expect(reading.end_offsets([partition]), {partition: 100}, "end")
    expect(read(reading, 1)[0].offset, 60, "first record")
    # Out of range: the client is told, and starts over as it was told to.
    reading.seek(partition, 10)
    expect(read(reading, 1)[0].offset, 60, "record after an offset that is gone")


def partitions():
    client = admin()
    create("partitions", 1)
    sending = producer()
    sending.send("partitions", b"before", partition=0).get(20)
    client.create_partitions({"partitions": NewPartitions(4)})
    later = producer()
    for partition in range(4):
        later.send("partitions", b"after", partition=partition).get(20)
    reading = consumer("partitions", range(4), auto_offset_reset="earliest")
    found = sorted((r.partition, r.value) for r in read(reading, 5))
    expect(found, [(0, b"after"), (0, b"before"), (1, b"after"), (2, b"after"), (3, b"after")], "records")
    try:
        client.create_partitions({"partitions": NewPartitions(2)})
        raise AssertionError("partitions were taken away")
    except KafkaError:
        pass


def long_poll():
    """A fetch waits for records at the end of the log and is answered as soon as there are some."""
    create("long-poll")
    reading = consumer("long-poll", auto_offset_reset="latest", fetch_max_wait_ms=10_000)
    partition = TopicPartition("long-poll", 0)
    expect(reading.position(partition), 0, "position")
    expect(reading.poll(timeout_ms=200), {}, "records of an empty topic")
    started = time.time()
    producer().send("long-poll", b"woken").get(20)
    expect([r.value for r in read(reading, 1)], [b"woken"], "record")
    assert time.time() - started < 8, "the fetch waited for its whole time"


if __name__ == "__main__":
    {
        case.__name__: case
        for case in [
            round_trip, idempotent, seek, timestamps, topics, settings, delete_records, partitions, long_poll,
        ]
    }[sys.argv[2]]()
