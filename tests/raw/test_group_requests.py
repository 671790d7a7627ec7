"""Groups of the classic protocol request by request: the errors of clients that are late, wrong, or not what they say they are.

Most tests start from a group that is stable with one member; those groups are made all at once, since an empty group waits
some seconds for more members.
"""

import itertools
import time

import pytest

from harness import groups as protocol
from harness import wire
from harness.broker import await_until
from harness.groups import Member, coordinator_is_ready, settle, subscription
from harness.wire import error_name

TOPIC, PARTITIONS = "raw-groups", 3
_numbers = itertools.count(1)


def new_group() -> str:
    return f"raw-group-{next(_numbers)}"


# How members of prepared groups join: the kind of group a test asks for.
KINDS = {
    "dynamic": (31, {}),
    "static": (8, {"instance_id": "first"}),
    # Its members have little time to rejoin and to sync.
    "hasty": (2, {"rebalance_timeout_ms": 1_500}),
    # Its members are soon missed.
    "short": (1, {"session_timeout_ms": 6_000}),
    "old": (3, {"version": 3}),
}


@pytest.fixture(scope="module")
def prepared(broker):
    """Groups of each kind, stable with one member each."""
    broker.create_topic(TOPIC, PARTITIONS)
    members = {kind: [Member(broker, new_group(), **options) for _ in range(count)] for kind, (count, options) in KINDS.items()}
    everyone = [member for of_kind in members.values() for member in of_kind]
    for member in everyone:
        member.protocols = {"range": subscription([TOPIC]), "roundrobin": subscription([TOPIC])}
    coordinator_is_ready(broker, *(member.group for member in everyone))
    joins = [member.start_join() for member in everyone]
    for member, pending in zip(everyone, joins):
        assert member.take_join(pending) == "NONE"
        assert member.sync({member.member_id: b"all"}) == ("NONE", b"all")
    yield members
    for member in everyone:
        member.close()


@pytest.fixture
def stable(prepared):
    """stable(kind): the only member of a group that is stable."""
    return lambda kind="dynamic": prepared[kind].pop()


@pytest.fixture
def connection(broker):
    with broker.connect() as connection:
        yield connection


@pytest.fixture
def topic_id(prepared, connection) -> bytes:
    return wire.metadata(connection, [TOPIC])[TOPIC].topic_id


def another(broker, member: Member, **options) -> Member:
    """One more for the group of `member`, which has not joined."""
    one = Member(broker, member.group, **options)
    one.protocols = dict(member.protocols)
    return one


def state_of(connection, group: str) -> str:
    return protocol.DESCRIBE_GROUPS.ask(connection, 5, groups=[group]).groups[0].state


def fetched(connection, group: str, partition: int = 0) -> tuple[int, str]:
    """The committed offset and its text."""
    asked = {"group": group, "topics": [{"name": TOPIC, "partitions": [partition]}]}
    one = protocol.OFFSET_FETCH.ask(connection, 8, groups=[asked]).groups[0].topics[0].partitions[0]
    assert one.error == 0
    return one.offset, one.metadata


def commit(connection, version: int, group: str, rows, *, topic=TOPIC, topic_id=None, **fields):
    """OffsetCommit; the errors by partition."""
    rows = [{"index": index, "offset": offset, "metadata": metadata} for index, offset, metadata in rows]
    one = {"topic_id": topic_id} if version >= 10 else {"name": topic}
    answer = protocol.OFFSET_COMMIT.ask(connection, version, group=group, topics=[{**one, "partitions": rows}], **fields)
    return {row.index: error_name(row.error) for row in answer.topics[0].partitions}


# ---- the coordinator ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(7))
def test_the_coordinator_is_this_broker_in_every_version(broker, prepared, connection, version):
    if version < 4:
        answer = protocol.FIND_COORDINATOR.ask(connection, version, key="some-group")
        assert (error_name(answer.error), answer.host, answer.port) == ("NONE", *broker.address)
        return
    answer = protocol.FIND_COORDINATOR.ask(connection, version, keys=["a", "b", "some-group"])
    assert {(one.key, error_name(one.error), one.host, one.port) for one in answer.coordinators} == {
        (key, "NONE", *broker.address) for key in ("a", "b", "some-group")
    }


@pytest.mark.parametrize("version", [1, 3, 4, 6])
def test_an_unknown_kind_of_coordinator_is_refused(connection, version):
    answer = protocol.FIND_COORDINATOR.ask(connection, version, key="x", keys=["x"], key_type=77)
    one = answer if version < 4 else answer.coordinators[0]
    assert (error_name(one.error), one.node_id, one.port) == ("INVALID_REQUEST", -1, -1)


