"""Groups of the consumer protocol (KIP-848) request by request: what members are told, and the errors of those that are late,
wrong, or not what they say they are."""

import itertools

import pytest

from harness import consumer_groups as protocol
from harness import groups as classic
from harness import wire
from harness.broker import await_until
from harness.consumer_groups import LEAVE, LEAVE_FOR_A_WHILE, ConsumerMember
from harness.groups import Member, coordinator_is_ready, subscription
from harness.wire import error_name

TOPIC, PARTITIONS = "raw-consumer-groups", 6
_numbers = itertools.count(1)
_members: list = []


EVERY = list(range(PARTITIONS))


def new_group() -> str:
    return f"raw-consumer-group-{next(_numbers)}"


# What takes its time begins with the module: each of these members is waited for by the test that has its name.
@pytest.fixture(scope="module", autouse=True)
def early(broker):
    broker.create_topic(TOPIC, PARTITIONS)
    coordinator_is_ready(broker, "warm-up")
    members = {"silent": ConsumerMember(broker, new_group(), [TOPIC])}
    assert members["silent"].join() == "NONE"
    # An empty group of the classic protocol waits for more members.
    starting = {
        "there and back": Member(broker, new_group()),
        "connect": Member(broker, new_group(), protocol_type="connect"),
        "named": Member(broker, new_group(), instance_id="named"),
        "same id": Member(broker, new_group()),
        "racks": Member(broker, new_group()),
        "unsynced": Member(broker, new_group()),
        "user data": Member(broker, new_group()),
        "garbage": Member(broker, new_group()),
        "garbage assigned": Member(broker, new_group()),
    }
    for one in starting.values():
        one.protocols = {"range": subscription([TOPIC])}
    starting["garbage"].protocols = {"range": b"\0\1\2"}
    # Version 3: what it owns, its generation and its rack, too.
    newest = wire.Writer().i16(3).i32(1).string(TOPIC).bytes(None).i32(1).string(TOPIC).i32(2).i32(0).i32(1).i32(5).string("here")
    starting["racks"].protocols = {"range": bytes(newest.data)}
    given = {"user data": bytes(wire.Writer().i16(0).i32(0).bytes(b"data").data), "garbage assigned": b"garbage"}
    joins = {name: one.start_join() for name, one in starting.items()}
    for name, pending in joins.items():
        assert starting[name].take_join(pending) == "NONE"
        all_of_it = {starting[name].member_id: given.get(name, classic.assignment({TOPIC: EVERY}))}
        kind = starting[name].join_options.get("protocol_type", "consumer")
        assert name == "unsynced" or starting[name].sync(all_of_it, protocol_type=kind)[0] == "NONE"
    members |= starting
    yield members
    for one in members.values():
        one.close()


@pytest.fixture
def connection(broker):
    with broker.connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def topic_id(broker, early) -> bytes:
    with broker.connect() as connection:
        return wire.metadata(connection, [TOPIC])[TOPIC].topic_id


