package main

import (
	"slices"
	"sync"
	"time"
)

// member of a group that reads on by itself, in a goroutine. It commits when it is told to.
type member struct {
	commit func() error
	leave  func() // ends the reading, and leaves the group unless it is a static member
	ended  chan struct{}

	lock       sync.Mutex
	records    [][5]any // partition, offset, value, topic, when it was read
	spans      []*span
	assignment []int32
	revoked    [][]int32
	rebalances int
	failure    *string
}

// span is how long a partition was the member's, in wall-clock milliseconds; until is -1 as long as it is.
type span struct {
	topic       string
	partition   int32
	from, until int64
}

func nowMs() int64 { return time.Now().UnixMilli() }

func newMember() *member { return &member{ended: make(chan struct{})} }

func (m *member) read(topic string, partition int32, offset int64, value []byte) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.records = append(m.records, [5]any{partition, offset, value, topic, nowMs()})
}

func (m *member) assigned(topic string, partitions []int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.rebalances++
	m.assignment = append(m.assignment, partitions...)
	for _, partition := range partitions {
		m.spans = append(m.spans, &span{topic, partition, nowMs(), -1})
	}
}

func (m *member) gaveUp(topic string, partitions []int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if len(partitions) > 0 {
		m.revoked = append(m.revoked, slices.Sorted(slices.Values(partitions)))
		m.assignment = slices.DeleteFunc(m.assignment, func(one int32) bool { return slices.Contains(partitions, one) })
		for _, held := range m.spans {
			if held.until < 0 && held.topic == topic && slices.Contains(partitions, held.partition) {
				held.until = nowMs()
			}
		}
	}
}

func (m *member) fail(err error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	text := errorName(err) + ": " + err.Error()
	m.failure = &text
}

func (m *member) status(seen int, stopped bool) map[string]any {
	m.lock.Lock()
	defer m.lock.Unlock()
	spans := [][4]any{}
	for _, held := range m.spans {
		spans = append(spans, [4]any{held.topic, held.partition, held.from, held.until})
	}
	return map[string]any{
		"records":    append([][5]any{}, m.records[seen:]...),
		"spans":      spans,
		"assignment": append([]int32{}, m.assignment...),
		"revoked":    append([][]int32{}, m.revoked...),
		"rebalances": m.rebalances,
		"failure":    m.failure,
		"stopped":    stopped,
	}
}

// close tells whether the member ended in time.
func (m *member) close() bool {
	go m.leave()
	select {
	case <-m.ended:
		return true
	case <-time.After(20 * time.Second):
		return false
	}
}