def test_the_topic_of_groups_is_internal_and_closed_to_clients(broker, prepared, connection):
    offsets = protocol.OFFSETS_TOPIC
    found = wire.metadata(connection, [offsets, TOPIC])
    assert (found[offsets].is_internal, found[TOPIC].is_internal) == (True, False)
    assert wire.metadata(connection, None)[offsets].is_internal
    refused = wire.produce(connection, {(offsets, 0): wire.Batch().encode()})[offsets, 0]
    assert refused.name == "INVALID_TOPIC_EXCEPTION"
    assert error_name(wire.create_topic(connection, offsets)[0]) == "TOPIC_ALREADY_EXISTS"
    error, low_watermark = wire.delete_records(connection, offsets, 0, 0)
    assert (error_name(error), low_watermark) == ("INVALID_TOPIC_EXCEPTION", -1)


@pytest.mark.buslane_only(reason="Kafka adds them, and its groups lose their offsets")
def test_the_topic_of_groups_keeps_its_number_of_partitions(prepared, connection):
    before = len(wire.metadata(connection, [protocol.OFFSETS_TOPIC])[protocol.OFFSETS_TOPIC].partitions)
    body = wire.Writer().i32(1).string(protocol.OFFSETS_TOPIC).i32(before + 1).i32(-1).i32(10_000).i8(0)
    reader = connection.request(37, 1, bytes(body.data))
    reader.i32()
    [(name, error, message)] = reader.array(lambda: (reader.string(), reader.i16(), reader.string()))
    assert (name, error_name(error)) == (protocol.OFFSETS_TOPIC, "INVALID_REQUEST")
    assert "counted on" in message
    assert len(wire.metadata(connection, [protocol.OFFSETS_TOPIC])[protocol.OFFSETS_TOPIC].partitions) == before


# ---- joining ------------------------------------------------------------------------------------------------------

JOIN_VERSIONS = range(2, 10)


@pytest.mark.parametrize("version", JOIN_VERSIONS)
def test_a_join_that_cannot_be_is_refused(broker, prepared, version):
    for wrong, expected in [
        ({"group": ""}, "INVALID_GROUP_ID"),
        ({"session_timeout_ms": 5_999}, "INVALID_SESSION_TIMEOUT"),
        ({"session_timeout_ms": 1_800_001}, "INVALID_SESSION_TIMEOUT"),
        ({"session_timeout_ms": -1}, "INVALID_SESSION_TIMEOUT"),
        ({"member_id": "nobody"}, "UNKNOWN_MEMBER_ID"),
        ({"protocols": []}, "INCONSISTENT_GROUP_PROTOCOL"),
        ({"protocol_type": ""}, "INCONSISTENT_GROUP_PROTOCOL"),
    ]:
        member = Member(broker, new_group(), version=version)
        assert member.take_join(member.send_join(**wrong)) == expected, wrong
        member.close()


def test_a_refused_join_leaves_no_member_behind(broker, connection, prepared):
    group = new_group()
    member = Member(broker, group)
    assert member.take_join(member.send_join(member_id="nobody")) == "UNKNOWN_MEMBER_ID"
    assert state_of(connection, group) == "Dead"
    # Who may make the group has made it before its protocols are looked at.
    assert member.take_join(member.send_join(protocols=[])) == "INCONSISTENT_GROUP_PROTOCOL"
    assert state_of(connection, group) == "Empty"
    member.close()


@pytest.mark.parametrize("version", [4, 5, 9])
def test_a_new_member_must_come_back_with_the_id_it_is_given(broker, stable, version):
    """KIP-394."""
    first = stable()
    member = another(broker, first, version=version)
    pending = member.send_join()
    assert member.take_join(pending) == "MEMBER_ID_REQUIRED"
    assert member.member_id.startswith("raw-") and len(member.member_id) == len("raw-") + 36
    # Nobody is disturbed before it does.
    assert first.heartbeat() == "NONE"
    again = member.send_join()
    await_until(lambda: first.heartbeat() == "REBALANCE_IN_PROGRESS", "the group rebalances")
    assert first.take_join(first.send_join()) == "NONE"
    assert member.take_join(again) == "NONE"
    assert first.leads and first.joined.generation == 2
    assert {one.member_id for one in first.joined.members} == {first.member_id, member.member_id}
    assert member.joined.members == [] and member.joined.protocol == "range"