@pytest.fixture
def member(broker):
    """member(group, ...): one that has not joined."""
    made = []

    def make(group: str | None = None, topics=(TOPIC,), **options) -> ConsumerMember:
        made.append(ConsumerMember(broker, group or new_group(), list(topics) if topics is not None else None, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def joined(member):
    """joined(group, ...): one that has joined, alone or as the last."""

    def join(*arguments, **options) -> ConsumerMember:
        one = member(*arguments, **options)
        assert one.join() == "NONE", one.answer.message
        return one

    return join


def settle(*members: ConsumerMember) -> None:
    """All go on, saying what they hold, until nothing changes any more."""

    def at_rest():
        before = [(one.epoch, frozenset(one.held)) for one in members]
        assert [one.acknowledge() for one in members] == ["NONE"] * len(members)
        after = [(one.epoch, frozenset(one.held)) for one in members]
        return before == after and len({one.epoch for one in members}) == 1

    await_until(at_rest, "the group is at rest")


def describe(connection, group: str, version: int = 1, **options):
    (found,) = protocol.DESCRIBE.ask(connection, version, groups=[group], **options).groups
    return found


def shares(*members: ConsumerMember) -> list[list[int]]:
    return [one.indexes() for one in members]


# ---- the feature --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(6))
def test_the_feature_is_told_to_clients_that_can_read_it(connection, version):
    """KIP-584; one that may be off is supported from level 0 on, which clients before version 4 cannot read (KIP-1022)."""
    body = wire.Writer()
    if version >= 3:
        body.compact_string("raw").compact_string("1")
        if version >= 5:
            body.compact_string(None).i32(-1)
        body.tags()
    reader = connection.request(wire.API_VERSIONS, version, bytes(body.data))
    assert reader.i16() == 0
    if version < 3:
        reader.array(lambda: (reader.i16(), reader.i16(), reader.i16()))
        if version >= 1:
            reader.i32()
        reader.done()
        return
    keys = reader.compact_array(lambda: (reader.i16(), reader.i16(), reader.i16(), reader.tags())[:3])
    assert {(68, 0, 1), (69, 0, 1)} <= set(keys)
    reader.i32()
    tagged = {}
    for _ in range(reader.uvarint()):
        tag = reader.uvarint()
        tagged[tag] = wire.Reader(reader.raw(reader.uvarint()))
    levels = {}
    for tag in (0, 2):
        of_tag = tagged.get(tag, wire.Reader(b"\1"))
        rows = of_tag.compact_array(lambda: (of_tag.compact_string(), of_tag.i16(), of_tag.i16(), of_tag.tags()))
        levels[tag] = {row[0]: row[1:3] for row in rows}
    assert levels[0].get("group.version") == ((0, 1) if version >= 4 else None)
    # Finalized ones tell the highest level first.
    assert levels[2]["group.version"] == (1, 1)
    assert tagged[1].i64() >= 0


# ---- joining and staying ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1])
def test_a_member_joins_and_is_told_everything(joined, topic_id, version):
    one = joined(version=version)
    epoch = one.epoch
    assert epoch > 0 and one.indexes(topic_id) == EVERY
    # From version 1 on the member makes its id (KIP-1082).
    assert one.member_id and one.answer.interval_ms == 200
    assert one.beat() == "NONE"
    assert (one.epoch, one.answer.assignment) == (epoch, None)


@pytest.mark.parametrize("name", [None, ""])
def test_a_member_finds_the_names_of_what_it_was_given_by_id(connection, topic_id, name):
    """Java leaves the name empty, others null."""
    body = wire.Writer().uvarint(3)
    for asked in (topic_id, b"\7" * 16):
        body.raw(asked).compact_string(name).tags()
    reader = connection.request(wire.METADATA, 12, bytes(body.i8(0).i8(0).tags().data))
    reader.i32()
    reader.compact_array(lambda: (reader.i32(), reader.compact_string(), reader.i32(), reader.compact_string(), reader.tags()))
    reader.compact_string(), reader.i32()

    def topic():
        error, found, found_id, _ = reader.i16(), reader.compact_string(), reader.raw(16), reader.i8()
        partitions = reader.compact_array(
            lambda: (reader.i16(), reader.i32(), reader.i32(), reader.i32(), *(reader.compact_array(reader.i32) for _ in range(3)), reader.tags())
        )
        reader.i32(), reader.tags()
        return found_id, (error_name(error), found, len(partitions))

    assert dict(reader.compact_array(topic)) == {topic_id: ("NONE", TOPIC, PARTITIONS), b"\7" * 16: ("UNKNOWN_TOPIC_ID", None, 0)}


def test_a_heartbeat_that_repeats_changes_nothing(joined, topic_id):
    one = joined()
    epoch = one.epoch
    for changes in [
        {"epoch": 0, **one.joining},
        {"owned": one.held},
        {},
        {"topics": [TOPIC]},
        {"rebalance_timeout_ms": 60_000},
        {**one.joining, "owned": one.held},
    ]:
        for _ in range(3):
            assert one.beat(**changes) == "NONE"
            assert (one.epoch, one.indexes(topic_id)) == (epoch, EVERY), changes
    # All told, all answered.
    assert one.answer.assignment is not None


WRONG = {
    "no group": ({"group": ""}, "INVALID_REQUEST"),
    "a blank group": ({"group": "  "}, "INVALID_REQUEST"),
    "a name that is empty": ({"instance_id": ""}, "INVALID_REQUEST"),
    "a rack that is empty": ({"rack_id": ""}, "INVALID_REQUEST"),
    "no rebalance timeout": ({"rebalance_timeout_ms": -1}, "INVALID_REQUEST"),
    "not a word of what it holds": ({"owned": None}, "INVALID_REQUEST"),
    "partitions held": ({"owned": {(b"\7" * 16, 0)}}, "INVALID_REQUEST"),
    "no topics": ({"topics": None}, "INVALID_REQUEST"),
    "no id in its hand": ({"member_id": "", "epoch": 1}, "INVALID_REQUEST"),
    "no id when it goes": ({"member_id": "", "epoch": -1}, "INVALID_REQUEST"),
    "away without a name": ({"epoch": LEAVE_FOR_A_WHILE}, "INVALID_REQUEST"),
    "an epoch that is none": ({"epoch": -3}, "INVALID_REQUEST"),
    "the least epoch": ({"epoch": -(2**31)}, "INVALID_REQUEST"),
    "an unknown assignor": ({"assignor": "sticky"}, "UNSUPPORTED_ASSIGNOR"),
    "an assignor in capitals": ({"assignor": "Range"}, "UNSUPPORTED_ASSIGNOR"),
    "an assignor without a name": ({"assignor": ""}, "UNSUPPORTED_ASSIGNOR"),
}


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("what", WRONG)
def test_a_request_that_cannot_be_is_refused(connection, member, version, what):
    changes, expected = WRONG[what]
    one = member(version=version)
    one.member_id = one.member_id or "somebody"
    assert one.join(**changes) == expected
    assert (one.answer.message or "") != "" and one.answer.member_id is None and one.answer.assignment is None
    assert error_name(describe(connection, one.group).error) == "GROUP_ID_NOT_FOUND"


def test_from_version_1_on_a_member_brings_its_id(member):
    one = member()
    assert one.join(member_id="") == "INVALID_REQUEST"
    old = member(version=0)
    assert old.join() == "NONE" and old.member_id


@pytest.mark.parametrize("regex", ["(", "[a", "*", "(?=a)", r"(a)\1", "a)|(b", "(?<name", "a{2,1}", r"\Z"])
def test_a_pattern_that_is_none_is_refused(connection, member, regex):
    one = member(topics=None, regex=regex)
    assert one.join() == "INVALID_REGULAR_EXPRESSION", regex
    assert regex in one.answer.message
    assert error_name(describe(connection, one.group).error) == "GROUP_ID_NOT_FOUND"


def test_a_pattern_that_is_none_changes_nothing_for_a_member(joined, topic_id):
    one = joined()
    epoch = one.epoch
    assert one.beat(regex="(") == "INVALID_REGULAR_EXPRESSION"
    assert one.beat() == "NONE"
    assert (one.epoch, one.indexes(topic_id)) == (epoch, EVERY)


def test_only_a_member_that_joins_makes_a_group(member):
    for epoch, expected in [(1, "GROUP_ID_NOT_FOUND"), (LEAVE, "GROUP_ID_NOT_FOUND"), (LEAVE_FOR_A_WHILE, "GROUP_ID_NOT_FOUND")]:
        one = member(instance_id="named")
        assert one.beat(epoch=epoch) == expected, epoch


def test_who_is_no_member_is_told_so(member, joined):
    one = joined()
    for epoch in (1, 2, LEAVE):
        stranger = member(one.group)
        assert stranger.beat(epoch=epoch) == "UNKNOWN_MEMBER_ID", epoch
    for epoch in (1, LEAVE, LEAVE_FOR_A_WHILE):
        stranger = member(one.group, instance_id="named")
        assert stranger.beat(epoch=epoch) == "UNKNOWN_MEMBER_ID", epoch
    assert one.leave() == "NONE"
    assert (one.answer.epoch, one.answer.assignment) == (LEAVE, None)
    assert one.beat(epoch=1) == "UNKNOWN_MEMBER_ID"


def test_an_epoch_that_is_not_the_members_fences_it(joined, topic_id):
    one = joined()
    for epoch in (one.epoch + 1, one.epoch + 2, 2**31 - 1):
        assert one.beat(epoch=epoch) == "FENCED_MEMBER_EPOCH"
    # It goes to 2, and the answer is lost: what it says next carries the epoch before.
    other = joined(one.group)
    settle(one, other)
    epoch = one.epoch
    assert one.beat(epoch=epoch - 1) == "FENCED_MEMBER_EPOCH"
    assert one.beat(epoch=epoch - 1, owned={(topic_id, index) for index in EVERY}) == "FENCED_MEMBER_EPOCH"
    assert one.beat(epoch=epoch - 1, owned=one.held) == "NONE"
    assert one.epoch == epoch
    # Who is fenced starts over, under its own id.
    assert one.join() == "NONE"
    settle(one, other)
    assert sorted(sum(shares(one, other), [])) == EVERY


def test_what_is_odd_but_harmless_is_taken(connection, member, topic_id):
    """As in Kafka, which looks at none of it."""
    for timeout_ms in (0, -2, -(2**31), 2**31 - 1):
        one = member()
        assert one.join(rebalance_timeout_ms=timeout_ms) == "NONE", timeout_ms
        assert one.beat(rebalance_timeout_ms=-7) == one.beat() == "NONE", timeout_ms
    one = member()
    assert one.join(topics=[TOPIC, TOPIC, "", "no/topic", "x" * 300]) == "NONE"
    assert one.indexes() == EVERY
    epoch = one.epoch
    for owned in ({(b"\7" * 16, 0)}, {(topic_id, -1)}, {(topic_id, 99)}, set()):
        assert one.beat(owned=owned) == "NONE", owned
        assert (one.epoch, one.indexes()) == (epoch, EVERY)


# ---- from the one to the other ------------------------------------------------------------------------------------


def test_a_partition_is_given_when_its_owner_has_given_it_up(connection, joined, topic_id):
    one = joined()
    epoch = one.epoch
    other = joined(one.group)
    assert shares(one, other) == [EVERY, []]
    assert other.epoch == epoch + 1
    # It is told what it may keep, and stays in its epoch until it has said that it keeps no more.
    assert one.beat() == "NONE"
    assert (one.epoch, len(one.indexes())) == (epoch, 3)
    state = describe(connection, one.group)
    assert (state.state, state.epoch, state.assignment_epoch) == ("Reconciling", epoch + 1, epoch + 1)
    for owned in (None, {(topic_id, index) for index in EVERY}, None):
        assert one.beat(owned=owned) == "NONE"
        assert other.beat() == "NONE"
        assert (one.epoch, other.indexes()) == (epoch, [])
    assert one.acknowledge() == "NONE"
    assert (one.epoch, other.indexes()) == (epoch + 1, [])
    assert other.beat() == "NONE"
    assert sorted(one.indexes() + other.indexes()) == EVERY
    assert other.epoch == epoch + 1
    assert describe(connection, one.group).state == "Stable"


def test_a_member_that_gives_nothing_up_is_removed_when_its_rebalance_timeout_is_over(joined):
    one = joined(rebalance_timeout_ms=1_000)
    other = joined(one.group)
    assert one.beat() == "NONE"
    assert len(one.indexes()) == 3
    # Its heartbeats do not help.
    await_until(lambda: one.beat() == "UNKNOWN_MEMBER_ID", "the member is removed", 10)
    settle(other)
    assert other.indexes() == EVERY


def test_a_member_that_leaves_frees_its_partitions_at_once(joined):
    one = joined()
    other = joined(one.group)
    settle(one, other)
    epoch = other.epoch
    assert one.leave() == "NONE"
    assert other.beat() == "NONE"
    assert (other.epoch, other.indexes()) == (epoch + 1, EVERY)


def test_a_member_in_the_middle_of_giving_up_is_given_what_comes_next(joined):
    """Three join one after the other while the first says nothing."""
    one = joined()
    second = joined(one.group)
    assert one.beat() == "NONE"
    third = joined(one.group)
    assert one.beat() == "NONE"
    assert second.indexes() == third.indexes() == []
    settle(one, second, third)
    assert [len(share) for share in shares(one, second, third)] == [2, 2, 2]
    assert sorted(sum(shares(one, second, third), [])) == EVERY


# ---- assignors ----------------------------------------------------------------------------------------------------


def test_range_gives_neighbours_and_uniform_moves_little(broker, connection, member, joined):
    group = new_group()
    members = [joined(group, assignor="range") for _ in range(4)]
    settle(*members)
    assert sorted(shares(*members)) == [[0, 1], [2, 3], [4], [5]]
    assert describe(connection, group).assignor == "range"
    group = new_group()
    first = joined(group)
    assert describe(connection, group).assignor == "uniform"
    second = joined(group, assignor="uniform")
    settle(first, second)
    before = set(first.held), set(second.held)
    third = joined(group)
    settle(first, second, third)
    assert first.held < before[0] and second.held < before[1] and len(third.held) == 2


def test_the_assignor_that_most_members_ask_for_is_taken(connection, joined):
    group = new_group()
    members = [joined(group, assignor="uniform")]
    members += [joined(group, assignor="range") for _ in range(2)]
    settle(*members)
    assert describe(connection, group).assignor == "range"
    assert sorted(shares(*members)) == [[0, 1], [2, 3], [4, 5]]
    # One of them thinks again.
    assert members[1].beat(assignor="uniform") == "NONE"
    assert describe(connection, group).assignor == "uniform"


# ---- what members want --------------------------------------------------------------------------------------------


@pytest.fixture
def new_topic(broker):
    def create(name: str, partitions: int = 2) -> str:
        name = f"{name}-{next(_numbers)}"
        broker.create_topic(name, partitions)
        return name

    return create


def ids(connection, *topics: str) -> dict[str, bytes]:
    return {name: one.topic_id for name, one in wire.metadata(connection, list(topics)).items()}


def topics_held(connection, one: ConsumerMember, *topics: str) -> dict[str, list[int]]:
    return {name: one.indexes(topic_id) for name, topic_id in ids(connection, *topics).items()}


def test_members_have_what_they_ask_for(connection, joined, new_topic):
    a, b = new_topic("wanted-a"), new_topic("wanted-b")
    one = joined(topics=[a])
    other = joined(one.group, topics=[a, b, "no-such-topic"])
    settle(one, other)
    assert topics_held(connection, one, a, b)[b] == []
    held = topics_held(connection, other, a, b)
    assert held[b] == [0, 1]
    # It wants no more of b, which nobody has then; then nothing at all.
    assert other.beat(topics=[a]) == "NONE"
    settle(one, other)
    assert topics_held(connection, other, a, b)[b] == []
    assert other.beat(topics=[]) == "NONE"
    settle(one, other)
    assert (other.held, len(one.held)) == (set(), 2)
    assert other.beat() == "NONE"


def test_a_topic_that_is_made_later_grows_and_goes_is_seen(broker, connection, joined):
    name = f"later-{next(_numbers)}"
    one = joined(topics=[name])
    assert one.held == set()
    broker.create_topic(name, 2)
    await_until(lambda: one.acknowledge() == "NONE" and len(one.held) == 2, "the member has the new topic")
    body = wire.Writer().i32(1).string(name).i32(5).i32(-1).i32(15_000).i8(0)
    reader = connection.request(37, 1, bytes(body.data))
    reader.i32(), reader.i32(), reader.string()
    assert reader.i16() == 0
    await_until(lambda: one.acknowledge() == "NONE" and one.indexes() == [0, 1, 2, 3, 4], "the member has the new partitions")
    assert wire.delete_topic(connection, name) == 0
    await_until(lambda: one.acknowledge() == "NONE" and one.held == set(), "the topic is taken away")
    old = one.epoch
    await_until(lambda: wire.create_topic(connection, name, 1)[0] == 0, "the name is free again")
    await_until(lambda: one.acknowledge() == "NONE" and one.indexes() == [0], "the member has the new one")
    assert one.epoch > old


def test_a_pattern_brings_the_topics_that_match_as_a_whole(broker, connection, joined, new_topic):
    stem = f"pattern{next(_numbers)}"
    names = [f"{stem}.a", f"{stem}.b", f"x{stem}.a", f"{stem}.a.x"]
    for name in names:
        broker.create_topic(name, 1)
    one = joined(topics=None, regex=rf"{stem}\.[ab]")

    def has(*expected):
        def held():
            assert one.acknowledge() == "NONE"
            return {topic for topic, _ in one.held} == {ids(connection, name)[name] for name in expected}

        return await_until(held, f"the member has {expected}", 30)

    has(*names[:2])
    member_of = describe(connection, one.group).members[0]
    assert (member_of.regex, member_of.topics) == (rf"{stem}\.[ab]", [])
    # By name, too; and another pattern.
    assert one.beat(topics=[names[2]]) == "NONE"
    has(*names[:3])
    assert one.beat(regex=rf".*{stem}.*") == "NONE"
    has(*names)
    # None any more.
    assert one.beat(regex="") == "NONE"
    has(names[2])
    assert describe(connection, one.group).members[0].regex in (None, "")


def test_a_pattern_of_everything_has_internal_topics_in_it(connection, joined, new_topic):
    name = new_topic("among-all", 1)
    one = joined(topics=None, regex=".*")
    found = ids(connection, classic.OFFSETS_TOPIC, name)
    await_until(lambda: one.acknowledge() == "NONE" and (found[name], 0) in one.held, "the topics are found", 30)
    assert 0 in one.indexes(found[classic.OFFSETS_TOPIC])


@pytest.mark.parametrize(
    "regex",
    [
        r"\QStem\E[.]x-1",
        "(?i)sTEM.x-1",
        r"Stem\.x-\d{1,3}",
        "Stem[[:punct:]]x-1",
        r"Stem\W\pL-\pN",
        "(?P<name>Stem).x-1",
        "(?:Stem|Other).x-1",
        "^Stem.x-1$",
        "Stem.?x?-1|Nothing",
        r"\x53tem\.x\x{2d}1",
        "[^a-z]tem.x-[^2-9]",
        "S(?:t(?:e(?:m)))..?x?.*",
    ],
)
def test_patterns_of_every_kind_are_understood(broker, connection, joined, stem_topic, regex):
    one = joined(topics=None, regex=regex)
    await_until(lambda: one.acknowledge() == "NONE" and one.held, "the topic is found", 30)
    assert {topic for topic, _ in one.held} == {ids(connection, stem_topic)[stem_topic]}


@pytest.fixture(scope="module")
def stem_topic(broker) -> str:
    broker.create_topic("Stem.x-1")
    return "Stem.x-1"


# ---- static members -----------------------------------------------------------------------------------------------


def test_a_static_member_comes_back_to_its_partitions(connection, member, joined):
    group = new_group()
    stays, goes = joined(group, instance_id="stays"), joined(group, instance_id="goes")
    settle(stays, goes)
    held, epoch = set(goes.held), goes.epoch
    # Its name is its own until it goes.
    other = member(group, instance_id="goes")
    assert other.join() == "UNRELEASED_INSTANCE_ID"
    assert goes.leave(LEAVE_FOR_A_WHILE) == "NONE"
    assert goes.answer.epoch == LEAVE_FOR_A_WHILE
    assert stays.beat() == "NONE" and stays.epoch == epoch
    assert len(stays.held) == 3
    assert other.join() == "NONE"
    assert (other.held, other.epoch) == (held, epoch)
    assert stays.beat() == "NONE" and stays.epoch == epoch
    # The one that was there before hears so.
    goes.epoch = epoch
    for late in (epoch, LEAVE, LEAVE_FOR_A_WHILE):
        assert goes.beat(epoch=late) == "FENCED_INSTANCE_ID", late
    # For good.
    assert other.leave() == "NONE"
    settle(stays)
    assert stays.indexes() == EVERY
    assert other.beat(epoch=epoch) == "UNKNOWN_MEMBER_ID"


def test_a_static_member_that_comes_back_wanting_something_else_moves_the_group(connection, member, joined, new_topic):
    group, name = new_group(), new_topic("else", 2)
    stays, goes = joined(group, instance_id="stays"), joined(group, instance_id="goes")
    settle(stays, goes)
    epoch = stays.epoch
    assert goes.leave(LEAVE_FOR_A_WHILE) == "NONE"
    back = member(group, topics=[name], instance_id="goes")
    assert back.join() == "NONE"
    settle(stays, back)
    assert stays.epoch > epoch
    assert (stays.indexes(), back.indexes()) == (EVERY, [0, 1])


def test_a_name_in_another_members_hand(joined, member):
    one = joined(instance_id="named")
    stranger = member(one.group, instance_id="named")
    for epoch in (one.epoch, LEAVE, LEAVE_FOR_A_WHILE):
        assert stranger.beat(epoch=epoch) == "FENCED_INSTANCE_ID", epoch
    assert one.beat(instance_id="another") == "UNKNOWN_MEMBER_ID"
    assert one.beat() == "NONE"


def test_nobody_is_given_what_belongs_to_a_member_that_is_away(connection, joined, member, topic_id):
    group = new_group()
    goes, stays = joined(group, instance_id="goes"), joined(group, instance_id="stays")
    settle(goes, stays)
    held, epoch = set(goes.held), goes.epoch
    assert goes.leave(LEAVE_FOR_A_WHILE) == goes.leave(LEAVE_FOR_A_WHILE) == "NONE"
    # It has no epoch to speak with.
    assert goes.beat(epoch=epoch) == "FENCED_MEMBER_EPOCH"
    who = {"generation": epoch, "member_id": goes.member_id}
    (index, *_) = (index for _, index in held)
    assert commit(connection, group, 9, topic_id, {index: 5}, **who) == {index: "STALE_MEMBER_EPOCH"}
    third = joined(group)
    settle(stays, third)
    away = {row.instance_id: row for row in describe(connection, group).members}["goes"]
    kept = {(topic_id, index) for topic in away.assignment.topics for index in topic.partitions}
    assert kept == held and not held & (stays.held | third.held)
    # Back, it gives up what the third is to have.
    back = member(group, instance_id="goes")
    assert back.join() == "NONE"
    settle(back, stays, third)
    assert [len(share) for share in shares(back, stays, third)] == [2, 2, 2]
    # Away again, it is taken out by its name.
    assert back.leave(LEAVE_FOR_A_WHILE) == "NONE"
    answer = classic.LEAVE.ask(connection, 5, group=group, members=[{"member_id": "", "instance_id": "goes"}])
    assert (answer.error, error_name(answer.members[0].error)) == (0, "NONE")
    settle(stays, third)
    assert sorted(sum(shares(stays, third), [])) == EVERY


def test_a_member_gets_a_name_when_it_joins_and_keeps_it_unnamed(connection, joined):
    one = joined()
    assert one.beat(instance_id="late") == "UNKNOWN_MEMBER_ID"
    assert one.join(instance_id="late") == "NONE"
    assert [row.instance_id for row in describe(connection, one.group).members] == ["late"]
    assert one.beat(instance_id=None) == one.join(instance_id=None) == "NONE"
    assert [row.instance_id for row in describe(connection, one.group).members] == ["late"]
    assert one.leave() == "NONE"


@pytest.mark.kafka_only(reason="Buslane takes a static member back that lost the answer to its join")
def test_a_static_member_does_not_join_twice(joined):
    assert joined(instance_id="named").join() == "UNRELEASED_INSTANCE_ID"


@pytest.mark.buslane_only(reason="Apache Kafka answers UNRELEASED_INSTANCE_ID until its session is over")
def test_a_static_member_that_lost_the_answer_joins_again(joined):
    one = joined(instance_id="named")
    epoch = one.epoch
    assert one.join() == "NONE"
    assert (one.epoch, one.indexes()) == (epoch, EVERY)


# ---- offsets ------------------------------------------------------------------------------------------------------


def commit(connection, group: str, version: int, topic_id: bytes, offsets: dict[int, int], **fields) -> dict[int, str]:
    rows = [{"index": index, "offset": offset, "metadata": ""} for index, offset in offsets.items()]
    named = {"topic_id": topic_id} if version >= 10 else {"name": TOPIC}
    answer = classic.OFFSET_COMMIT.ask(connection, version, group=group, topics=[{**named, "partitions": rows}], **fields)
    return {row.index: error_name(row.error) for row in answer.topics[0].partitions}


def fetch(connection, group: str, version: int, **fields) -> tuple[str, dict[int, int]]:
    (answer,) = classic.OFFSET_FETCH.ask(connection, version, groups=[{"group": group, "topics": None, **fields}]).groups
    return error_name(answer.error), {row.index: row.offset for topic in answer.topics for row in topic.partitions}


@pytest.mark.parametrize("version", range(2, 11))
def test_members_commit_from_version_9_on(connection, joined, topic_id, version):
    one = joined()
    expected = "NONE" if version >= 9 else "UNSUPPORTED_VERSION"
    who = {"generation": one.epoch, "member_id": one.member_id}
    assert commit(connection, one.group, version, topic_id, {0: 5, 1: 6}, **who) == {0: expected, 1: expected}
    assert fetch(connection, one.group, 8)[1] == ({0: 5, 1: 6} if version >= 9 else {})


@pytest.mark.parametrize("version", [9, 10])
def test_a_commit_carries_the_members_epoch(connection, joined, topic_id, version):
    one = joined()
    epoch = one.epoch
    for who, expected in [
        ({"generation": epoch + 1, "member_id": one.member_id}, "STALE_MEMBER_EPOCH"),
        ({"generation": 0, "member_id": one.member_id}, "STALE_MEMBER_EPOCH"),
        ({"generation": -1, "member_id": one.member_id}, "STALE_MEMBER_EPOCH"),
        ({"generation": -2, "member_id": one.member_id}, "STALE_MEMBER_EPOCH"),
        ({"generation": epoch, "member_id": "nobody"}, "UNKNOWN_MEMBER_ID"),
        ({"generation": epoch, "member_id": ""}, "UNKNOWN_MEMBER_ID"),
        ({"generation": -1, "member_id": ""}, "UNKNOWN_MEMBER_ID"),
        ({"generation": epoch, "member_id": one.member_id}, "NONE"),
    ]:
        assert commit(connection, one.group, version, topic_id, {0: 5}, **who) == {0: expected}, who
    assert one.leave() == "NONE"
    gone = {"generation": epoch, "member_id": one.member_id}
    assert commit(connection, one.group, version, topic_id, {0: 6}, **gone) == {0: "UNKNOWN_MEMBER_ID"}
    # Nobody is in it: a tool may.
    assert commit(connection, one.group, version, topic_id, {0: 7}) == {0: "NONE"}
    assert fetch(connection, one.group, version) == ("NONE", {0: 7})


def test_a_member_that_is_behind_commits_what_it_had_before(connection, joined, topic_id):
    """KIP-1251: the epoch may have risen between the poll and the commit."""
    one = joined()
    behind = {"generation": one.epoch, "member_id": one.member_id}
    other = joined(one.group)
    settle(one, other)
    assert one.epoch > behind["generation"]
    kept, given = one.indexes()[0], other.indexes()[0]
    assert commit(connection, one.group, 9, topic_id, {kept: 5}, **behind) == {kept: "NONE"}
    assert commit(connection, one.group, 9, topic_id, {given: 5}, **behind) == {given: "STALE_MEMBER_EPOCH"}
    both = commit(connection, one.group, 9, topic_id, {kept: 6, given: 6}, **behind)
    assert set(both.values()) == {"STALE_MEMBER_EPOCH"}
    assert fetch(connection, one.group, 9)[1] == {kept: 5}
    before = {"generation": other.epoch - 1, "member_id": other.member_id}
    assert commit(connection, one.group, 9, topic_id, {given: 7}, **before) == {given: "STALE_MEMBER_EPOCH"}


def test_what_is_being_given_up_can_still_be_committed(connection, joined, topic_id):
    one = joined()
    other = joined(one.group)
    assert one.beat() == "NONE"
    (leaving, *_) = sorted(set(EVERY) - set(one.indexes()))
    assert commit(connection, one.group, 9, topic_id, {leaving: 5}, generation=one.epoch, member_id=one.member_id) == {leaving: "NONE"}
    settle(one, other)
    assert fetch(connection, one.group, 9, member_id=other.member_id, member_epoch=other.epoch)[1] == {leaving: 5}


@pytest.mark.parametrize("version", [9, 10])
def test_a_fetch_of_offsets_carries_the_members_epoch(connection, joined, topic_id, version):
    one = joined()
    epoch = one.epoch
    who = {"generation": epoch, "member_id": one.member_id}
    assert commit(connection, one.group, 9, topic_id, {0: 5}, **who) == {0: "NONE"}
    for who, expected in [
        ({"member_id": one.member_id, "member_epoch": epoch}, ("NONE", {0: 5})),
        ({}, ("NONE", {0: 5})),
        ({"member_id": one.member_id, "member_epoch": 0}, ("STALE_MEMBER_EPOCH", {})),
        ({"member_id": one.member_id, "member_epoch": epoch + 1}, ("STALE_MEMBER_EPOCH", {})),
        ({"member_id": one.member_id, "member_epoch": -1}, ("STALE_MEMBER_EPOCH", {})),
        ({"member_id": "nobody", "member_epoch": 1}, ("UNKNOWN_MEMBER_ID", {})),
        ({"member_id": "", "member_epoch": epoch}, ("UNKNOWN_MEMBER_ID", {})),
        ({"member_id": "", "member_epoch": -1}, ("UNKNOWN_MEMBER_ID", {})),
    ]:
        assert fetch(connection, one.group, version, **who) == expected, who
    assert fetch(connection, one.group, 8) == ("NONE", {0: 5})


def test_offsets_are_deleted_of_topics_that_nobody_reads(connection, joined, topic_id, new_topic):
    name = new_topic("read", 1)
    one = joined(topics=[name])
    who = {"generation": one.epoch, "member_id": one.member_id}
    assert commit(connection, one.group, 9, topic_id, {0: 5}, **who) == {0: "NONE"}
    asked = [{"name": topic, "partitions": [{"index": 0}]} for topic in (TOPIC, name)]
    answer = classic.OFFSET_DELETE.ask(connection, 0, group=one.group, topics=asked)
    errors = {topic.name: error_name(topic.partitions[0].error) for topic in answer.topics}
    assert (answer.error, errors) == (0, {TOPIC: "NONE", name: "GROUP_SUBSCRIBED_TO_TOPIC"})
    assert fetch(connection, one.group, 9)[1] == {}


# ---- describing, listing, deleting --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1])
def test_a_group_is_described_with_what_its_members_have_and_are_to_have(connection, joined, topic_id, version):
    group = new_group()
    one = joined(group, instance_id="named", assignor="range")
    epoch = one.epoch
    other = joined(group)
    assert one.beat(rack_id="here") == "NONE"
    found = describe(connection, group, version)
    assert (found.error, found.group, found.state, found.assignor) == (0, group, "Reconciling", "range")
    assert found.authorized_operations == -(2**31)
    assert found.epoch == found.assignment_epoch == epoch + 1
    members = {member.member_id: member for member in found.members}
    assert members.keys() == {one.member_id, other.member_id}
    first, second = members[one.member_id], members[other.member_id]
    assert (first.instance_id, first.rack_id, first.epoch, first.topics) == ("named", "here", epoch, [TOPIC])
    assert (second.instance_id, second.rack_id, second.epoch) == (None, None, epoch + 1)
    assert (first.client_id, first.client_host) == ("raw", "/127.0.0.1")

    def told(named) -> set:
        assert all(topic.name == TOPIC for topic in named.topics)
        return {(topic.topic_id, index) for topic in named.topics for index in topic.partitions}

    # What it is still giving up is its own.
    assert (told(first.assignment), told(second.assignment)) == ({(topic_id, index) for index in EVERY}, set())
    assert told(first.target) == one.held and len(told(second.target)) == 3
    if version >= 1:
        assert first.type == second.type == 1


def test_the_operations_that_a_client_may_do_with_a_group_are_told_when_asked_for(connection, joined):
    found = describe(connection, joined().group, include_authorized_operations=True)
    read, delete, describe_it, describe_configs, alter_configs = (1 << bit for bit in (3, 6, 8, 10, 11))
    assert found.authorized_operations == read | delete | describe_it | describe_configs | alter_configs


@pytest.mark.parametrize("version", [0, 1])
def test_what_is_no_consumer_group_is_not_described_as_one(broker, connection, version):
    simple, unknown = new_group(), new_group()
    assert commit(connection, simple, 9, b"", {0: 5}) == {0: "NONE"}
    asked = protocol.DESCRIBE.ask(connection, version, groups=[simple, unknown, ""]).groups
    found = {one.group: (error_name(one.error), one.message) for one in asked}
    assert found == {
        simple: ("GROUP_ID_NOT_FOUND", f"Group {simple} is not a consumer group."),
        unknown: ("GROUP_ID_NOT_FOUND", f"Group {unknown} not found."),
        "": ("INVALID_GROUP_ID", None),
    }


@pytest.mark.parametrize("version", range(7))
def test_a_consumer_group_is_not_described_as_a_classic_one(connection, joined, version):
    one = joined()
    (found,) = classic.DESCRIBE_GROUPS.ask(connection, version, groups=[one.group]).groups
    assert (found.state, found.members) == ("Dead", [])
    assert error_name(found.error) == ("GROUP_ID_NOT_FOUND" if version >= 6 else "NONE")
    if version >= 6:
        assert found.message == f"Group {one.group} is not a classic group."


def test_groups_are_listed_by_state_and_type(connection, joined):
    one, empty = joined(), joined()
    assert empty.leave() == "NONE"

    def listed(**filters) -> dict:
        answer = classic.LIST_GROUPS.ask(connection, 5, **filters)
        assert answer.error == 0
        found = {row.group: (row.protocol_type, row.state, row.type) for row in answer.groups}
        return {group: found[group] for group in (one.group, empty.group, moving.group) if group in found}

    moving = joined()
    joined(moving.group)
    assert moving.beat() == "NONE"
    stable, resting, busy = (
        {one.group: ("consumer", "Stable", "consumer")},
        {empty.group: ("consumer", "Empty", "consumer")},
        {moving.group: ("consumer", "Reconciling", "consumer")},
    )
    for filters, expected in [
        ({}, stable | resting | busy),
        ({"types": ["consumer"]}, stable | resting | busy),
        ({"types": ["Consumer"], "states": ["stable"]}, stable),
        ({"states": ["Reconciling", "EMPTY"]}, busy | resting),
        ({"states": ["Assigning"]}, {}),
        ({"types": ["classic"]}, {}),
    ]:
        assert listed(**filters) == expected, filters


def test_a_group_is_deleted_when_nobody_is_in_it(connection, joined, topic_id):
    one = joined()
    assert commit(connection, one.group, 9, topic_id, {0: 5}, generation=one.epoch, member_id=one.member_id) == {0: "NONE"}

    def delete() -> str:
        (result,) = classic.DELETE_GROUPS.ask(connection, 2, groups=[one.group]).results
        return error_name(result.error)

    assert delete() == "NON_EMPTY_GROUP"
    assert one.leave() == "NONE"
    assert describe(connection, one.group).state == "Empty"
    assert delete() == "NONE"
    assert delete() == "GROUP_ID_NOT_FOUND"
    assert fetch(connection, one.group, 9) == ("NONE", {})
    # The next one starts over.
    epoch = joined().epoch
    assert one.join() == "NONE" and one.epoch == epoch


def test_epochs_go_on_when_a_group_was_empty(joined):
    one = joined()
    epoch = one.epoch
    assert one.leave() == "NONE"
    other = joined(one.group)
    assert (other.epoch, other.indexes()) == (epoch + 2, EVERY)


# ---- members of both protocols ------------------------------------------------------------------------------------


@pytest.fixture
def old(broker):
    """old(group, ...): a member of the classic protocol, which has not joined."""
    made = []

    def make(group: str, **options) -> Member:
        one = Member(broker, group, **options)
        one.protocols = {"range": subscription([TOPIC])}
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def classic_share(one: Member) -> list[int]:
    error, data = one.sync()
    assert error == "NONE"
    return sorted(sum(classic.parse_assignment(data).values(), [])) if data else []


def test_a_classic_member_joins_a_consumer_group_and_is_led_like_the_others(connection, joined, old):
    one = joined()
    other = old(one.group)
    assert other.take_join(other.start_join()) == "NONE"
    assert (other.generation, other.joined.protocol, other.joined.members) == (one.epoch + 1, "range", [])
    assert classic_share(other) == []
    assert other.heartbeat() == "NONE"
    settle(one)
    # There is something for it now: it rejoins.
    await_until(lambda: other.heartbeat() == "REBALANCE_IN_PROGRESS", "the classic member is to rejoin")
    assert other.take_join(other.send_join()) == "NONE"
    share = classic_share(other)
    assert sorted(share + one.indexes()) == EVERY and len(share) == 3
    assert other.heartbeat() == "NONE"
    types = {member.member_id: member.type for member in describe(connection, one.group).members}
    assert types == {one.member_id: 1, other.member_id: 0}
    # Its generation is its epoch.
    assert other.commit(TOPIC, 5) == "NONE"
    assert other.commit(TOPIC, 5, generation=other.generation + 1) == "ILLEGAL_GENERATION"
    assert other.heartbeat(generation=other.generation - 1) == "ILLEGAL_GENERATION"
    assert other.sync(generation=other.generation + 1)[0] == "ILLEGAL_GENERATION"
    assert other.heartbeat(member_id="nobody") == "UNKNOWN_MEMBER_ID"
    assert other.leave() == "NONE"
    settle(one)
    assert one.indexes() == EVERY


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol_type": "connect"},
        {"protocol_type": ""},
        {"protocols": []},
        {"protocols": [{"name": "range", "metadata": b""}]},
        {"protocols": [{"name": "range", "metadata": b"\0\1\2"}]},
    ],
)
def test_what_is_no_consumer_does_not_join_a_consumer_group(joined, old, wrong):
    one = joined()
    other = old(one.group, version=3)
    assert other.take_join(other.send_join(**wrong)) == "INCONSISTENT_GROUP_PROTOCOL"
    epoch = one.epoch
    assert one.beat() == "NONE" and one.epoch == epoch


