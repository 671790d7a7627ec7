"""Topics, partitions, settings and the cluster, through the admin clients of Java and librdkafka and by raw requests."""

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec

from harness import wire
from harness.broker import await_until
from harness.clients import ALL, EARLIEST, ClientError
from harness.records import Record

WAIT_S = 20

# The settings that a topic of Apache Kafka 4.4 has. A client that reads, changes and writes back needs all of them.
KAFKA_TOPIC_CONFIGS = set(
    [
        "cleanup.policy",
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.type",
        "compression.zstd.level",
        "delete.retention.ms",
        "errors.deadletterqueue.group.enable",
        "file.delete.delay.ms",
        "flush.messages",
        "flush.ms",
        "follower.replication.throttled.replicas",
        "index.interval.bytes",
        "leader.replication.throttled.replicas",
        "local.retention.bytes",
        "local.retention.ms",
        "max.compaction.lag.ms",
        "max.decompressed.message.bytes",
        "max.message.bytes",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "message.timestamp.type",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "min.insync.replicas",
        "preallocate",
        "remote.copy.lag.bytes",
        "remote.copy.lag.ms",
        "remote.log.copy.disable",
        "remote.log.delete.on.disable",
        "remote.storage.enable",
        "retention.bytes",
        "retention.ms",
        "segment.bytes",
        "segment.index.bytes",
        "segment.jitter.ms",
        "segment.ms",
        "unclean.leader.election.enable",
    ]
)


@pytest.fixture
def admin(broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


@pytest.fixture
def java(broker):
    return lambda operation, **request: ALL["java"].admin(broker.bootstrap, operation, **request)


def wait(futures: dict):
    """The one result of an AdminClient call for one thing."""
    (future,) = futures.values()
    return future.result(WAIT_S)


def code(refused) -> str:
    return refused.value.args[0].name()


# ---- topics by librdkafka -----------------------------------------------------------------------------------------


def test_librdkafka_creates_lists_describes_and_deletes_a_topic(admin, topic):
    wait(admin.create_topics([NewTopic(topic, 3, 1, config={"retention.ms": "12345678"})]))
    found = await_until(lambda: admin.list_topics(timeout=WAIT_S).topics.get(topic), "the topic is listed")
    assert sorted(found.partitions) == [0, 1, 2]
    described = wait(admin.describe_topics(confluent_kafka.TopicCollection([topic])))
    assert len(described.partitions) == 3
    assert all(len(p.replicas) == len(p.isr) == 1 and p.leader.id == p.replicas[0].id for p in described.partitions)
    assert wait(admin.describe_configs([ConfigResource("topic", topic)]))["retention.ms"].value == "12345678"
    wait(admin.delete_topics([topic]))
    await_until(lambda: topic not in admin.list_topics(timeout=WAIT_S).topics, "the topic is gone")


def test_librdkafka_hears_why_a_topic_is_not_created(admin, topic):
    wait(admin.create_topics([NewTopic(topic, 1, 1)]))
    for wrong, expected in [
        (NewTopic(topic, 1, 1), "TOPIC_ALREADY_EXISTS"),
        (NewTopic(topic + "-none", 0, 1), "INVALID_PARTITIONS"),
        (NewTopic(topic + "-many", 1, 99), "INVALID_REPLICATION_FACTOR"),
        (NewTopic("no spaces please", 1, 1), "TOPIC_EXCEPTION"),
        (NewTopic("n" * 250, 1, 1), "TOPIC_EXCEPTION"),
        (NewTopic("..", 1, 1), "TOPIC_EXCEPTION"),
        (NewTopic(topic + "-unknown", 1, 1, config={"no.such.config": "1"}), "INVALID_CONFIG"),
        (NewTopic(topic + "-value", 1, 1, config={"retention.ms": "a while"}), "INVALID_CONFIG"),
        (NewTopic(topic + "-negative", 1, 1, config={"max.message.bytes": "-1"}), "INVALID_CONFIG"),
    ]:
        with pytest.raises(confluent_kafka.KafkaException) as refused:
            wait(admin.create_topics([wrong]))
        assert code(refused) == expected, wrong.topic


def test_valid_and_invalid_entries_of_one_request_are_answered_each(admin, topic):
    futures = admin.create_topics([NewTopic(topic + "-good", 1, 1), NewTopic("bad name", 1, 1), NewTopic(topic + "-also-good", 2, 1)])
    assert futures[topic + "-good"].result(WAIT_S) is None
    assert futures[topic + "-also-good"].result(WAIT_S) is None
    with pytest.raises(confluent_kafka.KafkaException):
        futures["bad name"].result(WAIT_S)
    listed = await_until(
        lambda: (t := admin.list_topics(timeout=WAIT_S).topics) and topic + "-also-good" in t and t, "the good ones are listed"
    )
    assert topic + "-good" in listed and "bad name" not in listed


def test_validate_only_creates_nothing(admin, topic):
    wait(admin.create_topics([NewTopic(topic, 1, 1)], validate_only=True))
    assert topic not in admin.list_topics(timeout=WAIT_S).topics
    with pytest.raises(confluent_kafka.KafkaException):
        wait(admin.create_topics([NewTopic(topic, 1, 99)], validate_only=True))


def test_partitions_are_added_and_never_taken(admin, broker, topic):
    wait(admin.create_topics([NewTopic(topic, 2, 1)]))
    ALL["confluent"].produce(broker.bootstrap, topic, 1, [Record(None, b"stays")])
    wait(admin.create_partitions([NewPartitions(topic, 5)]))
    await_until(lambda: len(admin.list_topics(timeout=WAIT_S).topics[topic].partitions) == 5, "five partitions")
    assert ALL["java"].produce(broker.bootstrap, topic, 4, [Record(None, b"new")]) == [0]
    assert [r.value for r in ALL["confluent"].consume(broker.bootstrap, topic, 1, EARLIEST, 1)] == [b"stays"]
    for wrong in (5, 3):
        with pytest.raises(confluent_kafka.KafkaException) as refused:
            wait(admin.create_partitions([NewPartitions(topic, wrong)]))
        assert code(refused) == "INVALID_PARTITIONS"
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        wait(admin.create_partitions([NewPartitions(topic + "-unknown", 3)]))
    assert code(refused) == "UNKNOWN_TOPIC_OR_PART"


def test_deleting_an_unknown_topic_says_so(admin, topic):
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        wait(admin.delete_topics([topic]))
    assert code(refused) == "UNKNOWN_TOPIC_OR_PART"


def test_librdkafka_deletes_records_and_lists_offsets(admin, broker, topic):
    broker.create_topic(topic)
    ALL["confluent"].produce(broker.bootstrap, topic, 0, [Record(None, b"%d" % i) for i in range(30)])
    deleted = wait(admin.delete_records([confluent_kafka.TopicPartition(topic, 0, 17)]))
    assert deleted.low_watermark == 17
    one = confluent_kafka.TopicPartition(topic, 0)
    assert wait(admin.list_offsets({one: OffsetSpec.earliest()})).offset == 17
    assert wait(admin.list_offsets({one: OffsetSpec.latest()})).offset == 30
    received = ALL["confluent"].consume(broker.bootstrap, topic, 0, EARLIEST, 13)
    assert [r.offset for r in received] == list(range(17, 30))
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        wait(admin.delete_records([confluent_kafka.TopicPartition(topic, 0, 31)]))
    assert code(refused) == "OFFSET_OUT_OF_RANGE"
    # -1 (OFFSET_END) means all that is there; the log goes on at its end.
    assert wait(admin.delete_records([confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_END)])).low_watermark == 30
    assert ALL["java"].produce(broker.bootstrap, topic, 0, [Record(None, b"next")]) == [30]
    assert [r.offset for r in ALL["java"].consume(broker.bootstrap, topic, 0, EARLIEST, 1)] == [30]


