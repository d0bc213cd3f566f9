// The canonical ABI of the world `transform` of sdk/wit/plugin.wit, written by hand: there are six functions,
// and what crosses them is flat.

package millrace

import (
	"fmt"
	"unsafe"
)

// Context is where an instance runs; the WIT says what its fields mean.
type Context struct {
	Deployment    string
	Version       uint32
	Topic         string
	Partition     uint32
	Outputs       []string
	Config        map[string]string
	BlockBytesMax uint32
}

// Transform is what a plugin implements and registers.
type Transform interface {
	Start(context *Context) error
	Transform(record *Record, out *Outputs) error
}

var (
	plugin  Transform
	outputs *Outputs
	// What the host has put into this memory during the current call: it keeps no reference that the
	// garbage collector sees.
	held [][]byte
	// The result of the call before, which the host reads after the call has returned.
	result struct {
		failed  uint32
		message unsafe.Pointer
		length  uint32
	}
)

// Register makes `transform` the plugin; to be called from `init`.
func Register(transform Transform) {
	plugin = transform
}

//go:wasmimport millrace:plugin/output@0.1.0 emit
func hostEmit(blocks unsafe.Pointer, length uint32)

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldLength, align, length uint32) unsafe.Pointer {
	if length == 0 {
		return unsafe.Pointer(uintptr(align))
	}
	// Words, so that any alignment that the ABI asks for is met.
	words := make([]uint64, (length+7)/8)
	memory := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), length)
	if old != nil && oldLength > 0 {
		copy(memory, unsafe.Slice((*byte)(old), oldLength))
	}
	held = append(held, memory)
	return unsafe.Pointer(&memory[0])
}

// The context's fields, flattened, as the canonical ABI passes up to sixteen of them.
//
//go:wasmexport start
func start(
	deployment unsafe.Pointer, deploymentLength, version uint32,
	topic unsafe.Pointer, topicLength, partition uint32,
	outputNames unsafe.Pointer, outputCount uint32,
	config unsafe.Pointer, configCount, blockBytesMax uint32,
) unsafe.Pointer {
	context := &Context{
		Deployment:    text(deployment, deploymentLength),
		Version:       version,
		Topic:         text(topic, topicLength),
		Partition:     partition,
		Config:        make(map[string]string, configCount),
		BlockBytesMax: blockBytesMax,
	}
	for _, name := range unsafe.Slice((*wireText)(outputNames), outputCount) {
		context.Outputs = append(context.Outputs, name.text())
	}
	for _, pair := range unsafe.Slice((*[2]wireText)(config), configCount) {
		context.Config[pair[0].text()] = pair[1].text()
	}
	held = held[:0]
	outputs = newOutputs(context)
	return returned(plugin.Start(context))
}

//go:wasmexport transform
func transform(batch unsafe.Pointer, length uint32) unsafe.Pointer {
	err := run(unsafe.Slice((*byte)(batch), length))
	held = held[:0]
	return returned(err)
}

func run(batch []byte) (err error) {
	// What would end the program fails the batch, and says why.
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v", panicked)
		}
	}()
	walk, err := newWalk(batch)
	if err != nil {
		return err
	}
	outputs.begin(walk.baseTimestamp)
	for walk.left > 0 {
		record, err := walk.next()
		if err != nil {
			return err
		}
		if err := plugin.Transform(record, outputs); err != nil {
			return err
		}
	}
	outputs.finish()
	return nil
}

func returned(err error) unsafe.Pointer {
	result.failed = 0
	if err != nil {
		message := []byte(err.Error() + "\x00")
		result.failed, result.message, result.length = 1, unsafe.Pointer(&message[0]), uint32(len(message)-1)
	}
	return unsafe.Pointer(&result)
}

// A string in memory as the ABI lays it out.
type wireText struct {
	at     uint32
	length uint32
}

func (wire wireText) text() string {
	return text(unsafe.Pointer(uintptr(wire.at)), wire.length)
}

// A copy, because the memory is given back.
func text(at unsafe.Pointer, length uint32) string {
	return string(unsafe.Slice((*byte)(at), length))
}