def test_a_member_of_an_old_version_joins_at_once(broker, stable):
    first = stable("old")
    member = another(broker, first, version=3)
    pending = member.send_join()
    await_until(lambda: first.heartbeat() == "REBALANCE_IN_PROGRESS", "the group rebalances")
    assert first.take_join(first.send_join()) == "NONE"
    assert member.take_join(pending) == "NONE"


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocols": [{"name": "sticky", "metadata": b""}]},
        {"protocols": []},
        {"protocol_type": "connect"},
        {"protocol_type": ""},
    ],
)
def test_who_shares_no_protocol_with_the_group_is_refused(broker, stable, wrong):
    first = stable()
    stranger = another(broker, first)
    assert stranger.take_join(stranger.send_join(**wrong)) == "INCONSISTENT_GROUP_PROTOCOL"
    assert first.take_join(first.send_join(**wrong)) == "INCONSISTENT_GROUP_PROTOCOL"
    assert first.heartbeat() == "NONE"


def test_the_protocol_that_all_support_is_chosen(broker, stable):
    first = stable()
    second = another(broker, first)
    second.protocols = {"sticky": b"", "roundrobin": subscription([TOPIC])}
    settle([first, second])
    assert {first.joined.protocol, second.joined.protocol} == {"roundrobin"}


def test_a_stranger_does_not_join_a_group_by_a_guessed_id(broker, stable):
    first = stable()
    stranger = another(broker, first)
    assert stranger.take_join(stranger.send_join(member_id="guessed")) == "UNKNOWN_MEMBER_ID"
    assert first.heartbeat() == "NONE"


def test_a_follower_that_asks_again_is_told_the_same(broker, stable):
    first = stable()
    second = another(broker, first)
    settle([first, second])
    generation, follower = first.generation, second if first.leads else first
    assert follower.take_join(follower.send_join()) == "NONE"
    assert (follower.generation, first.heartbeat()) == (generation, "NONE")
    # A leader that asks again wants a new assignment.
    leader = first if follower is second else second
    pending = leader.send_join()
    await_until(lambda: follower.heartbeat() == "REBALANCE_IN_PROGRESS", "the group rebalances")
    assert follower.take_join(follower.send_join()) == "NONE"
    assert leader.take_join(pending) == "NONE"
    assert leader.generation == follower.generation == generation + 1


# ---- the steps of a rebalance -------------------------------------------------------------------------------------


def test_what_each_state_of_a_rebalance_allows(broker, connection, stable):
    first = stable()
    second = another(broker, first)
    assert state_of(connection, first.group) == "Stable"
    assert first.commit(TOPIC, 1) == "NONE"

    joining = second.start_join()
    await_until(lambda: state_of(connection, first.group) == "PreparingRebalance", "a rebalance begins")
    assert first.heartbeat() == "REBALANCE_IN_PROGRESS"
    assert first.sync() == ("REBALANCE_IN_PROGRESS", b"")
    # What was processed before partitions are given up can still be committed.
    assert first.commit(TOPIC, 2) == "NONE"
    assert fetched(connection, first.group) == (2, "")

    assert first.take_join(first.send_join()) == "NONE"
    assert second.take_join(joining) == "NONE"
    assert state_of(connection, first.group) == "CompletingRebalance"
    assert first.heartbeat() == second.heartbeat() == "NONE"
    assert first.commit(TOPIC, 3) == "REBALANCE_IN_PROGRESS"
    for late in ("heartbeat", "commit"):
        arguments = (TOPIC, 3) if late == "commit" else ()
        assert getattr(first, late)(*arguments, generation=first.generation - 1) == "ILLEGAL_GENERATION"
    assert first.sync(generation=first.generation - 1) == ("ILLEGAL_GENERATION", b"")
    assert first.sync(generation=first.generation + 1) == ("ILLEGAL_GENERATION", b"")

    leader, follower = (first, second) if first.leads else (second, first)
    waiting = follower.send_sync()
    assert leader.sync({leader.member_id: b"L", follower.member_id: b"F"}) == ("NONE", b"L")
    answer = waiting.result()
    assert (answer.error, answer.assignment) == (0, b"F")
    assert state_of(connection, first.group) == "Stable"
    # Who lost the answer asks again.
    assert follower.sync() == ("NONE", b"F")
    assert second.commit(TOPIC, 4) == "NONE"
    assert fetched(connection, first.group) == (4, "")


def test_a_member_without_an_assignment_gets_an_empty_one(stable):
    member = stable()
    assert member.take_join(member.send_join()) == "NONE"
    assert member.sync({}) == ("NONE", b"")


@pytest.mark.parametrize(
    "wrong",
    [{"protocol_type": "connect"}, {"protocol": "roundrobin"}, {"protocol": None}, {"protocol_type": None}],
)
def test_a_sync_that_speaks_of_another_protocol_is_refused(stable, wrong):
    """KIP-559."""
    member = stable()
    assert member.sync(**wrong)[0] == "INCONSISTENT_GROUP_PROTOCOL"
    assert member.sync() == ("NONE", b"all")


