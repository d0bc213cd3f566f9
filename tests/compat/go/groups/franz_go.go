package main

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

type franz struct {
	client *kgo.Client
	done   chan struct{}
	mutex  sync.Mutex
	held   map[int32]bool
}

func franzMember(balancer kgo.GroupBalancer) func(topic string, read *ledger) member {
	return func(topic string, read *ledger) member {
		made := &franz{done: make(chan struct{}), held: map[int32]bool{}}
		note := func(has bool) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, moved map[string][]int32) {
				made.mutex.Lock()
				defer made.mutex.Unlock()
				for _, partition := range moved[topic] {
					made.held[partition] = has
				}
			}
		}
		client, err := kgo.NewClient(
			kgo.SeedBrokers(bootstrap), kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic), kgo.Balancers(balancer),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
			kgo.HeartbeatInterval(300e6), kgo.OnPartitionsAssigned(note(true)), kgo.OnPartitionsRevoked(note(false)),
			kgo.OnPartitionsLost(note(false)))
		must(err)
		made.client = client
		go made.run(read)
		return made
	}
}

// Reads and commits until the client is closed.
func (f *franz) run(read *ledger) {
	defer close(f.done)
	for {
		fetches := f.client.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		must(fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) { read.add(record.Value) })
		must(f.client.CommitUncommittedOffsets(context.Background()))
		f.client.AllowRebalance()
	}
}

func (f *franz) assigned() []int32 {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	var held []int32
	for partition, has := range f.held {
		if has {
			held = append(held, partition)
		}
	}
	return held
}

func (f *franz) close() {
	f.client.CloseAllowingRebalance()
	<-f.done
}
