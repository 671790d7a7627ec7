package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	ibm "github.com/IBM/sarama"
)

// sarama is IBM's (once Shopify's) sarama.
type sarama struct{}

var saramaCodecs = map[string]ibm.CompressionCodec{
	"none":   ibm.CompressionNone,
	"gzip":   ibm.CompressionGZIP,
	"snappy": ibm.CompressionSnappy,
	"lz4":    ibm.CompressionLZ4,
	"zstd":   ibm.CompressionZSTD,
}

var saramaStrategies = map[string]ibm.BalanceStrategy{
	"":           ibm.NewBalanceStrategyRange(),
	"range":      ibm.NewBalanceStrategyRange(),
	"roundrobin": ibm.NewBalanceStrategyRoundRobin(),
	"sticky":     ibm.NewBalanceStrategySticky(),
}

func init() { ibm.Logger = log.New(os.Stderr, "sarama ", log.LstdFlags) }

func saramaConfig() *ibm.Config {
	config := ibm.NewConfig()
	config.ClientID = "sarama"
	config.Version = ibm.MaxVersion
	config.Metadata.RefreshFrequency = time.Second
	config.Metadata.AllowAutoTopicCreation = false
	config.Net.DialTimeout = 10 * time.Second
	config.Net.ReadTimeout = 30 * time.Second
	return config
}

