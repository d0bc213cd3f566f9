package millrace

import (
	"encoding/binary"
	"unsafe"
)

const (
	blockHeaderLength = 20
	// Blocks are handed over at this size even where larger ones are taken.
	blockLengthUsual = 512 << 10
	// A record's lengths, offset, count and attributes at their longest.
	fieldsLengthMax = 64
)

// Header is one header of a record that is sent.
type Header struct {
	Key, Value string
}

// Outputs collects what a transform sends: a block per output topic, handed over when full and at the end.
type Outputs struct {
	max           int
	baseTimestamp int64
	blocks        []block
	scratch       []byte
}

type block struct {
	bytes []byte
	count uint32
}

func newOutputs(context *Context) *Outputs {
	return &Outputs{
		max:    min(int(context.BlockBytesMax), blockLengthUsual),
		blocks: make([]block, len(context.Outputs)),
	}
}

// Send sends the record on with this key and value, and with these headers behind its own.
func (outputs *Outputs) Send(output int, record *Record, key, value []byte, added ...Header) {
	outputs.send(output, record, key, value, record.headers, record.headerCount, added)
}

// SendBare sends the record on with this key and value and without headers.
func (outputs *Outputs) SendBare(output int, record *Record, key, value []byte) {
	outputs.send(output, record, key, value, nil, 0, nil)
}

func (outputs *Outputs) send(
	output int, record *Record, key, value, kept []byte, keptCount int64, added []Header,
) {
	block := &outputs.blocks[output]
	tail := appendSized(outputs.scratch[:0], key)
	tail = appendSized(tail, value)
	tail = binary.AppendVarint(tail, keptCount+int64(len(added)))
	tail = append(tail, kept...)
	for _, header := range added {
		tail = appendSized(tail, []byte(header.Key))
		tail = appendSized(tail, []byte(header.Value))
	}
	outputs.scratch = tail
	if block.count > 0 && len(block.bytes)-blockHeaderLength+len(tail)+fieldsLengthMax > outputs.max {
		outputs.handOver(output)
	}
	if len(block.bytes) == 0 {
		block.bytes = append(block.bytes, make([]byte, blockHeaderLength)...)
	}
	var fields [fieldsLengthMax]byte
	head := append(fields[:0], 0)
	head = append(head, record.timestampDelta...)
	head = binary.AppendVarint(head, int64(block.count))
	block.bytes = binary.AppendVarint(block.bytes, int64(len(head)+len(tail)))
	block.bytes = append(block.bytes, head...)
	block.bytes = append(block.bytes, tail...)
	block.count++
}

func (outputs *Outputs) begin(baseTimestamp int64) {
	outputs.baseTimestamp = baseTimestamp
	for index := range outputs.blocks {
		outputs.blocks[index].clear()
	}
}

func (outputs *Outputs) finish() {
	for index := range outputs.blocks {
		outputs.handOver(index)
	}
}

func (outputs *Outputs) handOver(output int) {
	block := &outputs.blocks[output]
	if block.count > 0 {
		binary.LittleEndian.PutUint32(block.bytes[0:], uint32(output))
		binary.LittleEndian.PutUint32(block.bytes[4:], block.count)
		binary.LittleEndian.PutUint32(block.bytes[8:], uint32(len(block.bytes)-blockHeaderLength))
		binary.LittleEndian.PutUint64(block.bytes[12:], uint64(outputs.baseTimestamp))
		hostEmit(unsafe.Pointer(&block.bytes[0]), uint32(len(block.bytes)))
	}
	block.clear()
}

func (block *block) clear() {
	block.bytes = block.bytes[:0]
	block.count = 0
}

// Nil is absent.
func appendSized(to, bytes []byte) []byte {
	if bytes == nil {
		return binary.AppendVarint(to, -1)
	}
	return append(binary.AppendVarint(to, int64(len(bytes))), bytes...)
}