# ---- topics by Java -----------------------------------------------------------------------------------------------


def test_java_creates_lists_describes_and_deletes_a_topic(java, topic):
    created = java("create-topic", topic=topic, partitions=3, topic_config={"segment.bytes": "2000000"})
    assert created["partitions"] == 3
    await_until(lambda: topic in java("list-topics"), "the topic is listed")
    described = java("describe-topic", topic=topic)
    assert described["topic_id"] == created["topic_id"] != "AAAAAAAAAAAAAAAAAAAAAA"
    assert len(described["leaders"]) == 3 and described["replicas"] == described["isr"] == [1, 1, 1]
    java("create-partitions", topic=topic, partitions=4)
    await_until(lambda: len(java("describe-topic", topic=topic)["leaders"]) == 4, "four partitions")
    java("delete-topic", topic=topic)
    await_until(lambda: topic not in java("list-topics"), "the topic is gone")
    with pytest.raises(ClientError) as refused:
        java("describe-topic", topic=topic)
    assert refused.value.kind == "UnknownTopicOrPartitionException"


def test_java_hears_why_a_topic_is_not_created(java, topic):
    java("create-topic", topic=topic, partitions=1)
    for request, expected in [
        ({"topic": topic, "partitions": 1}, "TopicExistsException"),
        ({"topic": "bad name", "partitions": 1}, "InvalidTopicException"),
        ({"topic": topic + "-x", "partitions": 1, "topic_config": {"no.such": "1"}}, "InvalidConfigurationException"),
    ]:
        with pytest.raises(ClientError) as refused:
            java("create-topic", **request)
        assert refused.value.kind == expected
        assert refused.value.message not in ("", "null")


def test_java_deletes_records(java, broker, topic):
    broker.create_topic(topic)
    ALL["java"].produce(broker.bootstrap, topic, 0, [Record(None, b"%d" % i) for i in range(10)])
    assert java("delete-records", topic=topic, partition=0, before=4) == 4
    assert java("list-offsets", topic=topic, partition=0, spec="earliest")["offset"] == 4
    # Going back is no error and changes nothing.
    assert java("delete-records", topic=topic, partition=0, before=2) == 4


