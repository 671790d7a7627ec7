"""ListOffsets request by request: what may be asked for in which version, and partitions that are named twice."""

import pytest

from harness import wire
from harness.schema import Api, Field
from harness.wire import Batch

LIST_OFFSETS = Api(
    2,
    flexible=6,
    request=[
        Field("replica_id", "i32", default=-1),
        Field("isolation", "i8", since=2),
        Field(
            "topics",
            [
                Field("name", "string"),
                Field(
                    "partitions",
                    [
                        Field("index", "i32"),
                        Field("leader_epoch", "i32", since=4, default=-1),
                        Field("timestamp", "i64"),
                    ],
                ),
            ],
        ),
        Field("timeout_ms", "i32", since=10),
    ],
    response=[
        Field("throttle_ms", "i32", since=2),
        Field(
            "topics",
            [
                Field("name", "string"),
                Field(
                    "partitions",
                    [
                        Field("index", "i32"),
                        Field("error", "i16"),
                        Field("timestamp", "i64"),
                        Field("offset", "i64"),
                        Field("leader_epoch", "i32", since=4),
                    ],
                ),
            ],
        ),
    ],
)

# What is asked for, and the first version in which it may be.
SENTINELS = {-1: 1, -2: 1, -3: 7, -4: 8, -5: 9, -6: 11, -7: None, -(2**63): None}


def ask(connection, version: int, *wanted: tuple[str, int, int, int]):
    """Each partition wanted, (topic, index, timestamp, leader epoch), as a topic entry of its own."""
    topics = [
        {"name": topic, "partitions": [{"index": index, "timestamp": timestamp, "leader_epoch": epoch}]}
        for topic, index, timestamp, epoch in wanted
    ]
    answer = LIST_OFFSETS.ask(connection, version, topics=topics)
    return [p for topic in answer.topics for p in topic.partitions]


@pytest.fixture
def filled(broker, topic):
    """Two records with rising timestamps, and a connection."""
    broker.create_topic(topic)
    with broker.connect() as connection:
        wire.produce(connection, {(topic, 0): Batch(values=[b"a"], timestamp=1_000_000).encode()})
        wire.produce(connection, {(topic, 0): Batch(values=[b"b"], timestamp=2_000_000).encode()})
        yield topic, connection


@pytest.mark.parametrize("version", range(1, 12))
def test_each_version_knows_what_it_may_be_asked_for(filled, version):
    topic, connection = filled
    found = {}
    for timestamp in SENTINELS:
        (partition,) = ask(connection, version, (topic, 0, timestamp, -1))
        found[timestamp] = (wire.error_name(partition.error), partition.timestamp, partition.offset)
    expected = {-1: (-1, 2), -2: (-1, 0), -3: (2_000_000, 1), -4: (-1, 0), -5: (-1, -1), -6: (-1, -1)}
    for timestamp, first in SENTINELS.items():
        if first is not None and version >= first:
            assert found[timestamp] == ("NONE", *expected[timestamp]), timestamp
        else:
            assert found[timestamp] == ("UNSUPPORTED_VERSION", -1, -1), timestamp


def test_nothing_is_tiered_and_no_epoch_goes_with_it(filled):
    topic, connection = filled
    latest, tiered, pending = ask(connection, 11, (topic, 0, -1, -1))[0], *(
        ask(connection, 11, (topic, 0, timestamp, -1))[0] for timestamp in (-5, -6)
    )
    assert latest.leader_epoch >= 0
    assert (tiered.leader_epoch, pending.leader_epoch) == (-1, -1)


@pytest.mark.parametrize("timestamp", [-1, -2, -3, -4, -5, -6, 0])
def test_every_question_is_held_to_its_leader_epoch(filled, timestamp):
    topic, connection = filled
    epoch = ask(connection, 11, (topic, 0, -1, -1))[0].leader_epoch
    (ahead,) = ask(connection, 11, (topic, 0, timestamp, epoch + 1))
    assert wire.error_name(ahead.error) == "UNKNOWN_LEADER_EPOCH"
    (right,) = ask(connection, 11, (topic, 0, timestamp, epoch))
    assert right.error == 0


def test_what_a_version_does_not_know_is_told_before_the_partition_is_looked_for(filled):
    topic, connection = filled
    (missing,) = ask(connection, 5, (topic, 77, -3, -1))
    assert wire.error_name(missing.error) == "UNSUPPORTED_VERSION"
    (missing,) = ask(connection, 7, (topic, 77, -3, -1))
    assert wire.error_name(missing.error) == "UNKNOWN_TOPIC_OR_PARTITION"
