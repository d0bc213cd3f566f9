package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

type kafkaGo struct {
	group *kafka.ConsumerGroup
	topic string
	read  *ledger
	done  chan struct{}
	mutex sync.Mutex
	held  []int32
}

func kafkaGoMember(topic string, read *ledger) member {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: topic, Brokers: []string{bootstrap}, Topics: []string{topic}, StartOffset: kafka.FirstOffset,
		HeartbeatInterval: 300 * time.Millisecond,
	})
	must(err)
	made := &kafkaGo{group: group, topic: topic, read: read, done: make(chan struct{})}
	go made.run()
	return made
}

func (k *kafkaGo) run() {
	defer close(k.done)
	for {
		generation, err := k.group.Next(context.Background())
		if errors.Is(err, kafka.ErrGroupClosed) {
			return
		}
		must(err)
		k.hold(nil)
		var held []int32
		for _, assignment := range generation.Assignments[k.topic] {
			held = append(held, int32(assignment.ID))
			generation.Start(func(ctx context.Context) { k.consume(ctx, generation, assignment) })
		}
		k.hold(held)
	}
}

// Reads one partition until the generation ends, and commits now and then, and at the end of what there is.
func (k *kafkaGo) consume(ctx context.Context, generation *kafka.Generation, assignment kafka.PartitionAssignment) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{bootstrap}, Topic: k.topic, Partition: assignment.ID, MaxWait: 100 * time.Millisecond,
	})
	defer reader.Close()
	must(reader.SetOffset(assignment.Offset))
	for {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			if !errors.Is(err, kafka.ErrGenerationEnded) && !errors.Is(err, context.Canceled) {
				panic(err)
			}
			return
		}
		k.read.add(message.Value)
		if next := message.Offset + 1; next%20 == 0 || next == message.HighWaterMark {
			must(generation.CommitOffsets(map[string]map[int]int64{k.topic: {assignment.ID: next}}))
		}
	}
}

func (k *kafkaGo) hold(partitions []int32) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.held = partitions
}

func (k *kafkaGo) assigned() []int32 {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return append([]int32(nil), k.held...)
}

func (k *kafkaGo) close() {
	must(k.group.Close())
	<-k.done
}
