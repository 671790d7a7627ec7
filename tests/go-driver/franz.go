package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// franz is franz-go.
type franz struct{}

var franzCodecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

func franzBalancers(r request) []kgo.Opt {
	options := map[string][]kgo.Opt{
		"range":              {kgo.Balancers(kgo.RangeBalancer())},
		"roundrobin":         {kgo.Balancers(kgo.RoundRobinBalancer())},
		"cooperative-sticky": {kgo.Balancers(kgo.CooperativeStickyBalancer())},
		"uniform":            {kgo.Balancers(kgo.StickyBalancer())},
	}
	if r.Protocol == "consumer" {
		// It names the broker's assignor after its own balancer.
		if r.Strategy == "" {
			r.Strategy = "uniform"
		}
		return append(options[r.Strategy], kgo.ServerSideBalancer())
	}
	return options[r.Strategy]
}

func (franz) produce(r request) ([]int64, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(r.Bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(franzCodecs[r.Codec]),
		kgo.ProducerBatchMaxBytes(16 << 10),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.AllowAutoTopicCreation(),
	}
	if r.MaxBytes > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(r.MaxBytes))
	}
	if !r.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	producer, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	records := make([]*kgo.Record, len(r.Records))
	for i, sent := range r.Records {
		records[i] = &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: sent.Key, Value: sent.Value}
		for _, one := range sent.Headers {
			records[i].Headers = append(records[i].Headers, kgo.RecordHeader{Key: one.name, Value: one.value})
		}
		if sent.Timestamp != nil {
			records[i].Timestamp = time.UnixMilli(*sent.Timestamp)
		}
	}
	// Its own RecordDeliveryTimeout counts from the records' timestamps, which may be old.
	within, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := producer.ProduceSync(within, records...).FirstErr(); err != nil {
		return nil, err
	}
	offsets := make([]int64, len(records))
	for i, record := range records {
		offsets[i] = record.Offset
	}
	return offsets, nil
}

func franzOffset(start int64) kgo.Offset {
	switch start {
	case -2:
		return kgo.NewOffset().AtStart()
	case -1:
		return kgo.NewOffset().AtEnd()
	}
	return kgo.NewOffset().At(start)
}

