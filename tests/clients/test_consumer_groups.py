"""Groups of the consumer protocol (KIP-848) with the members of librdkafka, Java and franz-go, and their administration.

As in test_groups.py what takes its time runs at once, started with the module, and each test asks for its own result.
"""

import collections
import concurrent.futures
import itertools
import signal
import subprocess
import sys
import threading
import time

import confluent_kafka
import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from harness import consumer_groups as protocol
from harness import wire
from harness.broker import await_until
from harness.clients import ALL, ClientError
from harness.consumer_groups import ConsumerMember
from harness.group import WAIT_S, Group, end_members
from harness.groups import coordinator_is_ready
from harness.members import MEMBERS

CLIENTS = [name for name, kind in MEMBERS.items() if "consumer" in kind.protocols]
OTHER = {"confluent": "java", "java": "confluent", "franz-go": "java"}
# franz-go resolves patterns by itself, says goodbye for a static member without its name (which both brokers refuse), and does not
# find a topic that was made anew, at either broker.
WITHOUT_FRANZ = [name for name in CLIENTS if name != "franz-go"]
MIGRATING = [("confluent", "confluent"), ("java", "java"), ("java", "confluent"), ("franz-go", "java")]
_numbers = itertools.count(1)


def consumers(broker, name: str, partitions: int, **options) -> Group:
    return Group(broker, name, partitions, protocol="consumer", **options)


def described(broker, group: str):
    with broker.connect() as connection:
        return protocol.DESCRIBE.ask(connection, 1, groups=[group]).groups[0]


def type_of(broker, group: str) -> tuple[str, str]:
    found = ALL["java"].group_admin(broker.bootstrap, "list")[group]
    return found["type"], found["state"]


def no_partition_has_two_owners(group: Group) -> None:
    """Members note when a partition is given to them and when they are done with it."""
    by_partition = collections.defaultdict(list)
    for member in group.members + group.gone:
        for topic, index, since, until in member.spans:
            by_partition[topic, index].append((since, until if until >= 0 else float("inf"), type(member).__name__))
        # What it read it read while it was its own.
        for (topic, at), (index, offset, _) in zip(member.reads, member.records):
            of_this = [span for span in member.spans if (span[0], span[1]) == (topic, index)]
            assert any(since <= at and (until < 0 or at <= until) for _, _, since, until in of_this), (topic, index, offset, at, of_this)
    for partition, spans in by_partition.items():
        spans.sort()
        for (_, until, one), (since, _, other) in itertools.pairwise(spans):
            assert until <= since, f"{partition} was of {one} until {until} and of {other} from {since} on: {spans}"


# ---- what runs at once --------------------------------------------------------------------------------------------


def grow_and_shrink(broker, clients: list[str], strategy: str | None) -> None:
    group = consumers(broker, f"grow-{'-'.join(clients)}", 6, strategy=strategy)
    group.produce(20)
    first = group.join(clients[0])
    for client in (*clients[1:], None):
        group.await_shared()
        group.produce(10)
        group.read_all()
        if client:
            group.join(client)
    assert group.committed() == dict.fromkeys(range(6), group.produced)
    kept = set(first.assignment)
    for member in group.members[:0:-1]:
        group.leave(member)
        group.await_shared()
        # Who stays keeps what it has; the ranges of the range assignor move.
        assert kept <= first.assignment or strategy == "range"
        kept = set(first.assignment)
        group.produce(10)
        group.read_all()
    # All are gone: the next one goes on where they were.
    group.leave(first)
    assert type_of(broker, group.name) == ("Consumer", "Empty")
    group.produce(10)
    last = group.join(clients[-1])
    group.read_all()
    assert len(last.records) == 60
    no_partition_has_two_owners(group)
    group.close()


class Stream:
    """Produces to all partitions of a group's topic until it is ended."""

    def __init__(self, group: Group) -> None:
        self._group, self._ending = group, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.wait(0.03):
            self._group.produce(1)

    def end(self) -> None:
        self._ending.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def flow(broker, strategy: str) -> None:
    """Members of all clients come and go while records come in: each record is read once, by the one who has its partition."""
    group = consumers(broker, f"flow-{strategy}", 6, strategy=strategy, commit_on_revoke=True)
    stream = Stream(group)
    for client in ("java", "confluent", "franz-go", "java"):
        group.join(client)
        group.await_shared()
    for client in ("confluent", "java"):
        # The eldest goes, and another one comes at once.
        group.join(client)
        group.leave(group.members[0])
        group.await_shared()
    while len(group.members) > 1:
        group.leave(group.members[-1])
    group.await_shared()
    stream.end()
    group.read_all()
    no_partition_has_two_owners(group)
    group.close()


