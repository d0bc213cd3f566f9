// Consumer groups with the clients that programs in Go stand on.
//
// usage: groups BOOTSTRAP CASE...
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 6
	records    = 600
	limit      = 40 * time.Second
)

var bootstrap string

// What the members of a group have read, and how often.
type ledger struct {
	mutex sync.Mutex
	seen  map[string]int
}

// A member of a group, whichever library it stands on.
type member interface {
	assigned() []int32
	close()
}

func main() {
	bootstrap = os.Args[1]
	cases := map[string]func(){
		"franz-go-eager":       func() { rebalances("franz-go-eager", franzMember(kgo.RangeBalancer())) },
		"franz-go-cooperative": func() { rebalances("franz-go-cooperative", franzMember(kgo.CooperativeStickyBalancer())) },
		"sarama":               func() { rebalances("sarama", saramaMember) },
		"kafka-go":             func() { rebalances("kafka-go", kafkaGoMember) },
	}
	for _, name := range os.Args[2:] {
		cases[name]()
		fmt.Println(name, "passed")
	}
}

// One member, then two, then one: who has what, and every record read.
func rebalances(topic string, join func(topic string, read *ledger) member) {
	create(topic, partitions)
	fill(topic, partitions)
	read := &ledger{seen: map[string]int{}}
	first := join(topic, read)
	until("all records", func() bool { return len(first.assigned()) == partitions && read.total() >= records })
	second := join(topic, read)
	until("half each", func() bool { return len(first.assigned()) == 3 && len(second.assigned()) == 3 })
	both := append(first.assigned(), second.assigned()...)
	sort.Slice(both, func(a, b int) bool { return both[a] < both[b] })
	expect(fmt.Sprint(both), "[0 1 2 3 4 5]", "partitions that either has")
	fill(topic, partitions)
	until("all records twice", func() bool { return read.least() == 2 })
	second.close()
	until("all partitions again", func() bool { return len(first.assigned()) == partitions })
	fill(topic, partitions)
	until("all records three times", func() bool { return read.least() == 3 })
	first.close()
	expect(committed(topic), int64(3*records), "sum of committed offsets")
	expect(read.total(), 3*records, "records that were read")
}

func (l *ledger) add(value []byte) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.seen[string(value)]++
}

func (l *ledger) total() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	sum := 0
	for _, count := range l.seen {
		sum += count
	}
	return sum
}

// How often the record was read that was read least often.
func (l *ledger) least() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	least := 1 << 30
	for number := range records {
		least = min(least, l.seen["record "+strconv.Itoa(number)])
	}
	return least
}

func administrator() *kadm.Client {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	must(err)
	return kadm.NewClient(client)
}

func create(topic string, count int32) {
	admin := administrator()
	defer admin.Close()
	_, err := admin.CreateTopic(context.Background(), count, 1, nil, topic)
	must(err)
}

func committed(group string) int64 {
	admin := administrator()
	defer admin.Close()
	offsets, err := admin.FetchOffsets(context.Background(), group)
	must(err)
	var sum int64
	offsets.Each(func(offset kadm.OffsetResponse) { sum += offset.At })
	return sum
}

func fill(topic string, count int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	must(err)
	defer client.Close()
	for number := range records {
		value := []byte("record " + strconv.Itoa(number))
		client.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: int32(number % count), Value: value},
			func(_ *kgo.Record, err error) { must(err) })
	}
	must(client.Flush(context.Background()))
}

func until(what string, done func() bool) {
	for deadline := time.Now().Add(limit); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			panic("not in time: " + what)
		}
	}
}

func expect(found, expected any, what string) {
	if found != expected {
		panic(fmt.Sprintf("%s: expected %v, found %v", what, expected, found))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