def test_a_classic_member_takes_over_an_empty_consumer_group_and_the_other_way_round(connection, joined, old, topic_id):
    one = joined()
    assert commit(connection, one.group, 9, topic_id, {0: 5}, generation=one.epoch, member_id=one.member_id) == {0: "NONE"}
    assert one.leave() == "NONE"
    other = old(one.group)
    assert other.take_join(other.start_join()) == "NONE"
    assert other.generation == 1
    assert error_name(describe(connection, one.group).error) == "GROUP_ID_NOT_FOUND"
    assert fetch(connection, one.group, 9) == ("NONE", {0: 5})
    assert other.sync({other.member_id: b""})[0] == "NONE"
    assert other.leave() == "NONE"
    assert one.join() == "NONE"
    assert one.indexes() == EVERY
    assert fetch(connection, one.group, 9) == ("NONE", {0: 5})


def test_a_classic_group_goes_over_and_back_with_its_members(connection, joined, early):
    first = early["there and back"]
    group = first.group
    assert first.commit(TOPIC, 5) == "NONE"
    one = joined(group)
    found = describe(connection, group)
    assert {member.member_id: member.type for member in found.members} == {one.member_id: 1, first.member_id: 0}
    # The group's epoch goes on from the generation; the classic member has what it had until it rejoins.
    assert (found.epoch, one.indexes()) == (2, [])
    assert first.heartbeat() == "REBALANCE_IN_PROGRESS"
    assert first.take_join(first.send_join()) == "NONE"
    share = classic_share(first)
    assert len(share) == 3
    settle(one)
    assert sorted(share + one.indexes()) == EVERY
    # The last one of the consumer protocol goes.
    assert one.leave() == "NONE"
    (back,) = classic.DESCRIBE_GROUPS.ask(connection, 5, groups=[group]).groups
    assert (back.state, [member.member_id for member in back.members]) == ("PreparingRebalance", [first.member_id])
    assert error_name(describe(connection, group).error) == "GROUP_ID_NOT_FOUND"
    generation = first.generation
    assert first.heartbeat() == "REBALANCE_IN_PROGRESS"
    assert first.take_join(first.send_join()) == "NONE"
    assert first.leads and first.generation > generation
    assert first.sync({first.member_id: b"all"}) == ("NONE", b"all")
    assert fetch(connection, group, 9)[1] == {0: 5}


