"""Producers whose acknowledgements are checked, with confluent-kafka, that is, with a current librdkafka.

Obeys the protocol of lines in tests/compat/src/stored/client.rs.

usage: confluent_kafka_producers.py BOOTSTRAP
"""

import functools
import sys
import threading

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaException, Producer

BOOTSTRAP = sys.argv[1]
OUTSTANDING_MAX = 100
MODES = {
    "idempotent": {"enable.idempotence": True, "acks": "all"},
    "all": {"acks": "all"},
    "leader": {"acks": "1"},
}
SETTINGS = {
    "bootstrap.servers": BOOTSTRAP,
    "linger.ms": 0,
    "batch.num.messages": 1,
    "partitioner": "murmur2_random",
    "topic.metadata.refresh.interval.ms": 500,
    "topic.metadata.refresh.fast.interval.ms": 5,
    "retry.backoff.ms": 10,
    "topic.metadata.propagation.max.ms": 120_000,
    "message.timeout.ms": 120_000,
    "reconnect.backoff.max.ms": 500,
    # Lost connections are what is tested.
    "log_level": 2,
}

ended = threading.Event()
output = threading.Lock()


def say(line):
    with output:
        print(line, flush=True)


def delivered(label, error, record):
    if error:
        say(f"failed {label} {error}")
        return
    if record.offset() is None:
        # No broker has said so: librdkafka infers it from what was acknowledged behind it, which is wrong of a record that
        # it moved to another partition when the topic was made again with fewer. Beside Kafka 4.1 it does the same.
        say(f"failed {label} inferred, not acknowledged")
        return
    kind, time = record.timestamp()
    time = time if kind == TIMESTAMP_LOG_APPEND_TIME else -1
    say(f"stored {record.topic()} {record.partition()} {record.offset()} {time} {label}")


class Worker(threading.Thread):
    def __init__(self, name, mode, topic, partition):
        super().__init__()
        self.label, self.topic = name, topic
        self.where = {} if partition == "key" else {"partition": int(partition)}
        self.producer = Producer({**SETTINGS, **MODES[mode]})
        self.producer.list_topics(timeout=60)

    def start_sending(self, count):
        self.count = count
        self.start()

    def run(self):
        number = 0
        while not ended.is_set() if self.count == 0 else number < self.count:
            if len(self.producer) >= OUTSTANDING_MAX:
                self.producer.poll(0.1)
                continue
            label, key = f"{self.label}:{number}", f"{self.label}:{number % 64}"
            number += 1
            try:
                value = f"{label}:".ljust(600, ".")
                told = functools.partial(delivered, label)
                self.producer.produce(self.topic, value, key=key, on_delivery=told, **self.where)
                self.producer.poll(0)
            except KafkaException as error:
                # The partition is not there (any more).
                say(f"failed {label} {error}")
                self.producer.poll(0.1)
        self.producer.flush()


def run():
    workers = []
    for line in sys.stdin:
        command, *words = line.split()
        if command == "producer":
            workers.append(Worker(*words))
        elif command == "go":
            ended.clear()
            for worker in workers:
                worker.start_sending(int(words[0]))
            threading.Thread(target=finish, args=(workers,)).start()
            workers = []
        elif command == "end":
            ended.set()


def finish(workers):
    for worker in workers:
        worker.join()
    say("done")


run()
