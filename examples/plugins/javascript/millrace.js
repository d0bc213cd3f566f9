/**
 * Batches as `sdk/wit/PACKING.md` lays them out: reading records in place, writing output blocks.
 *
 * Timestamps are carried as the bytes they came in, because an output block counts from the same base.
 */

import { emit } from "millrace:plugin/output@0.1.0";

const BATCH_HEADER_LEN = 61;
const BLOCK_HEADER_LEN = 20;
/** Blocks are handed over at this size even where larger ones are taken. */
const BLOCK_LEN_USUAL = 512 << 10;
const LOG_APPEND_TIME = 1 << 3;
const ZERO_DELTA = new Uint8Array(1);

const encoder = new TextEncoder();

/** The batch in `bytes`: its base timestamp, and `records()`, which yields a view of each record. */
export class Batch {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.appendTime = (bytes[22] & LOG_APPEND_TIME) !== 0;
    this.baseTimestamp = this.view.getBigInt64(this.appendTime ? 35 : 27);
    this.count = this.view.getInt32(57);
  }

  *records() {
    const { bytes } = this;
    let at = BATCH_HEADER_LEN;
    const varint = () => {
      // Products, not shifts: lengths fit 32 bits, but timestamp deltas need not.
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = bytes[at++];
        value += (byte & 0x7f) * scale;
        if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
      }
    };
    const sized = () => {
      const len = varint();
      if (len < 0) return null;
      at += len;
      return bytes.subarray(at - len, at);
    };
    for (let number = 0; number < this.count; number++) {
      const end = varint() + at;
      const deltaAt = ++at;
      varint();
      const timestampDelta = this.appendTime ? ZERO_DELTA : bytes.subarray(deltaAt, at);
      varint();
      const key = sized();
      const value = sized();
      const headerCount = varint();
      yield { timestampDelta, key, value, headerCount, headers: bytes.subarray(at, end) };
      at = end;
    }
  }
}

/** What a transform sends: one block per output topic, handed over when full and when the batch ends. */
export class Outputs {
  constructor(context) {
    this.max = Math.min(context.blockBytesMax, BLOCK_LEN_USUAL);
    this.blocks = context.outputs.map((_, index) => new Block(index));
  }

  begin(batch) {
    this.baseTimestamp = batch.baseTimestamp;
    for (const block of this.blocks) block.clear();
  }

  /** Sends `record` with this key and value (bytes or null), and `added` headers: pairs of strings. */
  send(output, record, { key = record.key, value = record.value, keepHeaders = true, added = [] }) {
    const block = this.blocks[output];
    const kept = keepHeaders ? record.headers : new Uint8Array(0);
    const extra = added.flat().map((text) => encoder.encode(text));
    const payload = [kept, ...extra].reduce((sum, part) => sum + part.length, 0);
    const len = 80 + 10 * extra.length + payload + (key?.length ?? 0) + (value?.length ?? 0);
    if (block.at - BLOCK_HEADER_LEN + len > this.max) block.handOver(this.baseTimestamp);
    block.reserve(len);
    const start = block.at;
    // The record's own length comes first, but is known last: the body is written behind room for it.
    block.at += 5;
    const body = block.at;
    block.bytes[block.at++] = 0;
    block.put(record.timestampDelta);
    block.putVarint(block.count);
    block.putSized(key);
    block.putSized(value);
    block.putVarint((keepHeaders ? record.headerCount : 0) + added.length);
    block.put(kept);
    for (const part of extra) block.putSized(part);
    const end = block.at;
    block.at = start;
    block.putVarint(end - body);
    block.bytes.copyWithin(block.at, body, end);
    block.at += end - body;
    block.count += 1;
  }

  finish() {
    for (const block of this.blocks) block.handOver(this.baseTimestamp);
  }
}

class Block {
  constructor(output) {
    this.output = output;
    this.bytes = new Uint8Array(64 << 10);
    this.clear();
  }

  clear() {
    this.at = BLOCK_HEADER_LEN;
    this.count = 0;
  }

  reserve(len) {
    if (this.at + len <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.bytes.length, this.at + len));
    larger.set(this.bytes.subarray(0, this.at));
    this.bytes = larger;
  }

  put(bytes) {
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }

  putVarint(value) {
    let rest = value < 0 ? -value * 2 - 1 : value * 2;
    while (rest >= 0x80) {
      this.bytes[this.at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.bytes[this.at++] = rest;
  }

  putSized(bytes) {
    this.putVarint(bytes === null ? -1 : bytes.length);
    if (bytes !== null) this.put(bytes);
  }

  handOver(baseTimestamp) {
    if (this.count > 0) {
      const view = new DataView(this.bytes.buffer);
      view.setUint32(0, this.output, true);
      view.setUint32(4, this.count, true);
      view.setUint32(8, this.at - BLOCK_HEADER_LEN, true);
      view.setBigInt64(12, baseTimestamp, true);
      emit(this.bytes.slice(0, this.at));
    }
    this.clear();
  }
}
