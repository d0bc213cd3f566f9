// Package millrace is the guest's side of a transform: batches as sdk/wit/PACKING.md lays them out, and the
// exports that the host calls.
//
// Timestamps are carried as the bytes they came in, because an output block counts from the same base.
package millrace

import (
	"encoding/binary"
	"errors"
)

const (
	batchHeaderLength = 61
	logAppendTime     = 1 << 3
)

var (
	errMalformed = errors.New("malformed batch")
	zeroDelta    = []byte{0}
)

// Record is a view of one record of the input. A nil key or value is absent; an empty one is not nil.
type Record struct {
	Key            []byte
	Value          []byte
	timestampDelta []byte
	headers        []byte
	headerCount    int64
}

type walk struct {
	batch         []byte
	left          uint32
	appendTime    bool
	baseTimestamp int64
	record        Record
}

func newWalk(batch []byte) (*walk, error) {
	if len(batch) < batchHeaderLength {
		return nil, errMalformed
	}
	base := batch[27:]
	appendTime := batch[22]&logAppendTime != 0
	if appendTime {
		base = batch[35:]
	}
	return &walk{
		batch:         batch[batchHeaderLength:],
		left:          binary.BigEndian.Uint32(batch[57:]),
		appendTime:    appendTime,
		baseTimestamp: int64(binary.BigEndian.Uint64(base)),
	}, nil
}

// The record is valid until the next call.
func (walk *walk) next() (*Record, error) {
	length, rest, ok := takeVarint(walk.batch)
	if !ok || length < 1 || length > int64(len(rest)) {
		return nil, errMalformed
	}
	body := rest[1:length]
	walk.batch = rest[length:]
	walk.left--
	record := &walk.record
	_, afterTimestamp, timestampOk := takeVarint(body)
	_, rest, offsetOk := takeVarint(afterTimestamp)
	var keyOk, valueOk, countOk bool
	record.Key, rest, keyOk = takeSized(rest)
	record.Value, rest, valueOk = takeSized(rest)
	record.headerCount, record.headers, countOk = takeVarint(rest)
	if !timestampOk || !offsetOk || !keyOk || !valueOk || !countOk {
		return nil, errMalformed
	}
	record.timestampDelta = body[:len(body)-len(afterTimestamp)]
	if walk.appendTime {
		record.timestampDelta = zeroDelta
	}
	return record, nil
}

func takeVarint(bytes []byte) (int64, []byte, bool) {
	// encoding/binary's varints are zigzag varints too.
	value, length := binary.Varint(bytes)
	if length <= 0 {
		return 0, nil, false
	}
	return value, bytes[length:], true
}

func takeSized(bytes []byte) ([]byte, []byte, bool) {
	length, rest, ok := takeVarint(bytes)
	if !ok || length > int64(len(rest)) {
		return nil, nil, false
	}
	if length < 0 {
		return nil, rest, true
	}
	return rest[:length:length], rest[length:], true
}