def test_strangers_are_told_so_in_every_request(broker, stable):
    for group in (stable().group, new_group()):
        stranger = Member(broker, group)
        stranger.member_id, stranger.generation = "nobody", 1
        assert stranger.heartbeat() == "UNKNOWN_MEMBER_ID"
        assert stranger.heartbeat(version=0) == "UNKNOWN_MEMBER_ID"
        assert stranger.sync(protocol_type="consumer", protocol="range")[0] == "UNKNOWN_MEMBER_ID"
        assert stranger.leave() == "UNKNOWN_MEMBER_ID"
        stranger.close()
    stranger = Member(broker, "")
    stranger.member_id, stranger.generation = "nobody", 1
    assert stranger.heartbeat() == "INVALID_GROUP_ID"
    assert stranger.sync(protocol_type="consumer", protocol="range")[0] == "INVALID_GROUP_ID"
    answer = protocol.LEAVE.ask(stranger.connection, 4, group="", members=[{"member_id": "nobody"}])
    assert (error_name(answer.error), answer.members) == ("INVALID_GROUP_ID", [])
    stranger.close()


def test_a_member_that_never_syncs_is_given_up_when_the_rebalance_timeout_is_over(broker, connection, stable):
    first = stable("hasty")
    second = another(broker, first, rebalance_timeout_ms=1_500)
    joining = second.start_join()
    assert first.take_join(first.start_join()) == "NONE"
    assert second.take_join(joining) == "NONE"
    leader, silent = (first, second) if first.leads else (second, first)
    assert leader.sync({leader.member_id: b"L", silent.member_id: b"S"}) == ("NONE", b"L")
    # Its heartbeats do not help.
    assert silent.heartbeat() == "NONE"
    await_until(lambda: leader.heartbeat() == "REBALANCE_IN_PROGRESS", "the group goes on without the silent one", 10)
    assert silent.heartbeat() == "UNKNOWN_MEMBER_ID"
    assert leader.take_join(leader.send_join()) == "NONE"
    assert [one.member_id for one in leader.joined.members] == [leader.member_id]


def test_a_member_that_does_not_rejoin_is_given_up_when_the_rebalance_timeout_is_over(broker, stable):
    first = stable("hasty")
    second = another(broker, first, rebalance_timeout_ms=1_500)
    joining = second.start_join()
    assert second.take_join(joining) == "NONE"
    assert [one.member_id for one in second.joined.members] == [second.member_id]
    assert first.heartbeat() == "UNKNOWN_MEMBER_ID"
    assert first.commit(TOPIC, 1) == "UNKNOWN_MEMBER_ID"


def test_a_member_that_is_silent_for_its_session_is_given_up(broker, connection, stable):
    first = stable("short")
    assert first.heartbeat() == "NONE"
    first.close()
    await_until(lambda: state_of(connection, first.group) == "Empty", "the group is empty", 15)


# ---- static members -----------------------------------------------------------------------------------------------


def test_a_static_member_that_returns_takes_its_place_without_a_rebalance(broker, connection, stable):
    """KIP-345, KIP-814."""
    first = stable("static")
    assert first.member_id.startswith("first-")
    second = another(broker, first, instance_id="second")
    settle([first, second])
    generation = first.generation
    leader, follower = (first, second) if first.leads else (second, first)
    for gone in (follower, leader):
        returned = another(broker, first, instance_id=gone.instance_id)
        assert returned.take_join(returned.send_join()) == "NONE"
        assert returned.generation == generation
        assert returned.member_id != gone.member_id
        assert returned.joined.skip_assignment == (gone is leader)
        assert returned.sync() == ("NONE", gone.member_id.encode())
        other = second if gone is first else first
        if gone is follower:
            assert other.heartbeat() == "NONE"
        # The one that was replaced hears so, whatever it asks.
        assert gone.heartbeat() == "FENCED_INSTANCE_ID"
        assert gone.sync()[0] == "FENCED_INSTANCE_ID"
        assert gone.commit(TOPIC, 1) == "FENCED_INSTANCE_ID"
        assert gone.leave() == "FENCED_INSTANCE_ID"
        assert gone.take_join(gone.send_join()) == "FENCED_INSTANCE_ID"
        assert returned.heartbeat() == "NONE"
        assert returned.commit(TOPIC, 1) == "NONE"


def test_an_older_client_that_returns_as_leader_is_not_told_that_it_leads(broker, stable):
    """It would compute an assignment that nobody takes."""
    first = stable("static")
    returned = another(broker, first, instance_id="first", version=8)
    assert returned.take_join(returned.send_join()) == "NONE"
    assert returned.joined.leader == first.member_id != returned.member_id
    assert returned.joined.members == []
    assert returned.sync() == ("NONE", b"all")


