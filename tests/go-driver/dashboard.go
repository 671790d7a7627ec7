package main

// dashboard is what exporters and user interfaces show of a cluster.
type dashboard struct {
	// Group, topic, partition, and how far the group is behind there.
	Lag [][4]any `json:"lag"`
	// State and how many members, by group.
	Groups map[string][2]any `json:"groups"`
	// Bytes on disk, by topic and partition.
	Sizes map[string]map[int32]int64 `json:"sizes"`
	// What is set, or a default, of the asked topic.
	Configs map[string]string `json:"configs"`
}

func newDashboard() *dashboard {
	return &dashboard{Lag: [][4]any{}, Groups: map[string][2]any{}, Sizes: map[string]map[int32]int64{}, Configs: map[string]string{}}
}

func (d *dashboard) size(topic string, partition int32, bytes int64) {
	if d.Sizes[topic] == nil {
		d.Sizes[topic] = map[int32]int64{}
	}
	d.Sizes[topic][partition] = bytes
}
