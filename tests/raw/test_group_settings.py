"""The settings of groups that both brokers have: by Kafka's names, and as docs/compatibility.md tells them."""

import itertools
import time

import pytest

from harness import consumer_groups as protocol
from harness import groups as classic
from harness.broker import await_until
from harness.consumer_groups import ConsumerMember
from harness.groups import Member, coordinator_is_ready, settle, subscription
from harness.wire import error_name

TOPIC = "limited-groups"
SETTINGS = {
    "buslane": {
        "groups.session_timeout_min": "1s",
        "groups.session_timeout_max": "7s",
        "groups.initial_rebalance_delay": "0s",
        "groups.size_max": 2,
        "groups.consumer_session_timeout": "1500ms",
        "groups.consumer_heartbeat_interval": "300ms",
        "groups.consumer_size_max": 2,
        "groups.consumer_assignors": ["range"],
        "groups.consumer_migration": "disabled",
        "groups.consumer_assignment_interval": "1m",
        "groups.offset_metadata_max": "10B",
        "groups.offsets_retention": "1s",
        "groups.offsets_retention_check": "100ms",
    },
    "kafka": {
        "group.min.session.timeout.ms": 1_000,
        "group.max.session.timeout.ms": 7_000,
        "group.initial.rebalance.delay.ms": 0,
        "group.max.size": 2,
        "group.consumer.session.timeout.ms": 1_500,
        "group.consumer.min.session.timeout.ms": 1_500,
        "group.consumer.heartbeat.interval.ms": 300,
        "group.consumer.min.heartbeat.interval.ms": 300,
        "group.consumer.max.size": 2,
        "group.consumer.assignors": "range",
        "group.consumer.migration.policy": "disabled",
        "group.consumer.assignment.interval.ms": 60_000,
        "group.consumer.max.assignment.interval.ms": 60_000,
        "offset.metadata.max.bytes": 10,
    },
}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def limited(new_broker):
    broker = new_broker(SETTINGS).start()
    broker.create_topic(TOPIC, 4)
    coordinator_is_ready(broker, "warm-up")
    yield broker
    broker.stop()


@pytest.fixture
def group() -> str:
    return f"limited-{next(_numbers)}"