def test_a_static_member_that_returns_with_another_subscription_rebalances_the_group(broker, stable):
    first = stable("static")
    second = another(broker, first, instance_id="second")
    settle([first, second])
    generation = first.generation
    returned = another(broker, first, instance_id="second")
    returned.protocols = {"roundrobin": subscription(["other", TOPIC])}
    pending = returned.send_join()
    await_until(lambda: first.heartbeat() == "REBALANCE_IN_PROGRESS", "the group rebalances")
    assert first.take_join(first.send_join()) == "NONE"
    assert returned.take_join(pending) == "NONE"
    assert first.generation == returned.generation == generation + 1
    assert returned.joined.protocol == "roundrobin"


def test_a_static_member_that_waits_for_nobody_stops_nobody(broker, connection, stable):
    """It says that a rebalance may take no time at all, and is then the only one left in one."""
    first = stable("static")
    returned = another(broker, first, instance_id="first", rebalance_timeout_ms=0)
    assert returned.take_join(returned.send_join()) == "NONE"
    other = another(broker, first, rebalance_timeout_ms=1_000)
    pending = other.start_join()
    await_until(lambda: returned.heartbeat() == "REBALANCE_IN_PROGRESS", "the group rebalances")
    gone = protocol.LEAVE.ask(connection, 4, group=first.group, members=[{"member_id": other.member_id, "instance_id": None}])
    assert error_name(gone.members[0].error) == "NONE"
    assert other.take_join(pending) != "NONE"
    end = time.monotonic() + 2
    await_until(lambda: returned.heartbeat() == "REBALANCE_IN_PROGRESS" and time.monotonic() > end, "the deadline has passed", every_s=0.1)
    assert returned.take_join(returned.send_join()) == "NONE"
    assert returned.generation == first.generation + 1 and returned.leads


def test_a_static_name_in_another_members_hand_is_unknown(broker, stable):
    first = stable("static")
    assert first.heartbeat(instance_id="nobody") == "UNKNOWN_MEMBER_ID"
    assert first.heartbeat(instance_id=None) == "NONE"
    assert first.heartbeat(member_id="another") == "FENCED_INSTANCE_ID"


# ---- leaving ------------------------------------------------------------------------------------------------------


def test_several_members_leave_in_one_request(broker, connection, stable):
    """KIP-345: by id, by static name, and each answered for itself."""
    first = stable("static")
    second = another(broker, first)
    third = another(broker, first, instance_id="third")
    settle([first, second, third])
    asked = [
        {"member_id": second.member_id, "instance_id": None},
        {"member_id": "", "instance_id": "third"},
        {"member_id": "nobody", "instance_id": None},
        {"member_id": "", "instance_id": "no such name"},
        {"member_id": "nobody", "instance_id": "first"},
    ]
    answer = protocol.LEAVE.ask(connection, 5, group=first.group, members=asked)
    assert answer.error == 0
    assert [(one.member_id, one.instance_id, error_name(one.error)) for one in answer.members] == [
        (second.member_id, None, "NONE"),
        ("", "third", "NONE"),
        ("nobody", None, "UNKNOWN_MEMBER_ID"),
        ("", "no such name", "UNKNOWN_MEMBER_ID"),
        ("nobody", "first", "FENCED_INSTANCE_ID"),
    ]
    assert second.heartbeat() == third.heartbeat() == "UNKNOWN_MEMBER_ID"
    assert first.heartbeat() == "REBALANCE_IN_PROGRESS"


@pytest.mark.parametrize("version", range(6))
def test_the_last_one_to_leave_leaves_an_empty_group(connection, stable, version):
    member = stable()
    request = {"members": [{"member_id": member.member_id}]} if version >= 3 else {"member_id": member.member_id}
    for expected in ("NONE", "UNKNOWN_MEMBER_ID"):
        answer = protocol.LEAVE.ask(connection, version, group=member.group, **request)
        assert error_name(answer.members[0].error if version >= 3 else answer.error) == expected
    assert state_of(connection, member.group) == "Empty"
    assert member.heartbeat() == "UNKNOWN_MEMBER_ID"


# ---- committing ---------------------------------------------------------------------------------------------------

COMMIT_VERSIONS = range(2, 11)


@pytest.mark.parametrize("version", COMMIT_VERSIONS)
def test_offsets_are_committed_in_every_version(connection, topic_id, prepared, version):
    group = new_group()
    rows = [(0, 5, "text"), (1, 6, None), (2, 7, "")]
    assert commit(connection, version, group, rows, topic_id=topic_id) == {0: "NONE", 1: "NONE", 2: "NONE"}
    assert [fetched(connection, group, index) for index in range(3)] == [(5, "text"), (6, ""), (7, "")]
    assert state_of(connection, group) == "Empty"