def use_assignor(broker, client: str, strategy: str) -> None:
    group = consumers(broker, f"{strategy}-{client}", 5, strategy=strategy)
    for _ in range(2):
        group.join(client)
    group.await_shared()
    assert described(broker, group.name).assignor == strategy
    if strategy == "range":
        assert sorted(sorted(member.assignment) for member in group.members) == [[0, 1, 2], [3, 4]]
    group.produce(5)
    group.read_all()
    group.close()


def restart_static(broker, client: str) -> None:
    """A static member comes back within its session: nobody else notices."""
    group = consumers(broker, f"static-{client}", 4)
    stays = group.join(client, instance_id="stays")
    goes = group.join(client, instance_id="goes")
    group.await_shared()
    group.produce(10)
    group.read_all()
    before, share = [list(span) for span in stays.refresh().spans], set(goes.assignment)
    group.leave(goes)
    away = {member.instance_id: member.epoch for member in described(broker, group.name).members}
    assert away.keys() == {"stays", "goes"} and away["goes"] == -2
    group.produce(10)
    back = group.join(client, instance_id="goes")
    group.await_shared()
    group.read_all()
    assert back.assignment == share
    assert stays.refresh().spans == before
    group.close()


DYING = """
import sys, confluent_kafka
bootstrap, group, topic = sys.argv[1:]
consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group, "group.protocol": "consumer",
                                     "enable.auto.commit": False, "auto.offset.reset": "earliest"})
consumer.subscribe([topic])
while True:
    consumer.poll(1)
"""


def die(broker) -> None:
    """A process that is killed says no word: its partitions are free when its session is over, and not before."""
    group = consumers(broker, "dying", 4)
    child = subprocess.Popen([sys.executable, "-c", DYING, broker.bootstrap, group.name, group.topic])
    try:
        survivor = group.join("java")
        await_until(lambda: len(survivor.refresh().assignment) == 2, "the partitions are shared", WAIT_S)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    killed_at_ms = time.time() * 1000
    group.await_shared()
    given_at_ms = max(since for _, _, since, _ in survivor.spans)
    # Its last heartbeat was up to one interval, and what the machine takes, before its end.
    assert given_at_ms - killed_at_ms > 8_000, "the session is 10 s"
    group.produce(10)
    group.read_all()
    group.close()


def match_pattern(broker, client: str) -> None:
    """A topic that is created later is read by those whose pattern it matches (RE2, resolved by the broker)."""
    group = consumers(broker, f"pattern-{client}", 2)
    stem = group.topic
    # librdkafka takes for a pattern what begins with ^, and sends it as it is.
    member = group.join(client, topic=rf"{stem}(-late\d)?", pattern=True)
    plain = group.join(OTHER[client], topic=rf"{stem}-late\d", pattern=True)
    await_until(lambda: {topic for topic, _ in member.refresh().owned} == {stem}, "the topic is found", WAIT_S)
    broker.create_topic(f"{stem}-late1", 2)
    broker.create_topic(f"x{stem}-late1", 2)

    def shared():
        group.healthy()
        return member.owned | plain.owned == {(topic, index) for topic in (stem, f"{stem}-late1") for index in (0, 1)}

    await_until(shared, "the later topic is read", WAIT_S)
    assert not member.owned & plain.owned
    with broker.connect() as connection:
        batches = {(f"{stem}-late1", index): wire.Batch(values=[b"x"]).encode() for index in (0, 1)}
        assert all(result.error == 0 for result in wire.produce(connection, batches).values())

    def late() -> list:
        return [topic for one in group.members for topic, _ in one.refresh().reads if topic == f"{stem}-late1"]

    await_until(lambda: len(late()) == 2, "its records are read", WAIT_S)
    group.close()


