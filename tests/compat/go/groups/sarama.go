package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

type saramaConsumer struct {
	group  sarama.ConsumerGroup
	read   *ledger
	cancel context.CancelFunc
	done   chan struct{}
	mutex  sync.Mutex
	held   []int32
}

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V4_1_0_0
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	return config
}

func saramaMember(topic string, read *ledger) member {
	group, err := sarama.NewConsumerGroup([]string{bootstrap}, topic, saramaConfig())
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	made := &saramaConsumer{group: group, read: read, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(made.done)
		for ctx.Err() == nil {
			if err := group.Consume(ctx, []string{topic}, made); !errors.Is(err, sarama.ErrClosedConsumerGroup) {
				must(err)
			}
		}
	}()
	return made
}

func (s *saramaConsumer) Setup(session sarama.ConsumerGroupSession) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.held = nil
	for _, partitions := range session.Claims() {
		s.held = append(s.held, partitions...)
	}
	return nil
}

func (s *saramaConsumer) Cleanup(sarama.ConsumerGroupSession) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.held = nil
	return nil
}

func (s *saramaConsumer) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message := <-claim.Messages():
			if message == nil {
				return nil
			}
			s.read.add(message.Value)
			session.MarkMessage(message, "")
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}

func (s *saramaConsumer) assigned() []int32 {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]int32(nil), s.held...)
}

func (s *saramaConsumer) close() {
	s.cancel()
	<-s.done
	must(s.group.Close())
}