@pytest.mark.parametrize("version", COMMIT_VERSIONS)
def test_each_partition_of_a_commit_is_judged_for_itself(connection, topic_id, prepared, version):
    group = new_group()
    rows = [(0, 5, "x" * 4096), (1, 6, "x" * 4097), (PARTITIONS, 7, ""), (-1, 8, "")]
    assert commit(connection, version, group, rows, topic_id=topic_id) == {
        0: "NONE",
        1: "OFFSET_METADATA_TOO_LARGE",
        PARTITIONS: "UNKNOWN_TOPIC_OR_PARTITION",
        -1: "UNKNOWN_TOPIC_OR_PARTITION",
    }
    assert [fetched(connection, group, index)[0] for index in (0, 1, PARTITIONS)] == [5, -1, -1]
    unknown = commit(connection, version, group, [(0, 5, "")], topic="no-such-topic", topic_id=b"\7" * 16)
    assert unknown == {0: "UNKNOWN_TOPIC_ID" if version >= 10 else "UNKNOWN_TOPIC_OR_PARTITION"}


@pytest.mark.parametrize("version", COMMIT_VERSIONS)
def test_a_member_of_no_group_cannot_commit(connection, topic_id, prepared, version):
    fields = {"generation": 1, "member_id": "nobody", "topic_id": topic_id}
    expected = "GROUP_ID_NOT_FOUND" if version >= 9 else "ILLEGAL_GENERATION"
    assert commit(connection, version, new_group(), [(0, 5, "")], **fields) == {0: expected}


@pytest.mark.parametrize("version", [2, 6, 7, 9, 10])
def test_only_members_of_this_generation_commit_for_a_group_with_members(connection, topic_id, stable, version):
    member = stable()
    for fields, expected in [
        ({"generation": member.generation, "member_id": member.member_id}, "NONE"),
        ({"generation": member.generation - 1, "member_id": member.member_id}, "ILLEGAL_GENERATION"),
        ({"generation": member.generation + 1, "member_id": member.member_id}, "ILLEGAL_GENERATION"),
        ({"generation": -1, "member_id": member.member_id}, "ILLEGAL_GENERATION"),
        ({"generation": member.generation, "member_id": "nobody"}, "UNKNOWN_MEMBER_ID"),
        ({"generation": member.generation, "member_id": ""}, "UNKNOWN_MEMBER_ID"),
        ({"generation": -1, "member_id": ""}, "UNKNOWN_MEMBER_ID"),
    ]:
        assert commit(connection, version, member.group, [(0, 5, "")], topic_id=topic_id, **fields) == {0: expected}, fields


def test_anyone_commits_for_an_empty_group(connection, stable):
    member = stable()
    assert member.leave() == "NONE"
    assert member.commit(TOPIC, 1) == "UNKNOWN_MEMBER_ID"
    assert commit(connection, 9, member.group, [(0, 9, "reset")]) == {0: "NONE"}
    assert fetched(connection, member.group) == (9, "reset")


@pytest.mark.parametrize("version", [2, 9])
def test_the_group_without_a_name_may_have_offsets(connection, prepared, version):
    """For clients of old that commit without a group."""
    assert commit(connection, version, "", [(0, 11 + version, "")]) == {0: "NONE"}
    assert fetched(connection, "") == (11 + version, "")


def test_a_committed_epoch_is_given_back(connection, prepared):
    """Clients compare it with the topic's to notice a log that was cut (KIP-320)."""
    group = new_group()
    rows = [{"index": 0, "offset": 5, "leader_epoch": 3, "metadata": ""}, {"index": 1, "offset": 5, "metadata": ""}]
    protocol.OFFSET_COMMIT.ask(connection, 9, group=group, topics=[{"name": TOPIC, "partitions": rows}])
    found = protocol.OFFSET_FETCH.ask(connection, 9, groups=[{"group": group, "topics": None}]).groups[0]
    assert {one.index: one.leader_epoch for one in found.topics[0].partitions} == {0: 3, 1: -1}


# ---- fetching offsets ---------------------------------------------------------------------------------------------


def rows_of(topics) -> dict:
    return {
        (getattr(topic, "name", None) or getattr(topic, "topic_id", None), one.index): (one.offset, one.metadata, error_name(one.error))
        for topic in topics
        for one in topic.partitions
    }


@pytest.fixture(scope="module")
def committed(broker, prepared) -> tuple[str, str]:
    """Two groups with offsets."""
    groups = new_group(), new_group()
    with broker.connect() as connection:
        for base, group in zip((100, 200), groups):
            assert set(commit(connection, 9, group, [(0, base, "a"), (2, base + 2, None)]).values()) == {"NONE"}
    return groups