@pytest.mark.parametrize("what", ["connect", "user data", "garbage", "garbage assigned"])
def test_a_group_that_would_lose_something_does_not_go_over(member, early, what):
    there = early[what]
    one = member(there.group)
    assert one.join() == "GROUP_ID_NOT_FOUND"
    assert one.answer.message
    assert there.heartbeat() == "NONE"


def test_a_group_goes_over_in_the_middle_of_a_rebalance(connection, joined, early):
    first = early["unsynced"]
    one = joined(first.group)
    assert len(one.held) == 3, "nobody had anything"
    assert first.sync({first.member_id: classic.assignment({TOPIC: EVERY})})[0] == "REBALANCE_IN_PROGRESS"
    assert first.heartbeat() == "REBALANCE_IN_PROGRESS"
    assert first.take_join(first.send_join()) == "NONE"
    assert sorted(classic_share(first) + one.indexes()) == EVERY
    assert one.beat() == "NONE" and describe(connection, first.group).state == "Stable"


def test_a_classic_member_of_the_newest_version_is_understood(connection, joined, early):
    first = early["racks"]
    one = joined(first.group)
    assert {row.member_id: row.rack_id for row in describe(connection, first.group).members} == {
        first.member_id: "here",
        one.member_id: None,
    }
    assert first.heartbeat() == "REBALANCE_IN_PROGRESS"
    assert first.take_join(first.send_join()) == "NONE"
    error, data = first.sync()
    # It is answered in its own version.
    assert (error, data[:2]) == ("NONE", b"\0\3")
    settle(one)
    assert sorted(classic.parse_assignment(data)[TOPIC] + one.indexes()) == EVERY


