// Records, groups and administration with kafkajs.
//
// usage: node kafkajs_case.js BOOTSTRAP CASE...

'use strict';

const assert = require('node:assert');
const { Kafka, logLevel } = require('kafkajs');

const PARTITIONS = 6;
const RECORDS = 600;
const LIMIT_MS = 40_000;

const kafka = new Kafka({ brokers: [process.argv[2]], clientId: 'compatibility', logLevel: logLevel.NOTHING });

/** A consumer that counts what it reads and remembers which partitions it has. */
class Member {
  constructor(topic, seen) {
    this.topic = topic;
    this.seen = seen;
    this.assigned = [];
    this.consumer = kafka.consumer({ groupId: topic, heartbeatInterval: 300, rebalanceTimeout: 10_000 });
    this.consumer.on(this.consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = payload.memberAssignment[topic] ?? [];
    });
  }

  async start() {
    await this.consumer.connect();
    await this.consumer.subscribe({ topic: this.topic, fromBeginning: true });
    await this.consumer.run({
      autoCommitThreshold: 50,
      eachMessage: async ({ message }) => {
        const value = message.value.toString();
        this.seen.set(value, (this.seen.get(value) ?? 0) + 1);
      },
    });
  }
}

/** One member, then two, then one. */
async function group() {
  await create('group', PARTITIONS);
  await fill('group', PARTITIONS);
  const seen = new Map();
  const [first, second] = [new Member('group', seen), new Member('group', seen)];
  await first.start();
  await until('all records', () => first.assigned.length === PARTITIONS && total(seen) === RECORDS);
  await second.start();
  await until('half each', () => first.assigned.length === 3 && second.assigned.length === 3);
  const both = [...first.assigned, ...second.assigned].sort();
  assert.deepStrictEqual(both, [0, 1, 2, 3, 4, 5]);
  await fill('group', PARTITIONS);
  await until('all records twice', () => total(seen) === 2 * RECORDS);
  await second.consumer.disconnect();
  await until('all partitions again', () => first.assigned.length === PARTITIONS);
  await first.consumer.disconnect();
  assert.deepStrictEqual([...new Set(seen.values())], [2]);
  const admin = kafka.admin();
  await admin.connect();
  const listed = (await admin.listGroups()).groups;
  assert.deepStrictEqual(listed.find((each) => each.groupId === 'group').protocolType, 'consumer');
  assert.strictEqual(await committed(admin, 'group', 'group'), 2 * RECORDS);
  await admin.resetOffsets({ groupId: 'group', topic: 'group', earliest: true });
  const [{ state }] = (await admin.describeGroups(['group'])).groups;
  assert.strictEqual(state, 'Empty');
  assert.strictEqual(await committed(admin, 'group', 'group'), 0);
  await admin.deleteGroups(['group']);
  await admin.disconnect();
}

/** Keys, headers and nulls come back as they were sent, with the one codec that the library has by itself. */
async function roundTrip() {
  await create('round-trip', 1);
  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  const sent = Array.from({ length: 100 }, (_, number) => ({
    key: number === 3 ? null : `key ${number}`,
    value: number === 4 ? null : `value ${number} `.repeat(20),
    headers: { number: String(number) },
    timestamp: String(1_000_000 + 1_000 * number),
  }));
  for (const compression of [0, 1]) {
    await producer.send({ topic: 'round-trip', messages: sent, compression });
  }
  await producer.disconnect();
  const consumer = kafka.consumer({ groupId: 'round-trip' });
  const found = [];
  await consumer.connect();
  await consumer.subscribe({ topic: 'round-trip', fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => found.push({
      key: message.key?.toString() ?? null,
      value: message.value?.toString() ?? null,
      headers: { number: message.headers.number.toString() },
      timestamp: message.timestamp,
    }),
  });
  await until('all records', () => found.length >= 2 * sent.length);
  await consumer.disconnect();
  assert.deepStrictEqual(found, [...sent, ...sent]);
}

async function committed(admin, groupId, topic) {
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] });
  return partitions.reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0);
}

async function create(topic, numPartitions) {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }] });
  await admin.disconnect();
}

async function fill(topic, partitions) {
  const producer = kafka.producer();
  await producer.connect();
  const messages = Array.from({ length: RECORDS }, (_, number) => ({
    value: `record ${number}`,
    partition: number % partitions,
  }));
  await producer.send({ topic, messages });
  await producer.disconnect();
}

async function until(what, done) {
  const deadline = Date.now() + LIMIT_MS;
  while (!done()) {
    assert.ok(Date.now() < deadline, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function total(seen) {
  return [...seen.values()].reduce((sum, count) => sum + count, 0);
}

async function main() {
  const cases = { group, roundTrip };
  for (const name of process.argv.slice(3)) {
    await cases[name]();
    console.log(`${name} passed`);
  }
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