@pytest.mark.parametrize("version", range(1, 8))
def test_offsets_of_a_group_are_fetched(connection, committed, version):
    one, _ = committed
    asked = [{"name": TOPIC, "partitions": [0, 1, 2, 9]}, {"name": "no-such-topic", "partitions": [0]}]
    answer = protocol.OFFSET_FETCH.ask(connection, version, group=one, topics=asked)
    assert getattr(answer, "error", 0) == 0
    nothing = (-1, "", "NONE")
    assert rows_of(answer.topics) == {
        (TOPIC, 0): (100, "a", "NONE"),
        (TOPIC, 1): nothing,
        (TOPIC, 2): (102, "", "NONE"),
        (TOPIC, 9): nothing,
        ("no-such-topic", 0): nothing,
    }


@pytest.mark.parametrize("version", range(2, 8))
def test_all_offsets_of_a_group_are_fetched(connection, committed, version):
    answer = protocol.OFFSET_FETCH.ask(connection, version, group=committed[1], topics=None)
    assert rows_of(answer.topics) == {(TOPIC, 0): (200, "a", "NONE"), (TOPIC, 2): (202, "", "NONE")}
    unknown = protocol.OFFSET_FETCH.ask(connection, version, group=new_group(), topics=None)
    assert (unknown.error, unknown.topics) == (0, [])
    none = protocol.OFFSET_FETCH.ask(connection, version, group=committed[1], topics=[])
    assert (none.error, none.topics) == (0, [])


@pytest.mark.parametrize("version", [8, 9, 10])
@pytest.mark.parametrize("require_stable", [False, True])
def test_offsets_of_several_groups_are_fetched(connection, committed, topic_id, version, require_stable):
    """KIP-709; by topic id from 10 on."""
    one, two = committed
    by_id = version >= 10
    name = topic_id if by_id else TOPIC

    def topic(indexes, name=TOPIC, id=topic_id):
        return {**({"topic_id": id} if by_id else {"name": name}), "partitions": indexes}

    nobody = new_group()
    asked = [
        {"group": one, "topics": None},
        {"group": two, "topics": [topic([2, 1])]},
        {"group": nobody, "topics": [topic([0]), topic([0], "no-such-topic", b"\7" * 16)]},
    ]
    answer = protocol.OFFSET_FETCH.ask(connection, version, groups=asked, require_stable=require_stable)
    found = {group.group: (error_name(group.error), rows_of(group.topics)) for group in answer.groups}
    assert found == {
        one: ("NONE", {(name, 0): (100, "a", "NONE"), (name, 2): (102, "", "NONE")}),
        two: ("NONE", {(name, 2): (202, "", "NONE"), (name, 1): (-1, "", "NONE")}),
        nobody: (
            "NONE",
            {
                (name, 0): (-1, "", "NONE"),
                (b"\7" * 16 if by_id else "no-such-topic", 0): (-1, "", "UNKNOWN_TOPIC_ID" if by_id else "NONE"),
            },
        ),
    }


def test_a_classic_groups_offsets_are_fetched_whatever_member_asks(connection, committed):
    asked = {"group": committed[0], "member_id": "nobody", "member_epoch": 7, "topics": None}
    answer = protocol.OFFSET_FETCH.ask(connection, 9, groups=[asked]).groups[0]
    assert answer.error == 0 and len(answer.topics[0].partitions) == 2


# ---- listing, describing, deleting --------------------------------------------------------------------------------


def listed(connection, version: int, **filters) -> dict:
    answer = protocol.LIST_GROUPS.ask(connection, version, **filters)
    assert answer.error == 0
    return {one.group: one for one in answer.groups}


@pytest.mark.parametrize("version", range(6))
def test_groups_are_listed_in_every_version(connection, stable, committed, version):
    member = stable("static") if version == 0 else None
    found = listed(connection, version)
    assert found[committed[0]].protocol_type == ""
    if member:
        assert found[member.group].protocol_type == "consumer"
    if version >= 4:
        assert found[committed[0]].state == "Empty"
    if version >= 5:
        assert found[committed[0]].type == "classic"


def test_groups_are_listed_by_state_and_type(connection, stable, committed):
    """KIP-518, KIP-848."""
    member = stable()
    for filters, has_stable, has_empty in [
        ({"states": ["Stable"]}, True, False),
        ({"states": ["stable"]}, True, False),
        ({"states": ["EMPTY"]}, False, True),
        ({"states": ["Empty", "Stable"]}, True, True),
        ({"states": ["Dead"]}, False, False),
        ({"states": ["no such state"]}, False, False),
        ({"types": ["Classic"]}, True, True),
        ({"types": ["classic"]}, True, True),
        ({"types": ["consumer"]}, False, False),
        ({"types": ["no such type"]}, False, False),
        ({"types": ["classic", "consumer"], "states": ["stable"]}, True, False),
    ]:
        found = listed(connection, 5, **filters)
        assert (member.group in found, committed[0] in found) == (has_stable, has_empty), filters