func (franz) consume(r request) ([]row, error) {
	consumer, err := kgo.NewClient(
		kgo.SeedBrokers(r.Bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: {r.Partition: franzOffset(r.Start)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(200*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	within, cancel := context.WithTimeout(context.Background(), time.Duration(r.DeadlineMs)*time.Millisecond)
	defer cancel()
	rows := []row{}
	for len(rows) < r.Count && within.Err() == nil {
		fetches := consumer.PollFetches(within)
		if err := fetches.Err(); err != nil && within.Err() == nil {
			return nil, err
		}
		fetches.EachRecord(func(record *kgo.Record) {
			timestamp := record.Timestamp.UnixMilli()
			read := row{Key: record.Key, Value: record.Value, Headers: []header{}, Timestamp: &timestamp, Offset: record.Offset}
			if kind, told := timestampTypes[record.Attrs.TimestampType()]; told {
				read.TimestampType = &kind
			}
			for _, one := range record.Headers {
				read.Headers = append(read.Headers, header{one.Key, one.Value})
			}
			rows = append(rows, read)
		})
	}
	return rows, nil
}

func (franz) offsetsForTimes(r request) (map[int64]*int64, error) {
	asking, err := kgo.NewClient(kgo.SeedBrokers(r.Bootstrap))
	if err != nil {
		return nil, err
	}
	defer asking.Close()
	found := map[int64]*int64{}
	for _, timestamp := range r.Timestamps {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = r.Partition, timestamp
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic, topic.Partitions = r.Topic, append(topic.Partitions, partition)
		request := kmsg.NewPtrListOffsetsRequest()
		request.Topics = append(request.Topics, topic)
		answer, err := request.RequestWith(context.Background(), asking)
		if err != nil {
			return nil, err
		}
		one := answer.Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(one.ErrorCode); err != nil {
			return nil, err
		}
		found[timestamp] = nil
		if one.Offset >= 0 {
			found[timestamp] = &one.Offset
		}
	}
	return found, nil
}

func (franz) newMember(r request) (*member, error) {
	joined := newMember()
	resets := map[string]kgo.Offset{
		"earliest": kgo.NewOffset().AtStart(),
		"latest":   kgo.NewOffset().AtEnd(),
		"none":     kgo.NewOffset().AtCommitted(),
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(r.Bootstrap),
		kgo.ClientID("franz-go"),
		kgo.ConsumerGroup(r.Group),
		kgo.ConsumeTopics(r.Topic),
		kgo.ConsumeResetOffset(resets[r.Reset]),
		kgo.SessionTimeout(time.Duration(r.SessionMs) * time.Millisecond),
		kgo.RebalanceTimeout(20 * time.Second),
		kgo.HeartbeatInterval(300 * time.Millisecond),
		kgo.DisableAutoCommit(),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.MetadataMaxAge(time.Second),
		kgo.FetchMaxWait(100 * time.Millisecond),
		// What is polled is told of before it can be taken away.
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
			joined.assigned(r.Topic, given[r.Topic])
		}),
		kgo.OnPartitionsRevoked(func(within context.Context, consumer *kgo.Client, taken map[string][]int32) {
			if r.CommitOnRevoke {
				if err := consumer.CommitUncommittedOffsets(within); err != nil {
					joined.fail(fmt.Errorf("commit before giving up: %w", err))
				}
			}
			joined.gaveUp(r.Topic, taken[r.Topic])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { joined.gaveUp(r.Topic, lost[r.Topic]) }),
	}
	options = append(options, franzBalancers(r)...)
	if r.InstanceID != "" {
		options = append(options, kgo.InstanceID(r.InstanceID))
	}
	consumer, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	within, stop := context.WithCancel(context.Background())
	joined.commit = func() error { return consumer.CommitUncommittedOffsets(context.Background()) }
	joined.leave = stop
	go func() {
		defer close(joined.ended)
		defer consumer.CloseAllowingRebalance()
		for within.Err() == nil {
			fetches := consumer.PollFetches(within)
			fetches.EachError(func(topic string, partition int32, err error) {
				if within.Err() == nil && !kerr.IsRetriable(err) && !errors.Is(err, kerr.UnknownTopicOrPartition) {
					joined.fail(fmt.Errorf("%s-%d: %w", topic, partition, err))
				}
			})
			fetches.EachRecord(func(record *kgo.Record) { joined.read(record.Topic, record.Partition, record.Offset, record.Value) })
			consumer.AllowRebalance()
		}
	}()
	return joined, nil
}

func (franz) dashboard(r request) (*dashboard, error) {
	asking, err := kgo.NewClient(kgo.SeedBrokers(r.Bootstrap))
	if err != nil {
		return nil, err
	}
	admin, within := kadm.NewClient(asking), context.Background()
	defer admin.Close()
	shown := newDashboard()
	lags, err := admin.Lag(within)
	if err != nil {
		return nil, err
	}
	for name, group := range lags {
		if err := group.Error(); err != nil {
			return nil, fmt.Errorf("group %s: %w", name, err)
		}
		shown.Groups[name] = [2]any{group.State, len(group.Members)}
		for _, one := range group.Lag.Sorted() {
			shown.Lag = append(shown.Lag, [4]any{name, one.Topic, one.Partition, one.Lag})
		}
	}
	folders, err := admin.DescribeAllLogDirs(within, nil)
	if err != nil {
		return nil, err
	}
	var failed error
	folders.Each(func(folder kadm.DescribedLogDir) {
		failed = errors.Join(failed, folder.Err)
		folder.Topics.Each(func(one kadm.DescribedLogDirPartition) { shown.size(one.Topic, one.Partition, one.Size) })
	})
	if failed != nil {
		return nil, failed
	}
	configs, err := admin.DescribeTopicConfigs(within, r.Topic)
	if err != nil {
		return nil, err
	}
	for _, resource := range configs {
		if resource.Err != nil {
			return nil, resource.Err
		}
		for _, config := range resource.Configs {
			shown.Configs[config.Key] = config.MaybeValue()
		}
	}
	return shown, nil
}
