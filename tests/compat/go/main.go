// Producers whose acknowledgements are checked, with franz-go.
//
// Obeys the protocol of lines in tests/compat/src/stored/client.rs.
//
// usage: producers BOOTSTRAP
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const outstandingMax = 100

var (
	ended  atomic.Bool
	output sync.Mutex
)

type worker struct {
	name, topic string
	partition   int32
	options     []kgo.Opt
	client      *kgo.Client
	// That the topic the client knows is gone.
	gone atomic.Bool
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	var workers []*worker
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "producer":
			workers = append(workers, newWorker(words[1], words[2], words[3], words[4]))
		case "go":
			ended.Store(false)
			count, err := strconv.Atoi(words[1])
			must(err)
			go run(workers, count)
			workers = nil
		case "end":
			ended.Store(true)
		default:
			panic("no command: " + lines.Text())
		}
	}
}

func newWorker(name, mode, topic, partition string) *worker {
	made := &worker{name: name, topic: topic}
	options := []kgo.Opt{
		kgo.SeedBrokers(os.Args[1]),
		kgo.AllowAutoTopicCreation(),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(1 << 10),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MetadataMaxAge(500 * time.Millisecond),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RecordDeliveryTimeout(2 * time.Minute),
		kgo.UnknownTopicRetries(20),
	}
	if partition == "key" {
		options = append(options, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	} else {
		number, err := strconv.ParseInt(partition, 10, 32)
		must(err)
		made.partition = int32(number)
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	switch mode {
	case "all":
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(5))
	case "leader":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(),
			kgo.MaxProduceRequestsInflightPerBroker(5))
	}
	made.options = options
	made.connect()
	return made
}

func (w *worker) connect() {
	client, err := kgo.NewClient(w.options...)
	must(err)
	must(client.Ping(context.Background()))
	w.client = client
}

// The library stays with a topic that was made again. It could be told to forget it, but then counts from sequence 0
// again as the same producer: what it had stored in the new topic by then has those sequences, and what follows would
// be taken for sent twice. A new client is a new producer.
func (w *worker) forget() {
	must(w.client.AbortBufferedRecords(context.Background()))
	w.client.Close()
	w.connect()
	w.gone.Store(false)
}

func run(workers []*worker, count int) {
	var running sync.WaitGroup
	for _, each := range workers {
		running.Add(1)
		go func() {
			defer running.Done()
			each.send(count)
		}()
	}
	running.Wait()
	say("done")
}

func (w *worker) send(count int) {
	room := make(chan struct{}, outstandingMax)
	for number := 0; (count == 0 && !ended.Load()) || number < count; number++ {
		room <- struct{}{}
		if w.gone.Load() {
			w.forget()
		}
		label := fmt.Sprintf("%s:%d", w.name, number)
		key := fmt.Sprintf("%s:%d", w.name, number%64)
		value := (label + ":" + strings.Repeat(".", 600))[:600]
		record := &kgo.Record{Topic: w.topic, Partition: w.partition, Key: []byte(key), Value: []byte(value)}
		w.client.Produce(context.Background(), record, func(record *kgo.Record, err error) {
			w.tell(label, record, err)
			<-room
		})
	}
	must(w.client.Flush(context.Background()))
	w.client.Close()
}

func (w *worker) tell(label string, record *kgo.Record, err error) {
	if err != nil {
		say(fmt.Sprintf("failed %s %v", label, err))
		if errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition) ||
			strings.Contains(err.Error(), "is missing a partition") {
			w.gone.Store(true)
		}
		return
	}
	// The library keeps the broker's time to itself.
	now := time.Now().UnixMilli()
	say(fmt.Sprintf("stored %s %d %d %d %s", record.Topic, record.Partition, record.Offset, now, label))
}

func say(line string) {
	output.Lock()
	defer output.Unlock()
	fmt.Println(line)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