def test_records_deleted_stay_deleted_after_a_restart(new_broker, topic):
    broker = new_broker().start()
    broker.create_topic(topic)
    ALL["java"].produce(broker.bootstrap, topic, 0, [Record(None, b"%d" % i) for i in range(10)])
    with broker.connect() as connection:
        assert wire.delete_records(connection, topic, 0, 6) == (0, 6)
    broker.stop()
    broker.start()
    with broker.connect() as connection:
        await_until(lambda: wire.list_offset(connection, topic, 0, wire.EARLIEST).error == 0, "the partition is led again")
        assert wire.list_offset(connection, topic, 0, wire.EARLIEST).offset == 6
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 10
    broker.stop()


# ---- settings and the cluster -------------------------------------------------------------------------------------


def test_a_topic_shows_every_setting_of_kafka_with_value_source_and_type(java, topic):
    java("create-topic", topic=topic, partitions=1, topic_config={"retention.ms": "7200000", "message.timestamp.type": "LogAppendTime"})
    configs = java("describe-configs", resource="TOPIC", name=topic)
    assert KAFKA_TOPIC_CONFIGS - set(configs) == set()
    assert configs["retention.ms"] == {"value": "7200000", "source": "DYNAMIC_TOPIC_CONFIG", "read_only": False, "type": "LONG"}
    assert configs["message.timestamp.type"]["value"] == "LogAppendTime"
    assert configs["max.message.bytes"]["source"] == "DEFAULT_CONFIG"
    assert (configs["max.message.bytes"]["value"], configs["max.message.bytes"]["type"]) == ("1048588", "INT")
    # KIP-1030: one hour since Kafka 4.0.
    assert configs["message.timestamp.after.max.ms"]["value"] == "3600000"
    assert configs["cleanup.policy"]["type"] == "LIST" and configs["preallocate"]["type"] == "BOOLEAN"


def test_the_settings_of_an_unknown_topic_are_an_error(java, topic):
    with pytest.raises(ClientError) as refused:
        java("describe-configs", resource="TOPIC", name=topic)
    assert refused.value.kind == "UnknownTopicOrPartitionException"


def test_the_broker_shows_its_settings(java, admin):
    (node,) = java("describe-cluster")["node_ids"]
    configs = java("describe-configs", resource="BROKER", name=str(node))
    assert configs["num.partitions"]["value"] == "4"
    assert wait(admin.describe_configs([ConfigResource("broker", str(node))]))["num.partitions"].value == "4"


def test_the_cluster_is_described_alike_by_all(java, admin, broker):
    described = java("describe-cluster")
    assert described["nodes"] == [broker.bootstrap]
    assert described["controller"] in described["node_ids"]
    by_librdkafka = admin.describe_cluster().result(WAIT_S)
    assert by_librdkafka.cluster_id == described["cluster_id"] != ""
    assert [f"{n.host}:{n.port}" for n in by_librdkafka.nodes] == [broker.bootstrap]
    assert admin.list_topics(timeout=WAIT_S).cluster_id == described["cluster_id"]


def test_the_cluster_keeps_its_identity_over_a_restart(new_broker):
    """Kafka 4.4's clients reconnect with the ids they know and are turned away when these changed (KIP-1242)."""
    broker = new_broker().start()
    before = ALL["java"].admin(broker.bootstrap, "describe-cluster")
    broker.stop()
    broker.start()
    assert ALL["java"].admin(broker.bootstrap, "describe-cluster") == before
    broker.stop()


# ---- creation by asking -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("producer", ALL)
def test_producing_to_an_unknown_topic_creates_it_with_four_partitions(broker, topic, producer):
    ALL[producer].produce(broker.bootstrap, topic, 3, [Record(b"k", b"v")])
    with broker.connect() as connection:
        assert sorted(wire.metadata(connection, [topic])[topic].partitions) == [0, 1, 2, 3]
    assert [r.value for r in ALL["confluent"].consume(broker.bootstrap, topic, 3, EARLIEST, 1)] == [b"v"]


def test_metadata_creates_only_when_asked_to(broker, topic):
    with broker.connect() as connection:
        assert wire.error_name(wire.metadata(connection, [topic])[topic].error) == "UNKNOWN_TOPIC_OR_PARTITION"
        assert wire.error_name(wire.metadata(connection, [topic])[topic].error) == "UNKNOWN_TOPIC_OR_PARTITION"
        wire.metadata(connection, [topic], auto_create=True)
        created = await_until(lambda: (t := wire.metadata(connection, [topic])[topic]).error == 0 and t, "the topic is there")
        assert len(created.partitions) == 4 and created.topic_id != bytes(16)
        refused = wire.metadata(connection, ["not a topic name"], auto_create=True)["not a topic name"]
        assert wire.error_name(refused.error) == "INVALID_TOPIC_EXCEPTION"