def add_partitions(broker, client: str) -> None:
    group = consumers(broker, f"growing-topic-{client}", 2)
    group.join(client)
    group.join(OTHER[client])
    group.await_shared()
    group.produce(5)
    group.read_all()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    (future,) = admin.create_partitions([NewPartitions(group.topic, 6)]).values()
    future.result(WAIT_S)
    group.partitions = 6
    group.await_shared()
    with broker.connect() as connection:
        for index in range(2, 6):
            await_until(lambda i=index: wire.list_offset(connection, group.topic, i, wire.LATEST).error == 0, "it is led")
        values = [b"%d" % n for n in range(group.produced)]
        batches = {(group.topic, index): wire.Batch(values=values).encode() for index in range(2, 6)}
        assert all(result.error == 0 for result in wire.produce(connection, batches).values())
    group.read_all()
    group.close()


def reset(broker, client: str, where: str) -> None:
    group = consumers(broker, f"reset-{where}-{client}", 1)
    group.produce(5)
    member = group.join(client, reset=where)
    if where == "none":
        failure = await_until(lambda: member.refresh().failure, "the member says that it has no offset", WAIT_S)
        assert "offset" in failure.lower()
        return
    if where == "earliest":
        group.read_all()
    else:
        await_until(lambda: group.produce(1) or member.refresh().records, "new records arrive", WAIT_S, every_s=0.2)
        assert member.records[0][1] >= 5
    group.close()


def migrate(broker, clients: list[str]) -> None:
    """Member by member from the classic protocol to the consumer protocol and back, under load; each record is read once."""
    group = Group(broker, f"migrating-{'-'.join(clients)}", 6, commit_on_revoke=True)
    old = {"protocol": "classic", "strategy": "range"}
    for client in clients:
        group.join(client, **old)
    group.await_shared()
    assert type_of(broker, group.name) == ("Classic", "Stable")
    stream = Stream(group)
    for options, kinds in [({"protocol": "consumer"}, ["Consumer"] * len(clients)), (old, ["Consumer"] * (len(clients) - 1) + ["Classic"])]:
        for client, kind in zip(clients, kinds):
            group.leave(group.members[0])
            group.join(client, **options)
            group.await_shared()
            await_until(lambda k=kind: type_of(broker, group.name) == (k, "Stable"), f"the group is {kind} and stable", WAIT_S)
    stream.end()
    group.read_all()
    group.close()


def blend(broker, client: str) -> None:
    """A member of the classic protocol beside one of the consumer protocol, which is the first and the last."""
    group = consumers(broker, f"blend-{client}", 4)

    def await_rest() -> None:
        """A member of the classic protocol joins anew for each change, and may first have all that it had before: what it
        reads meanwhile is read again."""
        group.await_shared()
        await_until(lambda: type_of(broker, group.name) == ("Consumer", "Stable"), "the group is at rest", WAIT_S)
        group.await_shared()

    group.join("java")
    await_rest()
    group.produce(10)
    group.read_all()
    old = group.join(client, protocol="classic")
    for _ in range(2):
        await_rest()
        group.produce(10)
        group.read_all()
        if len(group.members) == 2:
            group.join("confluent")
    types = collections.Counter(member.type for member in described(broker, group.name).members)
    assert types == {0: 1, 1: 2}
    group.leave(old)
    await_rest()
    group.produce(10)
    group.read_all()
    group.close()


def recreate(broker, client: str) -> None:
    """A topic is deleted and created again while a member reads it."""
    group = consumers(broker, f"recreated-{client}", 2)
    group.produce(5)
    member = group.join(client)
    group.await_shared()
    group.read_all()
    with broker.connect() as connection:
        assert wire.delete_topic(connection, group.topic) == 0
        await_until(lambda: group.committed() == {}, "the offsets of the topic are gone with it")
        await_until(lambda: wire.create_topic(connection, group.topic, 2)[0] == 0, "the name is free again")
        for index in range(2):
            await_until(lambda: wire.list_offset(connection, group.topic, index, wire.LATEST).error == 0, "the new topic is led")
    read = len(member.refresh().records)
    group.produced = 0
    await_until(lambda: group.produce(4) or len(member.refresh().records) > read, "the member reads the new topic", WAIT_S, every_s=0.3)
    member.commit()
    assert max(group.committed().values()) <= group.produced
    group.close()


