"""Batches as sdk/wit/PACKING.md lays them out: reading records in place, writing output blocks.

Timestamps are carried as the bytes they came in, because an output block counts from the same base.
"""

import functools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from componentize_py_types import Err
from wit_world.imports import output

BATCH_HEADER_LEN = 61
BLOCK_HEADER = struct.Struct("<IIIq")
# Blocks are handed over at this size even where larger ones are taken.
BLOCK_LEN_USUAL = 512 << 10
LOG_APPEND_TIME = 1 << 3


def reported(function: Callable) -> Callable:
    """Lets an export report an exception: unreported ones end in a trap that says nothing."""

    @functools.wraps(function)
    def wrapper(*arguments):
        try:
            return function(*arguments)
        except Err:
            raise
        except Exception as error:
            raise Err(f"{type(error).__name__}: {error}")

    return wrapper


@dataclass(slots=True)
class Record:
    timestamp_delta: bytes
    key: bytes | None
    value: bytes | None
    header_count: int
    headers: bytes


def take_varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at`, and what is behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def take_sized(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = take_varint(data, at)
    return (None, at) if length < 0 else (data[at : at + length], at + length)


def varint(value: int) -> bytes:
    rest = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


class Batch:
    """The batch in `data`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.append_time = bool(data[22] & LOG_APPEND_TIME)
        (self.base_timestamp,) = struct.unpack_from(">q", data, 35 if self.append_time else 27)
        (self.count,) = struct.unpack_from(">i", data, 57)

    def records(self) -> Iterator[Record]:
        data, at = self.data, BATCH_HEADER_LEN
        for _ in range(self.count):
            length, at = take_varint(data, at)
            end = at + length
            delta_at = at + 1
            _, at = take_varint(data, delta_at)
            timestamp_delta = b"\0" if self.append_time else data[delta_at:at]
            _, at = take_varint(data, at)
            key, at = take_sized(data, at)
            value, at = take_sized(data, at)
            header_count, at = take_varint(data, at)
            yield Record(timestamp_delta, key, value, header_count, data[at:end])
            at = end


class Outputs:
    """What a transform sends: a block per output topic, handed over when full and when the batch ends."""

    def __init__(self, outputs: int, block_bytes_max: int) -> None:
        self.max = min(block_bytes_max, BLOCK_LEN_USUAL)
        self.blocks = [bytearray() for _ in range(outputs)]
        self.counts = [0] * outputs
        self.base_timestamp = 0

    def begin(self, batch: Batch) -> None:
        self.base_timestamp = batch.base_timestamp
        for index in range(len(self.blocks)):
            self._clear(index)

    def send(
        self,
        index: int,
        record: Record,
        *,
        key: bytes | None,
        value: bytes | None,
        keep_headers: bool = True,
        added: tuple[tuple[str, str], ...] = (),
    ) -> None:
        headers = record.headers if keep_headers else b""
        header_count = (record.header_count if keep_headers else 0) + len(added)
        tail = b"".join(
            (sized(key), sized(value), varint(header_count), headers)
            + tuple(sized(text.encode()) for header in added for text in header)
        )
        # Room for the record's length, its attributes and its offset.
        if self.counts[index] and len(self.blocks[index]) + len(tail) + 30 > self.max:
            self._hand_over(index)
        body = b"\0" + record.timestamp_delta + varint(self.counts[index]) + tail
        self.blocks[index] += varint(len(body)) + body
        self.counts[index] += 1

    def finish(self) -> None:
        for index in range(len(self.blocks)):
            self._hand_over(index)

    def _hand_over(self, index: int) -> None:
        if self.counts[index]:
            block = self.blocks[index]
            header = BLOCK_HEADER.pack(index, self.counts[index], len(block), self.base_timestamp)
            output.emit(header + block)
        self._clear(index)

    def _clear(self, index: int) -> None:
        self.blocks[index].clear()
        self.counts[index] = 0
