"""What tools ask about the cluster: leaders to elect, the metadata's quorum, what has settings."""

import time

import pytest

from harness import wire
from harness.schema import Api
from harness.schema import Field as F
from harness.wire import error_name

ELECT_LEADERS = Api(
    43,
    flexible=2,
    request=[
        F("election_type", "i8", since=1, default=0),
        F("topics", [F("topic", "string"), F("partitions", ("array", "i32"))]),
        F("timeout_ms", "i32", default=10_000),
    ],
    response=[
        F("throttle_time_ms", "i32"),
        F("error", "i16", since=1),
        F("topics", [F("topic", "string"), F("partitions", [F("partition", "i32"), F("error", "i16"), F("message", "nullable")])]),
    ],
)

REPLICA = [
    F("id", "i32"),
    F("directory_id", "uuid", since=2),
    F("log_end_offset", "i64"),
    F("last_fetch_ms", "i64", since=1),
    F("last_caught_up_ms", "i64", since=1),
]
DESCRIBE_QUORUM = Api(
    55,
    flexible=0,
    request=[F("topics", [F("topic", "string"), F("partitions", [F("partition", "i32")])])],
    response=[
        F("error", "i16"),
        F("message", "nullable", since=2),
        F(
            "topics",
            [
                F("topic", "string"),
                F(
                    "partitions",
                    [
                        F("partition", "i32"),
                        F("error", "i16"),
                        F("message", "nullable", since=2),
                        F("leader_id", "i32"),
                        F("leader_epoch", "i32"),
                        F("high_watermark", "i64"),
                        F("voters", REPLICA),
                        F("observers", REPLICA),
                    ],
                ),
            ],
        ),
        F("nodes", [F("id", "i32"), F("listeners", [F("name", "string"), F("host", "string"), F("port", "i16")])], since=2),
    ],
)

LIST_CONFIG_RESOURCES = Api(
    74,
    flexible=0,
    request=[F("types", ("array", "i8"), since=1)],
    response=[F("throttle_time_ms", "i32"), F("error", "i16"), F("resources", [F("name", "string"), F("type", "i8", since=1)])],
)

wire.FIRST_FLEXIBLE.update({api.key: api.flexible for api in (ELECT_LEADERS, DESCRIBE_QUORUM, LIST_CONFIG_RESOURCES)})

TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32


@pytest.fixture
def connection(broker):
    with broker.connect() as connection:
        yield connection


@pytest.mark.parametrize("version", range(3))
@pytest.mark.parametrize("kind_of_election", [0, 1])
def test_a_partition_that_is_led_needs_no_election(broker, connection, topic, version, kind_of_election):
    broker.create_topic(topic, 2)
    named = [{"topic": topic, "partitions": [1, 7]}, {"topic": topic + "-missing", "partitions": [0]}]
    election = {"election_type": kind_of_election} if version else {}
    answer = ELECT_LEADERS.ask(connection, version, topics=named, **election)
    found = {(t.topic, p.partition): error_name(p.error) for t in answer.topics for p in t.partitions}
    assert found == {
        (topic, 1): "ELECTION_NOT_NEEDED",
        (topic, 7): "UNKNOWN_TOPIC_OR_PARTITION",
        (topic + "-missing", 0): "UNKNOWN_TOPIC_OR_PARTITION",
    }
    # Of all partitions those are told of that needed one.
    answer = ELECT_LEADERS.ask(connection, version, topics=None, **election)
    assert ([p for t in answer.topics for p in t.partitions], getattr(answer, "error", 0)) == ([], 0)


@pytest.mark.parametrize("version", range(3))
def test_the_quorum_of_the_metadata_is_told(broker, connection, topic, version):
    def quorum():
        topics = [{"topic": "__cluster_metadata", "partitions": [{"partition": 0}]}]
        answer = DESCRIBE_QUORUM.ask(connection, version, topics=topics)
        assert answer.error == 0
        return answer, answer.topics[0].partitions[0]

    _, before = quorum()
    assert before.error == 0 and before.leader_epoch >= 1 and before.observers == []
    assert [voter.id for voter in before.voters] == [before.leader_id]
    assert before.voters[0].log_end_offset >= before.high_watermark > 0
    broker.create_topic(topic)
    answer, after = quorum()
    assert after.leader_epoch == before.leader_epoch and after.high_watermark > before.high_watermark
    if version >= 2:
        assert [node.id for node in answer.nodes] == [before.leader_id] and answer.nodes[0].listeners[0].port != 0