def survive(broker, ending: str) -> None:
    """Groups, their members and what was acknowledged are there when the broker starts again."""
    broker.start()
    coordinator_is_ready(broker, "warm-up")
    group = consumers(broker, "surviving", 4)
    for client in CLIENTS:
        group.join(client)
    group.await_shared()
    group.produce(10)
    group.read_all()
    # One at rest, one in the middle of giving up, one that is given nothing yet; a pattern; one that is away.
    broker.create_topic("kept", 4)
    steady = ConsumerMember(broker, "kept-1", ["kept"])
    giving, waiting = ConsumerMember(broker, "kept-2", ["kept"]), ConsumerMember(broker, "kept-2", ["kept"])
    pattern = ConsumerMember(broker, "kept-3", None, regex="ke.t", instance_id="named")
    by_hand = [steady, giving, waiting, pattern]
    assert [one.join() for one in by_hand] == ["NONE"] * 4
    assert giving.beat() == "NONE"
    await_until(lambda: pattern.acknowledge() == "NONE" and pattern.held, "the pattern is resolved", WAIT_S)
    epochs = [one.epoch for one in by_hand]
    assert pattern.leave(protocol.LEAVE_FOR_A_WHILE) == "NONE"
    assert [len(one.held) for one in by_hand] == [4, 2, 0, 4]

    def shown(name: str) -> tuple:
        found = described(broker, name)
        return found.state, found.epoch, found.assignment_epoch, sorted(str(vars(member)) for member in found.members)

    before = {name: shown(name) for name in ("kept-1", "kept-2", "kept-3")}
    getattr(broker, ending)()
    broker.start()
    coordinator_is_ready(broker, group.name, *before)
    assert {name: shown(name) for name in before} == before
    for member in by_hand:
        member.connection = broker.connect()
    # Each goes on as if nothing had been.
    assert (steady.beat(), steady.epoch, steady.answer.assignment) == ("NONE", epochs[0], None)
    assert waiting.beat() == "NONE" and waiting.held == set()
    assert (giving.beat(), giving.epoch) == ("NONE", epochs[1])
    assert giving.acknowledge() == "NONE" and giving.epoch == epochs[2]
    assert waiting.beat() == "NONE" and len(waiting.held) == 2 and not waiting.held & giving.held
    back = ConsumerMember(broker, "kept-3", None, regex="ke.t", instance_id="named")
    assert (back.join(), back.epoch, back.held) == ("NONE", epochs[3], pattern.held)
    assert group.committed() == dict.fromkeys(range(4), 10)
    group.await_shared()
    group.produce(10)
    group.read_all()
    group.close()
    for member in [*by_hand, back]:
        member.close()
    broker.stop()


SCENARIOS = {
    **{("grow", client): (grow_and_shrink, [client] * 3, None) for client in CLIENTS},
    **{("mix", strategy): (grow_and_shrink, ["java", "confluent", "franz-go", "confluent"], strategy) for strategy in ("uniform", "range")},
    **{("flow", strategy): (flow, strategy) for strategy in ("uniform", "range")},
    **{("assignor", client, strategy): (use_assignor, client, strategy) for client in CLIENTS for strategy in ("uniform", "range")},
    **{("static", client): (restart_static, client) for client in WITHOUT_FRANZ},
    ("die",): (die,),
    **{("pattern", client): (match_pattern, client) for client in WITHOUT_FRANZ},
    **{("partitions", client): (add_partitions, client) for client in CLIENTS},
    **{("migrate", *clients): (migrate, list(clients)) for clients in MIGRATING},
    **{("reset", client, where): (reset, client, where) for client in CLIENTS for where in ("earliest", "latest", "none")},
    **{("blend", client): (blend, client) for client in MEMBERS},
    **{("recreate", client): (recreate, client) for client in WITHOUT_FRANZ},
}


@pytest.fixture(scope="module")
def outcome(broker, new_broker):
    """outcome(key): waits for a scenario; what failed there fails here."""
    coordinator_is_ready(broker, "warm-up")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = {("survive", ending): pool.submit(survive, new_broker(), ending) for ending in ("stop", "kill")}
        # The longest first.
        order = sorted(SCENARIOS, key=lambda key: key[0] not in ("die", "pattern", "migrate", "flow"))
        running |= {key: pool.submit(SCENARIOS[key][0], broker, *SCENARIOS[key][1:]) for key in order}
        yield lambda *key: running[key].result(170)
        for one in running.values():
            one.cancel()


@pytest.fixture(scope="module", autouse=True)
def _end_members():
    yield
    end_members()


@pytest.mark.parametrize("client", CLIENTS)
def test_every_record_is_read_once_by_one_two_three_members_and_after_a_restart(outcome, client):
    outcome("grow", client)