@pytest.fixture
def old(limited, group):
    """old(...): a member of the classic protocol, which has not joined."""
    made = []

    def make(**options) -> Member:
        made.append(Member(limited, group, **{"session_timeout_ms": 7_000, **options}))
        made[-1].protocols = {"range": subscription([TOPIC])}
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def new(limited, group):
    """new(...): a member of the consumer protocol, which has not joined."""
    made = []

    def make(**options) -> ConsumerMember:
        made.append(ConsumerMember(limited, group, [TOPIC], **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def described(limited, group: str):
    with limited.connect() as connection:
        return protocol.DESCRIBE.ask(connection, 1, groups=[group]).groups[0]


@pytest.mark.parametrize(
    "asked, expected", [(999, "INVALID_SESSION_TIMEOUT"), (1_000, "NONE"), (7_000, "NONE"), (7_001, "INVALID_SESSION_TIMEOUT")]
)
def test_a_classic_member_has_a_session_within_the_bounds(old, asked, expected):
    member = old(session_timeout_ms=asked, version=3)
    assert member.take_join(member.send_join()) == expected


def test_an_empty_group_waits_for_more_members_as_long_as_it_is_told(old):
    member = old()
    began = time.monotonic()
    assert member.take_join(member.start_join()) == "NONE"
    assert time.monotonic() - began < 2.5, "the default is 3 s"


def test_a_classic_group_has_as_many_members_as_it_may(old):
    # Alone first: where there is no delay the first one does not wait for the second.
    members = [old().join(), old()]
    settle(members)
    third = old()
    assert third.take_join(third.send_join()) == "GROUP_MAX_SIZE_REACHED"
    assert members[0].heartbeat() == "NONE"


def test_a_consumer_group_has_as_many_members_as_it_may(new):
    members = [new(), new()]
    assert [one.join() for one in members] == ["NONE", "NONE"]
    third = new()
    assert third.join() == "GROUP_MAX_SIZE_REACHED"
    assert [one.join() for one in members] == ["NONE", "NONE"], "who is there may stay"
    assert members[0].leave() == "NONE"
    assert third.join() == "NONE"


def test_a_member_sends_heartbeats_as_it_is_told_or_is_removed(limited, new, group):
    member = new()
    assert member.join() == "NONE"
    assert member.answer.interval_ms == 300
    # Longer than one session, and it is there as long as it is heard.
    end = time.monotonic() + 2
    await_until(lambda: member.beat() == "NONE" and time.monotonic() > end, "it stays", every_s=0.1)
    began = time.monotonic()
    # A group without members and offsets is soon removed itself: its next look is at most 100 ms later.
    await_until(lambda: (found := described(limited, group)).state == "Empty" or error_name(found.error) == "GROUP_ID_NOT_FOUND", "it is removed", 10)
    assert 1 < time.monotonic() - began < 6, "the default is 45 s"
    assert member.beat() in ("UNKNOWN_MEMBER_ID", "GROUP_ID_NOT_FOUND")


def test_only_the_assignors_that_are_told_are_offered(limited, new, group):
    refused = new(assignor="uniform")
    assert refused.join() == "UNSUPPORTED_ASSIGNOR"
    assert "range" in refused.answer.message
    assert new().join() == "NONE"
    assert described(limited, group).assignor == "range"


def test_targets_are_computed_no_more_often_than_is_told(limited, new, group):
    first, second = new(), new()
    assert first.join() == "NONE"
    await_until(lambda: first.beat() == "NONE" and first.indexes() == [0, 1, 2, 3], "the first is given all")
    assert [second.join(), first.beat(), second.beat()] == ["NONE"] * 3
    assert (first.indexes(), second.indexes()) == ([0, 1, 2, 3], [])
    found = described(limited, group)
    assert (found.state, found.epoch - found.assignment_epoch) == ("Assigning", 1)


def test_a_group_keeps_its_protocol_where_it_may_not_change(old, new):
    member = old()
    assert member.take_join(member.start_join()) == "NONE"
    other = new()
    assert other.join() == "GROUP_ID_NOT_FOUND"
    assert member.sync({member.member_id: b"all"}) == ("NONE", b"all")


def test_the_text_of_an_offset_is_as_long_as_it_may_be(limited, group):
    with limited.connect() as connection:
        rows = [{"index": index, "offset": 1, "metadata": text} for index, text in enumerate(["x" * 10, "x" * 11, "ö" * 10])]
        answer = classic.OFFSET_COMMIT.ask(connection, 9, group=group, topics=[{"name": TOPIC, "partitions": rows}])
        errors = [error_name(row.error) for row in answer.topics[0].partitions]
    assert errors == ["NONE", "OFFSET_METADATA_TOO_LARGE", "NONE"]


@pytest.mark.buslane_only(reason="Apache Kafka counts the retention in minutes")
def test_offsets_of_groups_without_members_go_after_their_retention(limited, new, group):
    member = new()
    assert member.join() == "NONE"
    with limited.connect() as connection:

        def offsets() -> list:
            return classic.OFFSET_FETCH.ask(connection, 8, groups=[{"group": group, "topics": None}]).groups[0].topics

        rows = [{"index": 0, "offset": 1, "metadata": ""}]
        classic.OFFSET_COMMIT.ask(
            connection,
            9,
            group=group,
            generation=member.epoch,
            member_id=member.member_id,
            topics=[{"name": TOPIC, "partitions": rows}],
        )
        end = time.monotonic() + 2
        await_until(lambda: member.beat() == "NONE" and time.monotonic() > end, "a member is there", every_s=0.1)
        assert offsets() != []
        assert member.leave() == "NONE"
        await_until(lambda: offsets() == [], "the offsets are dropped", 5)
        assert error_name(described(limited, group).error) == "GROUP_ID_NOT_FOUND"
