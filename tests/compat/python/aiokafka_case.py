"""Groups with aiokafka.

usage: aiokafka_case.py BOOTSTRAP CASE...
"""

import asyncio
import sys
from collections import Counter

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

BOOTSTRAP = sys.argv[1]
PARTITIONS = 6
RECORDS = 600
LIMIT = 40


class Member(ConsumerRebalanceListener):
    """A consumer that reads and commits until it is told to stop."""

    def __init__(self, topic, seen):
        self.topic, self.seen, self.assigned, self.task = topic, seen, set(), None
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=BOOTSTRAP, group_id=topic, auto_offset_reset="earliest", enable_auto_commit=False,
            heartbeat_interval_ms=300,
        )

    async def on_partitions_assigned(self, assigned):
        self.assigned = {p.partition for p in assigned}

    async def on_partitions_revoked(self, revoked):
        self.assigned -= {p.partition for p in revoked}

    async def start(self):
        self.consumer.subscribe([self.topic], listener=self)
        await self.consumer.start()
        self.task = asyncio.create_task(self.read())

    async def read(self):
        while True:
            # What is fetched is committed before a rebalance can take it away: nothing in between waits for more.
            batches = await self.consumer.getmany(timeout_ms=100)
            for records in batches.values():
                self.seen.update(record.value for record in records)
            if batches:
                try:
                    await self.consumer.commit()
                except KafkaError as error:
                    # Read again by whoever has the partition now.
                    print("not committed:", error)

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.consumer.stop()


async def until(done, what):
    for _ in range(LIMIT * 20):
        if done():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not in time: {what}")


async def group():
    """One member, then two, then one."""
    await create("group", PARTITIONS)
    seen = Counter()
    first, second = Member("group", seen), Member("group", seen)
    await first.start()
    await until(lambda: len(first.assigned) == PARTITIONS, "all partitions")
    await fill("group", PARTITIONS)
    await until(lambda: len(seen) == RECORDS, "all records")
    await second.start()
    await until(lambda: len(first.assigned) == 3 and len(second.assigned) == 3, "half of the partitions each")
    expect(first.assigned | second.assigned, set(range(PARTITIONS)), "partitions that either has")
    await fill("group", PARTITIONS)
    await until(lambda: set(seen.values()) == {2}, "all records twice")
    await second.stop()
    await until(lambda: len(first.assigned) == PARTITIONS, "all partitions again")
    await first.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    offsets = await admin.list_consumer_group_offsets("group")
    await admin.close()
    expect(sum(o.offset for o in offsets.values()), 2 * RECORDS, "sum of committed offsets")


async def create(topic, partitions):
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1)])
    await admin.close()


async def fill(topic, partitions):
    producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, linger_ms=5)
    await producer.start()
    sent = [
        await producer.send(topic, b"record %d" % number, partition=number % partitions) for number in range(RECORDS)
    ]
    await asyncio.gather(*sent)
    await producer.stop()


def expect(found, expected, what):
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"


if __name__ == "__main__":
    cases = {case.__name__: case for case in [group]}
    for name in sys.argv[2:]:
        asyncio.run(cases[name]())
        print(name, "passed", flush=True)