@pytest.mark.parametrize("strategy", ["uniform", "range"])
def test_clients_of_different_makers_share_one_group(outcome, strategy):
    outcome("mix", strategy)


@pytest.mark.parametrize("strategy", ["uniform", "range"])
def test_a_partition_is_never_read_by_two_members_at_once_while_members_come_and_go(outcome, strategy):
    outcome("flow", strategy)


@pytest.mark.parametrize("strategy", ["uniform", "range"])
@pytest.mark.parametrize("client", CLIENTS)
def test_the_broker_assigns_as_members_ask(outcome, client, strategy):
    outcome("assignor", client, strategy)


@pytest.mark.parametrize("client", WITHOUT_FRANZ)
def test_a_static_member_restarts_without_a_rebalance(outcome, client):
    outcome("static", client)


def test_the_partitions_of_a_killed_member_go_to_the_others(outcome):
    outcome("die")


@pytest.mark.parametrize("client", WITHOUT_FRANZ)
def test_a_pattern_finds_a_topic_that_is_created_later(outcome, client):
    outcome("pattern", client)


@pytest.mark.parametrize("client", CLIENTS)
def test_new_partitions_are_shared(outcome, client):
    outcome("partitions", client)


@pytest.mark.parametrize("clients", [key[1:] for key in SCENARIOS if key[0] == "migrate"])
def test_a_group_changes_its_protocol_and_back_while_its_members_read(outcome, clients):
    outcome("migrate", *clients)


@pytest.mark.parametrize("client", MEMBERS)
def test_classic_members_of_every_client_share_with_consumer_members(outcome, client):
    outcome("blend", client)


@pytest.mark.parametrize(("client", "where"), [key[1:] for key in SCENARIOS if key[0] == "reset"])
def test_a_group_without_offsets_starts_where_its_members_say(outcome, client, where):
    outcome("reset", client, where)


@pytest.mark.parametrize("client", WITHOUT_FRANZ)
def test_a_member_finds_its_topic_made_anew(outcome, client):
    outcome("recreate", client)


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_groups_and_acknowledged_commits_survive_the_broker(outcome, ending):
    outcome("survive", ending)


# ---- administration -----------------------------------------------------------------------------------------------


@pytest.fixture
def java(broker):
    return lambda operation, **request: ALL["java"].group_admin(broker.bootstrap, operation, **request)


@pytest.fixture(scope="module")
def admin(broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


@pytest.fixture(scope="module")
def living(broker) -> Group:
    """A group with a member of each client, one of them static."""
    coordinator_is_ready(broker, "warm-up")
    group = consumers(broker, "living-consumers", 4, strategy="range")
    group.join("confluent", instance_id="named")
    group.join("java")
    group.await_shared()
    group.produce(5)
    group.read_all()
    yield group
    group.close()


@pytest.fixture
def resting(broker) -> str:
    """A group with offsets, whose only member has left."""
    group = f"resting-consumers-{next(_numbers)}"
    broker.create_topic("of-" + group, 2)
    member = ConsumerMember(broker, group, ["of-" + group])
    assert member.join() == "NONE"
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "enable.auto.commit": False})
    assert member.leave() == "NONE"
    consumer.commit(offsets=[TopicPartition("of-" + group, 0, 5), TopicPartition("of-" + group, 1, 6)], asynchronous=False)
    consumer.close()
    member.close()
    return group


def test_java_lists_groups_by_state_and_type(java, living, resting):
    everything = java("list")
    assert everything[living.name] == {"state": "Stable", "type": "Consumer", "protocol": "consumer"}
    assert everything[resting] == {"state": "Empty", "type": "Consumer", "protocol": "consumer"}
    for filters, has_living, has_resting in [
        ({"states": ["Stable"]}, True, False),
        ({"states": ["Empty"], "types": ["Consumer"]}, False, True),
        ({"types": ["Consumer"]}, True, True),
        ({"types": ["Classic"]}, False, False),
        ({"states": ["Assigning", "Reconciling"]}, False, False),
    ]:
        found = java("list", **filters)
        assert (living.name in found, resting in found) == (has_living, has_resting), filters