func (sarama) produce(r request) ([]int64, error) {
	config := saramaConfig()
	// As its users have it, who never change the default.
	config.Metadata.AllowAutoTopicCreation = true
	if r.MaxBytes > 0 {
		config.Producer.MaxMessageBytes = int(r.MaxBytes)
	}
	config.Producer.RequiredAcks = ibm.WaitForAll
	config.Producer.Compression = saramaCodecs[r.Codec]
	config.Producer.Idempotent = r.Idempotent
	config.Producer.Partitioner = ibm.NewManualPartitioner
	config.Producer.Return.Successes = true
	config.Producer.Flush.MaxMessages = 25
	// Asked for where it is idempotent; else a retry reorders what is under way behind it.
	config.Net.MaxOpenRequests = 1
	producer, err := ibm.NewSyncProducer([]string{r.Bootstrap}, config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	messages := make([]*ibm.ProducerMessage, len(r.Records))
	for i, sent := range r.Records {
		messages[i] = &ibm.ProducerMessage{Topic: r.Topic, Partition: r.Partition}
		if sent.Key != nil {
			messages[i].Key = ibm.ByteEncoder(sent.Key)
		}
		if sent.Value != nil {
			messages[i].Value = ibm.ByteEncoder(sent.Value)
		}
		for _, one := range sent.Headers {
			messages[i].Headers = append(messages[i].Headers, ibm.RecordHeader{Key: []byte(one.name), Value: one.value})
		}
		if sent.Timestamp != nil {
			messages[i].Timestamp = time.UnixMilli(*sent.Timestamp)
		}
	}
	if err := producer.SendMessages(messages); err != nil {
		var failed ibm.ProducerErrors
		if errors.As(err, &failed) && len(failed) > 0 {
			return nil, failed[0].Err
		}
		return nil, err
	}
	offsets := make([]int64, len(messages))
	for i, message := range messages {
		offsets[i] = message.Offset
	}
	return offsets, nil
}

func (sarama) consume(r request) ([]row, error) {
	config := saramaConfig()
	config.Consumer.MaxWaitTime = 200 * time.Millisecond
	consumer, err := ibm.NewConsumer([]string{r.Bootstrap}, config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	// Its words for the ends are the protocol's numbers.
	partition, err := consumer.ConsumePartition(r.Topic, r.Partition, r.Start)
	if err != nil {
		return nil, err
	}
	defer partition.Close()
	late := time.After(time.Duration(r.DeadlineMs) * time.Millisecond)
	rows := []row{}
	for len(rows) < r.Count {
		select {
		case message := <-partition.Messages():
			timestamp := message.Timestamp.UnixMilli()
			read := row{Key: message.Key, Value: message.Value, Headers: []header{}, Timestamp: &timestamp, Offset: message.Offset}
			for _, one := range message.Headers {
				read.Headers = append(read.Headers, header{string(one.Key), one.Value})
			}
			rows = append(rows, read)
		case <-late:
			return rows, nil
		}
	}
	return rows, nil
}

func (sarama) offsetsForTimes(r request) (map[int64]*int64, error) {
	asking, err := ibm.NewClient([]string{r.Bootstrap}, saramaConfig())
	if err != nil {
		return nil, err
	}
	defer asking.Close()
	found := map[int64]*int64{}
	for _, timestamp := range r.Timestamps {
		offset, err := asking.GetOffset(r.Topic, r.Partition, timestamp)
		if err != nil {
			return nil, err
		}
		found[timestamp] = nil
		if offset >= 0 {
			found[timestamp] = &offset
		}
	}
	return found, nil
}

// saramaMember handles one session after another, from a rebalance to the next.
type saramaMember struct {
	*member
	topic   string
	session ibm.ConsumerGroupSession
	lock    sync.Mutex
}

func (m *saramaMember) Setup(session ibm.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.session = session
	m.assigned(m.topic, session.Claims()[m.topic])
	return nil
}

func (m *saramaMember) Cleanup(session ibm.ConsumerGroupSession) error {
	m.gaveUp(m.topic, session.Claims()[m.topic])
	return nil
}

func (m *saramaMember) ConsumeClaim(session ibm.ConsumerGroupSession, claim ibm.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		// Marked first: what is told of can be committed.
		session.MarkMessage(message, "")
		m.read(message.Topic, message.Partition, message.Offset, message.Value)
	}
	return nil
}

func (sarama) newMember(r request) (*member, error) {
	config := saramaConfig()
	config.Consumer.Group.Session.Timeout = time.Duration(r.SessionMs) * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.Group.Rebalance.Timeout = 20 * time.Second
	config.Consumer.Group.Rebalance.GroupStrategies = []ibm.BalanceStrategy{saramaStrategies[r.Strategy]}
	config.Consumer.Group.InstanceId = r.InstanceID
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Offsets.Initial = map[string]int64{"earliest": ibm.OffsetOldest, "latest": ibm.OffsetNewest}[r.Reset]
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Return.Errors = true
	group, err := ibm.NewConsumerGroup([]string{r.Bootstrap}, r.Group, config)
	if err != nil {
		return nil, err
	}
	joined := &saramaMember{member: newMember(), topic: r.Topic}
	within, stop := context.WithCancel(context.Background())
	refused := make(chan error, 100)
	go func() {
		for err := range group.Errors() {
			select {
			case refused <- err:
			default:
			}
		}
	}()
	joined.commit = func() error {
		joined.lock.Lock()
		defer joined.lock.Unlock()
		if joined.session == nil {
			return errors.New("there is no session yet")
		}
		for len(refused) > 0 {
			<-refused
		}
		joined.session.Commit()
		select {
		case err := <-refused:
			return err
		default:
			return nil
		}
	}
	joined.leave = stop
	go func() {
		defer close(joined.ended)
		defer group.Close()
		for within.Err() == nil {
			if err := group.Consume(within, []string{r.Topic}, joined); err != nil && within.Err() == nil {
				joined.fail(fmt.Errorf("consume: %w", err))
				return
			}
		}
	}()
	return joined.member, nil
}

func (sarama) dashboard(r request) (*dashboard, error) {
	config := saramaConfig()
	// What exporters say by default, for brokers of any age.
	config.Version = ibm.V2_0_0_0
	asking, err := ibm.NewClient([]string{r.Bootstrap}, config)
	if err != nil {
		return nil, err
	}
	admin, err := ibm.NewClusterAdminFromClient(asking)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	shown := newDashboard()
	groups, err := admin.ListConsumerGroups()
	if err != nil {
		return nil, err
	}
	for name := range groups {
		described, err := admin.DescribeConsumerGroups([]string{name})
		if err != nil {
			return nil, err
		}
		shown.Groups[name] = [2]any{described[0].State, len(described[0].Members)}
		offsets, err := admin.ListConsumerGroupOffsets(name, nil)
		if err != nil {
			return nil, err
		}
		for topic, partitions := range offsets.Blocks {
			for partition, block := range partitions {
				end, err := asking.GetOffset(topic, partition, ibm.OffsetNewest)
				if err != nil {
					return nil, err
				}
				shown.Lag = append(shown.Lag, [4]any{name, topic, partition, end - block.Offset})
			}
		}
	}
	var brokers []int32
	for _, broker := range asking.Brokers() {
		brokers = append(brokers, broker.ID())
	}
	folders, err := admin.DescribeLogDirs(brokers)
	if err != nil {
		return nil, err
	}
	for _, broker := range brokers {
		for _, folder := range folders[broker] {
			for _, topic := range folder.Topics {
				for _, one := range topic.Partitions {
					shown.size(topic.Topic, one.PartitionID, one.Size)
				}
			}
		}
	}
	configs, err := admin.DescribeConfig(ibm.ConfigResource{Type: ibm.TopicResource, Name: r.Topic})
	if err != nil {
		return nil, err
	}
	for _, one := range configs {
		shown.Configs[one.Name] = one.Value
	}
	return shown, nil
}
