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
	records    [][3]any
	assignment []int32
	revoked    [][]int32
	rebalances int
	failure    *string
}

func newMember() *member { return &member{ended: make(chan struct{})} }

func (m *member) read(partition int32, offset int64, value []byte) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.records = append(m.records, [3]any{partition, offset, value})
}

func (m *member) assigned(partitions []int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.rebalances++
	m.assignment = append(m.assignment, partitions...)
}

func (m *member) gaveUp(partitions []int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if len(partitions) > 0 {
		m.revoked = append(m.revoked, slices.Sorted(slices.Values(partitions)))
		m.assignment = slices.DeleteFunc(m.assignment, func(one int32) bool { return slices.Contains(partitions, one) })
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
	return map[string]any{
		"records":    append([][3]any{}, m.records[seen:]...),
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