def test_librdkafka_lists_groups_by_state_and_type(admin, living, resting):
    for filters, has_living, has_resting in [
        ({"states": {ConsumerGroupState.STABLE}}, True, False),
        ({"states": {ConsumerGroupState.EMPTY}, "types": {ConsumerGroupType.CONSUMER}}, False, True),
        ({"types": {ConsumerGroupType.CONSUMER}}, True, True),
        ({"types": {ConsumerGroupType.CLASSIC}}, False, False),
    ]:
        found = admin.list_consumer_groups(**filters).result(WAIT_S)
        assert found.errors == []
        types = {one.group_id: one.type for one in found.valid}
        assert (living.name in types, resting in types) == (has_living, has_resting), filters
        assert {types[name] for name in (living.name, resting) if name in types} <= {ConsumerGroupType.CONSUMER}


def test_java_describes_groups(broker, java, living, resting):
    found = java("describe", group=living.name)
    assert (found["state"], found["type"], found["assignor"]) == ("Stable", "Consumer", "range")
    assert found["coordinator"] == broker.bootstrap
    assert found["operations"] == ["ALTER_CONFIGS", "DELETE", "DESCRIBE", "DESCRIBE_CONFIGS", "READ"]
    assert found["epoch"] == found["target_epoch"] > 0
    members = {one["client_id"]: one for one in found["members"]}
    assert members.keys() == {"confluent", "java"}
    assert (members["confluent"]["instance_id"], members["java"]["instance_id"]) == ("named", "")
    by_client = dict(zip(("confluent", "java"), living.members))
    for name, member in members.items():
        assert set(member["partitions"]) == set(member["target"]) == by_client[name].refresh().assignment
        assert (member["host"], member["epoch"], member["upgraded"]) == ("/127.0.0.1", found["epoch"], "true")
    found = java("describe", group=resting)
    assert (found["state"], found["type"], found["members"]) == ("Empty", "Consumer", [])


def test_librdkafka_describes_groups(broker, admin, living, resting):
    found = admin.describe_consumer_groups([living.name, resting, "no-such-group"])
    one = found[living.name].result(WAIT_S)
    assert (one.state, one.type, one.partition_assignor) == (ConsumerGroupState.STABLE, ConsumerGroupType.CONSUMER, "range")
    assert (one.coordinator.host, one.coordinator.port) == broker.address
    for assignment in ("assignment", "target_assignment"):
        assert sorted(p.partition for member in one.members for p in getattr(member, assignment).topic_partitions) == [0, 1, 2, 3]
    assert {(member.client_id, member.group_instance_id) for member in one.members} == {("confluent", "named"), ("java", None)}
    resting_one = found[resting].result(WAIT_S)
    assert (resting_one.state, resting_one.type) == (ConsumerGroupState.EMPTY, ConsumerGroupType.CONSUMER)


def test_offsets_of_groups_are_administered(java, living, resting):
    topic = "of-" + resting
    assert java("list-offsets", group=resting) == {f"{topic}-0": [5, "", -1], f"{topic}-1": [6, "", -1]}
    java("alter-offsets", group=resting, topic=topic, offsets={"0": 1})
    java("delete-offsets", group=resting, topic=topic, partitions=[1])
    assert java("list-offsets", group=resting) == {f"{topic}-0": [1, "", -1]}
    for operation, request, expected in [
        ("alter-offsets", {"group": living.name, "topic": living.topic, "offsets": {"0": 1}}, "UnknownMemberIdException"),
        ("delete-offsets", {"group": living.name, "topic": living.topic, "partitions": [0]}, "GroupSubscribedToTopicException"),
    ]:
        with pytest.raises(ClientError) as refused:
            java(operation, **request)
        assert refused.value.kind == expected, operation


def test_groups_are_deleted_when_nobody_is_in_them(java, admin, living, resting):
    for name, expected in [(living.name, "GroupNotEmptyException"), ("no-such-group", "GroupIdNotFoundException")]:
        with pytest.raises(ClientError) as refused:
            java("delete", group=name)
        assert refused.value.kind == expected
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        admin.delete_consumer_groups([living.name])[living.name].result(WAIT_S)
    assert refused.value.args[0].name() == "NON_EMPTY_GROUP"
    java("delete", group=resting)
    assert resting not in java("list") and java("list-offsets", group=resting) == {}


def test_a_static_member_is_removed_by_its_name(broker, java):
    group = consumers(broker, "removed-consumer", 2)
    member = group.join("java", instance_id="named")
    group.await_shared()
    group.leave(member)
    assert len(java("describe", group=group.name)["members"]) == 1
    java("remove-member", group=group.name, instance="named")
    assert java("describe", group=group.name)["state"] == "Empty"