@pytest.mark.parametrize("version", range(3))
def test_other_quorums_are_unknown(connection, version):
    for asked in ("__cluster_metadata", 1), ("orders", 0):
        answer = DESCRIBE_QUORUM.ask(connection, version, topics=[{"topic": asked[0], "partitions": [{"partition": asked[1]}]}])
        assert error_name(answer.topics[0].partitions[0].error) == "UNKNOWN_TOPIC_OR_PARTITION", asked


def test_what_has_settings_is_listed_by_type(broker, connection, topic):
    broker.create_topic(topic)

    def listed(*types):
        answer = LIST_CONFIG_RESOURCES.ask(connection, 1, types=list(types))
        assert answer.error == 0
        return {(resource.type, resource.name) for resource in answer.resources}

    assert (TOPIC, topic) in listed(TOPIC) and {kind for kind, _ in listed(TOPIC)} == {TOPIC}
    brokers = listed(BROKER)
    assert len(brokers) == 1 and brokers <= listed() and (TOPIC, topic) in listed()
    assert {name for _, name in listed(BROKER_LOGGER)} == {name for _, name in brokers}
    assert listed(CLIENT_METRICS) == set()
    assert listed(BROKER, TOPIC) == listed(BROKER) | listed(TOPIC)
    assert LIST_CONFIG_RESOURCES.ask(connection, 0).resources == []
    assert error_name(LIST_CONFIG_RESOURCES.ask(connection, 1, types=[3]).error) == "UNSUPPORTED_VERSION"


DESCRIBE_PRODUCERS = Api(
    61,
    flexible=0,
    request=[F("topics", [F("topic", "string"), F("partitions", ("array", "i32"))])],
    response=[
        F("throttle_time_ms", "i32"),
        F(
            "topics",
            [
                F("topic", "string"),
                F(
                    "partitions",
                    [
                        F("partition", "i32"),
                        F("error", "i16"),
                        F("message", "nullable"),
                        F(
                            "producers",
                            [
                                F("id", "i64"),
                                F("epoch", "i32"),
                                F("last_sequence", "i32"),
                                F("last_timestamp", "i64"),
                                F("coordinator_epoch", "i32"),
                                F("transaction_start", "i64"),
                            ],
                        ),
                    ],
                ),
            ],
        ),
    ],
)


def test_producers_of_a_partition_are_told_with_their_last_sequence(broker, topic):
    broker.create_topic(topic, 2)
    with broker.connect() as connection:
        ids = [wire.new_producer(connection)[0] for _ in range(2)]
        for producer_id, counts in zip(ids, ([2, 3], [1]), strict=True):
            sequence = 0
            for count in counts:
                batch = wire.Batch(values=[b"v"] * count, producer_id=producer_id, producer_epoch=0, base_sequence=sequence)
                assert wire.produce(connection, {(topic, 0): batch.encode()})[topic, 0].error == 0
                sequence += count
        before = int(time.time() * 1000)
        asked = [{"topic": topic, "partitions": [0, 1, 2]}, {"topic": f"{topic}-none", "partitions": [0]}]
        told, none = DESCRIBE_PRODUCERS.ask(connection, 0, topics=asked).topics
    first, second, missing = told.partitions
    assert sorted((p.id, p.epoch, p.last_sequence) for p in first.producers) == sorted([(ids[0], 0, 4), (ids[1], 0, 0)])
    for producer in first.producers:
        assert before - 60_000 < producer.last_timestamp < before + 60_000
        assert producer.transaction_start == -1
    assert (second.error, second.producers) == (0, [])
    assert [error_name(p.error) for p in (missing, none.partitions[0])] == ["UNKNOWN_TOPIC_OR_PARTITION"] * 2