@pytest.fixture(scope="module")
def watched(prepared) -> Member:
    """A static member that nothing happens to."""
    return prepared["static"].pop()


@pytest.mark.parametrize("version", range(7))
def test_a_group_is_described_in_every_version(connection, watched, version):
    member = watched
    answer = protocol.DESCRIBE_GROUPS.ask(connection, version, groups=[member.group]).groups[0]
    assert (answer.error, answer.group, answer.state) == (0, member.group, "Stable")
    assert (answer.protocol_type, answer.protocol) == ("consumer", "range")
    (one,) = answer.members
    assert (one.member_id, one.client_id, one.client_host) == (member.member_id, "raw", "/127.0.0.1")
    assert (one.metadata, one.assignment) == (member.protocols["range"], b"all")
    if version >= 4:
        assert one.instance_id == member.instance_id
    if version >= 3:
        assert answer.authorized_operations == -(2**31)


@pytest.mark.parametrize("version", range(7))
def test_an_unknown_group_is_described_as_dead_and_from_6_on_as_not_found(connection, prepared, version):
    """KIP-1043."""
    name = new_group()
    answer = protocol.DESCRIBE_GROUPS.ask(connection, version, groups=[name]).groups[0]
    assert (answer.group, answer.state, answer.protocol_type, answer.members) == (name, "Dead", "", [])
    assert error_name(answer.error) == ("GROUP_ID_NOT_FOUND" if version >= 6 else "NONE")
    if version >= 6:
        assert answer.message == f"Group {name} not found."


def test_the_operations_that_a_client_may_do_with_a_group_are_told_when_asked_for(connection, committed):
    answer = protocol.DESCRIBE_GROUPS.ask(connection, 5, groups=[committed[0]], include_authorized_operations=True).groups[0]
    read, delete, describe, describe_configs, alter_configs = (1 << bit for bit in (3, 6, 8, 10, 11))
    assert answer.authorized_operations == read | delete | describe | describe_configs | alter_configs


@pytest.mark.parametrize("version", range(3))
def test_groups_without_members_are_deleted(connection, stable, version):
    member = stable("old") if version == 0 else None
    empty, unknown = new_group(), new_group()
    assert commit(connection, 9, empty, [(0, 1, "")]) == {0: "NONE"}
    asked = [empty, unknown] + ([member.group] if member else [])
    answer = protocol.DELETE_GROUPS.ask(connection, version, groups=asked)
    expected = {empty: "NONE", unknown: "GROUP_ID_NOT_FOUND"} | ({member.group: "NON_EMPTY_GROUP"} if member else {})
    assert {one.group: error_name(one.error) for one in answer.results} == expected
    assert state_of(connection, empty) == "Dead"
    assert fetched(connection, empty) == (-1, "")
    if member:
        assert member.heartbeat() == "NONE"


def delete_offsets(connection, group: str, asked: dict[str, list[int]]) -> tuple[str, dict]:
    rows = [{"name": topic, "partitions": [{"index": index} for index in indexes]} for topic, indexes in asked.items()]
    answer = protocol.OFFSET_DELETE.ask(connection, 0, group=group, topics=rows)
    return error_name(answer.error), {(t.name, p.index): error_name(p.error) for t in answer.topics for p in t.partitions}


def test_offsets_are_deleted_where_nobody_reads(broker, connection, stable):
    """KIP-496."""
    member = stable()
    member.commit(TOPIC, 1)
    broker.create_topic(other := member.group + "-other")
    assert member.commit(other, 2) == "NONE"
    assert delete_offsets(connection, member.group, {TOPIC: [0], other: [0, 5], "no-such-topic": [0]}) == (
        "NONE",
        {
            (TOPIC, 0): "GROUP_SUBSCRIBED_TO_TOPIC",
            (other, 0): "NONE",
            (other, 5): "UNKNOWN_TOPIC_OR_PARTITION",
            ("no-such-topic", 0): "UNKNOWN_TOPIC_OR_PARTITION",
        },
    )
    found = protocol.OFFSET_FETCH.ask(connection, 8, groups=[{"group": member.group, "topics": None}]).groups[0]
    assert rows_of(found.topics) == {(TOPIC, 0): (1, "", "NONE")}
    assert member.leave() == "NONE"
    assert delete_offsets(connection, member.group, {TOPIC: [0, 1]}) == ("NONE", {(TOPIC, 0): "NONE", (TOPIC, 1): "NONE"})
    assert fetched(connection, member.group) == (-1, "")


def test_offsets_of_an_unknown_group_cannot_be_deleted(connection, prepared):
    assert delete_offsets(connection, new_group(), {TOPIC: [0]}) == ("GROUP_ID_NOT_FOUND", {})