def test_a_member_goes_over_under_its_own_id(connection, member, early):
    first = early["same id"]
    one = member(first.group)
    one.member_id = first.member_id
    assert one.join() == "NONE"
    assert one.indexes() == EVERY
    assert first.heartbeat() == "UNKNOWN_MEMBER_ID"
    assert [row.type for row in describe(connection, first.group).members] == [1]


def test_a_classic_member_takes_the_name_of_a_consumer_member(connection, member, joined, old):
    one = joined(instance_id="named")
    other = old(one.group, instance_id="named")
    assert other.take_join(other.send_join()) == "NONE"
    assert one.beat() == "GROUP_ID_NOT_FOUND", "it was the only one"
    back = member(one.group, instance_id="named")
    assert back.join() == "NONE" and back.indexes() == EVERY
    assert other.heartbeat() == "FENCED_INSTANCE_ID"


def test_classic_requests_of_consumer_members(connection, joined, old):
    one = joined(instance_id="named")
    other = joined(one.group)
    settle(one, other)
    for member, name in ((one, "named"), (one, None), (other, None)):
        who = {"group": one.group, "generation": one.epoch, "member_id": member.member_id, "instance_id": name}
        assert error_name(classic.HEARTBEAT.ask(connection, 4, **who).error) == "UNKNOWN_MEMBER_ID"
        answer = classic.SYNC.ask(connection, 5, **who, protocol_type="consumer", protocol="range")
        assert error_name(answer.error) == "UNKNOWN_MEMBER_ID"
    # Whoever is to go may be told so.
    asked = [("nobody", "named"), ("", "no such name"), ("nobody", None), (other.member_id, None), ("", "named")]
    members = [{"member_id": member_id, "instance_id": name} for member_id, name in asked]
    answer = classic.LEAVE.ask(connection, 5, group=one.group, members=members)
    errors = [error_name(row.error) for row in answer.members]
    assert errors == ["FENCED_INSTANCE_ID", "UNKNOWN_MEMBER_ID", "UNKNOWN_MEMBER_ID", "NONE", "NONE"]
    assert one.beat() == other.beat() == "UNKNOWN_MEMBER_ID"
    assert describe(connection, one.group).state == "Empty"


def test_a_member_goes_over_under_its_own_name(connection, member, early):
    """A static member that starts again with the other protocol takes its own place."""
    first = early["named"]
    group = first.group
    one = member(group, instance_id="named")
    assert one.join() == "NONE"
    settle(one)
    assert one.indexes() == EVERY
    assert first.heartbeat() == "FENCED_INSTANCE_ID"
    assert [row.member_id for row in describe(connection, group).members] == [one.member_id]


# ---- last, since it takes its time --------------------------------------------------------------------------------


def test_a_member_that_is_silent_for_its_session_is_removed(connection, early):
    silent = early["silent"]
    await_until(lambda: describe(connection, silent.group).state == "Empty", "the silent member is removed", 15)
    assert silent.beat() == "UNKNOWN_MEMBER_ID"
