"""Consumer groups of the classic protocol with the members of every client, and their administration.

Groups take their time (an empty one waits for more members, a silent member for its session): what takes long runs for all
clients at once, started with the module, and each test asks for its own result.
"""

import collections
import concurrent.futures
import itertools
import subprocess
import threading

import confluent_kafka
import kafka
import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from harness import groups as protocol
from harness import wire
from harness.broker import await_until
from harness.clients import ALL, ClientError
from harness.group import WAIT_S, Group, end_members
from harness.groups import Member, coordinator_is_ready
from harness.members import MEMBERS

STATIC = [name for name, kind in MEMBERS.items() if kind.can_be_static]
COOPERATIVE = [name for name, kind in MEMBERS.items() if "cooperative-sticky" in kind.assignors]
MIXABLE = [name for name, kind in MEMBERS.items() if {"range", "roundrobin"} <= set(kind.assignors)]
_numbers = itertools.count(1)


# ---- what runs at once --------------------------------------------------------------------------------------------


def grow_and_shrink(broker, client: str) -> None:
    group = Group(broker, f"grow-{client}", 6)
    group.produce(20)
    first = group.join(client)
    for _ in range(3):
        group.await_shared()
        group.produce(10)
        group.read_all()
        if len(group.members) < 3:
            group.join(client)
    assert group.committed() == dict.fromkeys(range(6), group.produced)
    for member in list(group.members):
        if member is not first:
            group.leave(member)
    group.await_shared()
    group.produce(10)
    group.read_all()
    # All are gone: the next one goes on where they were.
    group.leave(first)
    group.produce(10)
    group.join(client)
    group.read_all()
    assert len(group.members[0].records) == 60
    group.close()


def mix(broker, strategy: str) -> None:
    """Clients of four makers in one group; each of them is the first, who assigns, once among the two strategies."""
    group = Group(broker, f"mixed-{strategy}", 8)
    clients = MIXABLE if strategy == "range" else list(reversed(MIXABLE))
    for client in clients:
        group.join(client, strategy=strategy)
    group.await_shared()
    group.produce(10)
    group.read_all()
    # The leader goes, and another one's assignor takes over.
    while len(group.members) > 1:
        group.leave(group.members[0])
        group.await_shared()
        group.produce(5)
        group.read_all()
    group.close()


def cooperate(broker, client: str) -> None:
    """Nobody gives up what it keeps (KIP-429)."""
    group = Group(broker, f"cooperative-{client}", 6)
    first = group.join(client, strategy="cooperative-sticky")
    group.await_shared()
    group.produce(10)
    group.read_all()
    second = group.join(client, strategy="cooperative-sticky")
    group.await_shared()
    assert first.revoked == [second.assignment] and second.revoked == []
    group.produce(10)
    group.read_all()
    kept = set(first.assignment)
    group.leave(second)
    group.await_shared()
    assert kept <= first.assignment and len(first.revoked) == 1
    group.produce(10)
    group.read_all()
    group.close()


def restart_static(broker, client: str) -> None:
    """A static member comes back within its session: nobody else notices (KIP-345)."""
    group = Group(broker, f"static-{client}", 4)
    stays = group.join(client, instance_id="stays")
    goes = group.join(client, instance_id="goes")
    group.await_shared()
    group.produce(10)
    group.read_all()
    before, share = stays.refresh().rebalances, set(goes.assignment)
    group.leave(goes)
    group.produce(10)
    back = group.join(client, instance_id="goes")
    group.await_shared()
    group.read_all()
    assert back.assignment == share
    assert stays.refresh().rebalances == before
    group.close()
    # Static members do not leave when they close.
    with broker.connect() as connection:
        described = protocol.DESCRIBE_GROUPS.ask(connection, 5, groups=[group.name]).groups[0]
        assert (described.state, {one.instance_id for one in described.members}) == ("Stable", {"stays", "goes"})


def die(broker) -> None:
    """A process that is killed says no word: its partitions are free when its session is over."""
    group = Group(broker, "dying", 4)
    command = ["kcat", "-b", broker.bootstrap, "-q", "-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=300"]
    command += ["-X", "enable.auto.commit=false", "-X", "auto.offset.reset=earliest", "-G", group.name, group.topic]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        survivor = group.join("java", strategy="range", session_ms=6_000)
        await_until(lambda: len(survivor.refresh().assignment) == 2, "the partitions are shared", WAIT_S)
    finally:
        child.kill()
        child.wait()
    group.await_shared()
    group.produce(10)
    group.read_all()
    group.close()


def reset(broker, client: str, where: str) -> None:
    group = Group(broker, f"reset-{where}-{client}", 1)
    group.produce(5)
    member = group.join(client, reset=where)
    if where == "none":
        failure = await_until(lambda: member.refresh().failure, "the member says that it has no offset", WAIT_S)
        assert "offset" in failure.lower()
        return
    if where == "earliest":
        group.read_all()
    else:
        # When it has found the end is not to be seen from here: records go on coming until one arrives.
        await_until(lambda: group.produce(1) or member.refresh().records, "new records arrive", WAIT_S, every_s=0.2)
        assert member.records[0][1] >= 5
    group.close()


def recreate(broker, client: str) -> None:
    """A topic is deleted and created again while a member reads it."""
    group = Group(broker, f"recreated-{client}", 2)
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
    # Where a client goes on that was at offset 5 is its own matter; that it does is what counts.
    group.produced = 0
    await_until(lambda: group.produce(4) or len(member.refresh().records) > read, "the member reads the new topic", WAIT_S, every_s=0.3)
    member.commit()
    assert max(group.committed().values()) <= group.produced
    group.close()


class Committer:
    """Commits rising offsets for many groups over one connection, until the connection ends."""

    def __init__(self, broker, topic: str, groups: list[str]) -> None:
        self.acknowledged = dict.fromkeys(groups, -1)
        self.sent = dict.fromkeys(groups, -1)
        self.refused: list[str] = []
        self._connection, self._topic = broker.connect(timeout=30), topic
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for offset in itertools.count():
                for group in self.acknowledged:
                    rows = [{"index": 0, "offset": offset, "metadata": ""}]
                    self.sent[group] = offset
                    topics = [{"name": self._topic, "partitions": rows}]
                    answer = protocol.OFFSET_COMMIT.ask(self._connection, 9, group=group, topics=topics)
                    error = answer.topics[0].partitions[0].error
                    if error:
                        self.refused.append(wire.error_name(error))
                    else:
                        self.acknowledged[group] = offset
        except (wire.ConnectionClosed, OSError):
            pass

    def end(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._connection.close()


def survive(broker, ending: str) -> None:
    """What was acknowledged is there when the broker starts again, and members go on."""
    broker.start()
    names = [f"kept-{n}" for n in range(20)]
    broker.create_topic("kept")
    coordinator_is_ready(broker, *names)
    group = Group(broker, "surviving", 4)
    for client in ("confluent", "java"):
        group.join(client, strategy="range", session_ms=60_000)
    group.await_shared()
    group.produce(10)
    group.read_all()
    steady, halfway, fresh = by_hand = [Member(broker, f"by-hand-{n}") for n in range(3)]
    for member, pending in [(member, member.start_join()) for member in by_hand]:
        assert member.take_join(pending) == "NONE"
    for member in (steady, halfway):
        assert member.sync({member.member_id: b"all"}) == ("NONE", b"all")
    # The broker ends between these two's JoinGroup and SyncGroup: of a second generation, and of a first one.
    assert halfway.take_join(halfway.send_join()) == "NONE"

    commits = Committer(broker, "kept", names)
    await_until(lambda: min(commits.acknowledged.values()) >= 20, "offsets are committed")
    getattr(broker, ending)()
    commits.end()
    broker.start()
    coordinator_is_ready(broker, *names, group.name, *(member.group for member in by_hand))
    # A broker that stops may refuse; what it acknowledged is there, and nothing that was never sent.
    with broker.connect() as connection:
        answers = protocol.OFFSET_FETCH.ask(connection, 8, groups=[{"group": name, "topics": None} for name in names]).groups
        for one in answers:
            offset = one.topics[0].partitions[0].offset
            assert commits.acknowledged[one.group] <= offset <= commits.sent[one.group], (one.group, commits.refused)
    # A member goes on as if nothing had been. (Some clients rejoin when they lost sight of their topic.)
    for member in by_hand:
        member.connection = broker.connect()
    assert steady.heartbeat() == "NONE"
    assert steady.sync() == ("NONE", b"all")
    assert steady.commit("kept", 5) == "NONE"
    # A generation without an assignment never was.
    assert halfway.heartbeat() == "ILLEGAL_GENERATION"
    assert halfway.commit("kept", 5) == "ILLEGAL_GENERATION"
    assert halfway.take_join(halfway.send_join()) == "NONE"
    assert halfway.sync({halfway.member_id: b"new"}) == ("NONE", b"new")
    assert fresh.heartbeat() == fresh.commit("kept", 5) == "UNKNOWN_MEMBER_ID"
    assert fresh.take_join(fresh.send_join()) == "UNKNOWN_MEMBER_ID"
    assert group.committed() == dict.fromkeys(range(4), 10)
    group.produce(10)
    # Who rejoins after it has read and before it has committed reads again: of what was not committed before the restart.
    await_until(lambda: group.healthy() or len(set(group.read())) == 4 * 20, "the members read on", WAIT_S)
    counts = collections.Counter(group.read())
    assert all(counts[index, offset] == 1 for index in range(4) for offset in range(10))
    group.close()
    broker.stop()


SCENARIOS = {
    **{("grow", client): (grow_and_shrink, client) for client in MEMBERS},
    **{("mix", strategy): (mix, strategy) for strategy in ("range", "roundrobin")},
    **{("cooperate", client): (cooperate, client) for client in COOPERATIVE},
    **{("static", client): (restart_static, client) for client in STATIC},
    ("die",): (die,),
    **{
        ("reset", client, where): (reset, client, where)
        for client in MEMBERS
        for where in ("earliest", "latest", "none")
        if where != "none" or client not in ("kafkajs", "sarama")  # which always have somewhere to start
    },
    **{("recreate", client): (recreate, client) for client in ("confluent", "java")},
}


@pytest.fixture(scope="module")
def outcome(broker, new_broker):
    """outcome(key): waits for a scenario; what failed there fails here."""
    coordinator_is_ready(broker, "warm-up")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = {("survive", ending): pool.submit(survive, new_broker(), ending) for ending in ("stop", "kill")}
        running |= {key: pool.submit(scenario, broker, *arguments) for key, (scenario, *arguments) in SCENARIOS.items()}
        yield lambda *key: running[key].result(170)
        for one in running.values():
            one.cancel()


@pytest.fixture(scope="module", autouse=True)
def _end_members():
    """What a failed test left running."""
    yield
    end_members()


@pytest.mark.parametrize("client", MEMBERS)
def test_every_record_is_read_once_by_one_two_three_members_and_after_a_restart(outcome, client):
    outcome("grow", client)


@pytest.mark.parametrize("strategy", ["range", "roundrobin"])
def test_clients_of_different_makers_share_a_group(outcome, strategy):
    outcome("mix", strategy)


@pytest.mark.parametrize("client", COOPERATIVE)
def test_a_cooperative_rebalance_takes_only_what_moves(outcome, client):
    outcome("cooperate", client)


@pytest.mark.parametrize("client", STATIC)
def test_a_static_member_restarts_without_a_rebalance(outcome, client):
    outcome("static", client)


def test_the_partitions_of_a_killed_member_go_to_the_others(outcome):
    outcome("die")


@pytest.mark.parametrize(("client", "where"), [key[1:] for key in SCENARIOS if key[0] == "reset"])
def test_a_group_without_offsets_starts_where_its_members_say(outcome, client, where):
    outcome("reset", client, where)


@pytest.mark.parametrize("client", ["confluent", "java"])
def test_a_member_finds_its_topic_made_anew(outcome, client):
    outcome("recreate", client)


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_groups_and_acknowledged_commits_survive_the_broker(outcome, ending):
    outcome("survive", ending)


# ---- committed offsets --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shelf(broker) -> str:
    """A topic of three partitions, for offsets of groups that never had a member."""
    broker.create_topic("shelf", 3)
    coordinator_is_ready(broker, "warm-up")
    return "shelf"


@pytest.fixture
def group_id() -> str:
    return f"group-{next(_numbers)}"


@pytest.fixture
def java(broker):
    return lambda operation, **request: ALL["java"].group_admin(broker.bootstrap, operation, **request)


@pytest.fixture(scope="module")
def admin(broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


def committer(broker, group: str) -> confluent_kafka.Consumer:
    return confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "enable.auto.commit": False})


def test_an_offset_keeps_its_text(broker, shelf, group_id, java):
    """Written by one client, read by the others."""
    text = "größer ☃ " + "x" * 4000
    consumer = committer(broker, group_id)
    consumer.commit(offsets=[TopicPartition(shelf, 0, 7, metadata=text), TopicPartition(shelf, 2, 9)], asynchronous=False)
    found = consumer.committed([TopicPartition(shelf, index) for index in range(3)], timeout=10)
    assert [(one.offset, one.metadata) for one in found] == [(7, text), (confluent_kafka.OFFSET_INVALID, None), (9, None)]
    consumer.close()
    # librdkafka sends the text with the zero that ends it in C.
    assert java("list-offsets", group=group_id) == {f"{shelf}-0": [7, text + "\0", -1], f"{shelf}-2": [9, "", -1]}
    java("alter-offsets", group=group_id, topic=shelf, offsets={"1": 8}, metadata=text)
    reader = kafka.KafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=group_id, enable_auto_commit=False)
    one = reader.committed(kafka.TopicPartition(shelf, 1), metadata=True)
    reader.close()
    assert (one.offset, one.metadata) == (8, text)


def test_a_text_that_is_too_long_is_refused(broker, shelf, group_id):
    consumer = committer(broker, group_id)
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        consumer.commit(offsets=[TopicPartition(shelf, 0, 7, metadata="x" * 4097)], asynchronous=False)
    assert refused.value.args[0].name() == "OFFSET_METADATA_TOO_LARGE"
    consumer.close()


def test_offsets_of_unknown_topics_are_not_kept(broker, shelf, group_id, java):
    consumer = committer(broker, group_id)
    for topic, partition in [("no-such-topic", 0), (shelf, 3)]:
        with pytest.raises(confluent_kafka.KafkaException) as refused:
            consumer.commit(offsets=[TopicPartition(topic, partition, 7)], asynchronous=False)
        assert refused.value.args[0].name() == "UNKNOWN_TOPIC_OR_PART"
        (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=10)
        assert (found.offset, found.error) == (confluent_kafka.OFFSET_INVALID, None)
    consumer.close()
    with pytest.raises(ClientError) as refused:
        java("alter-offsets", group=group_id, topic="no-such-topic", offsets={"0": 8})
    assert refused.value.kind == "UnknownTopicOrPartitionException"
    assert java("list-offsets", group=group_id) == {}


# ---- administration -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def living(broker) -> Group:
    """A group with two members of two clients, one of them static."""
    coordinator_is_ready(broker, "warm-up")
    group = Group(broker, "living", 4)
    group.join("confluent", strategy="range", instance_id="named")
    group.join("java", strategy="range")
    group.await_shared()
    group.produce(5)
    group.read_all()
    yield group
    group.close()


@pytest.fixture
def resting(broker, shelf, group_id, java) -> str:
    """A group with offsets and without members."""
    java("alter-offsets", group=group_id, topic=shelf, offsets={"0": 5, "1": 6})
    return group_id


def test_java_lists_groups_by_state(java, living, resting):
    everything = java("list")
    assert everything[living.name] == {"state": "Stable", "type": "Classic", "protocol": "consumer"}
    assert everything[resting] == {"state": "Empty", "type": "Classic", "protocol": ""}
    for states, has_living, has_resting in [(["Stable"], True, False), (["Empty"], False, True), (["Stable", "Empty"], True, True)]:
        found = java("list", states=states)
        assert (living.name in found, resting in found) == (has_living, has_resting), states


def test_librdkafka_lists_groups_by_state(admin, living, resting):
    for states, has_living, has_resting in [
        ({ConsumerGroupState.STABLE}, True, False),
        ({ConsumerGroupState.EMPTY}, False, True),
        (set(), True, True),
    ]:
        found = admin.list_consumer_groups(states=states).result(WAIT_S)
        assert found.errors == []
        names = {one.group_id for one in found.valid}
        assert (living.name in names, resting in names) == (has_living, has_resting), states


def test_java_describes_groups(broker, java, living, resting):
    found = java("describe", group=living.name)
    assert (found["state"], found["type"], found["assignor"]) == ("Stable", "Classic", "range")
    assert found["coordinator"] == broker.bootstrap
    assert found["operations"] == ["ALTER_CONFIGS", "DELETE", "DESCRIBE", "DESCRIBE_CONFIGS", "READ"]
    members = {one["client_id"]: one for one in found["members"]}
    assert members.keys() == {"confluent", "java"}
    assert members["confluent"]["instance_id"] == "named" and members["java"]["instance_id"] == ""
    assert {one["host"] for one in found["members"]} == {"/127.0.0.1"}
    by_client = dict(zip(("confluent", "java"), living.members))
    assert all(set(members[name]["partitions"]) == by_client[name].refresh().assignment for name in members)
    found = java("describe", group=resting)
    assert (found["state"], found["members"]) == ("Empty", [])
    with pytest.raises(ClientError) as refused:
        java("describe", group="no-such-group")
    assert refused.value.kind == "GroupIdNotFoundException"


def test_librdkafka_describes_groups(broker, admin, living, resting):
    found = admin.describe_consumer_groups([living.name, resting, "no-such-group"])
    one = found[living.name].result(WAIT_S)
    assert (one.state, one.partition_assignor, one.is_simple_consumer_group) == (ConsumerGroupState.STABLE, "range", False)
    assert (one.coordinator.host, one.coordinator.port) == broker.address
    assert sorted(p.partition for member in one.members for p in member.assignment.topic_partitions) == [0, 1, 2, 3]
    assert {(member.client_id, member.group_instance_id) for member in one.members} == {("confluent", "named"), ("java", None)}
    assert found[resting].result(WAIT_S).state == ConsumerGroupState.EMPTY
    assert found["no-such-group"].result(WAIT_S).state == ConsumerGroupState.DEAD


def test_librdkafka_lists_and_alters_offsets(admin, shelf, living, resting):
    def offsets():
        (future,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(resting)]).values()
        return {one.partition: one.offset for one in future.result(WAIT_S).topic_partitions}

    def alter(group: str, offset: int):
        (future,) = admin.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, [TopicPartition(shelf, 0, offset)])]
        ).values()
        return future.result(WAIT_S).topic_partitions[0]

    assert offsets() == {0: 5, 1: 6}
    assert alter(resting, 3).error is None
    assert offsets() == {0: 3, 1: 6}
    # Nobody moves the positions of members at work.
    assert alter(living.name, 0).error.name() == "UNKNOWN_MEMBER_ID"


def test_java_lists_alters_and_deletes_offsets(java, shelf, living, resting):
    assert java("list-offsets", group=resting) == {f"{shelf}-0": [5, "", -1], f"{shelf}-1": [6, "", -1]}
    java("alter-offsets", group=resting, topic=shelf, offsets={"0": 1, "2": 2})
    java("delete-offsets", group=resting, topic=shelf, partitions=[1])
    assert java("list-offsets", group=resting) == {f"{shelf}-0": [1, "", -1], f"{shelf}-2": [2, "", -1]}
    for operation, request, expected in [
        ("alter-offsets", {"group": living.name, "topic": living.topic, "offsets": {"0": 1}}, "UnknownMemberIdException"),
        ("delete-offsets", {"group": living.name, "topic": living.topic, "partitions": [0]}, "GroupSubscribedToTopicException"),
        ("delete-offsets", {"group": resting, "topic": "no-such-topic", "partitions": [0]}, "UnknownTopicOrPartitionException"),
        ("delete-offsets", {"group": "no-such-group", "topic": shelf, "partitions": [0]}, "GroupIdNotFoundException"),
    ]:
        with pytest.raises(ClientError) as refused:
            java(operation, **request)
        assert refused.value.kind == expected, (operation, request)


def test_groups_are_deleted_when_nobody_is_in_them(java, admin, living, resting, shelf):
    java("delete", group=resting)
    assert resting not in java("list")
    assert java("list-offsets", group=resting) == {}
    java("alter-offsets", group=resting, topic=shelf, offsets={"0": 5})
    admin.delete_consumer_groups([resting])[resting].result(WAIT_S)
    assert resting not in java("list")
    for group, by_java, by_librdkafka in [
        (living.name, "GroupNotEmptyException", "NON_EMPTY_GROUP"),
        ("no-such-group", "GroupIdNotFoundException", "GROUP_ID_NOT_FOUND"),
    ]:
        with pytest.raises(ClientError) as refused:
            java("delete", group=group)
        assert refused.value.kind == by_java
        with pytest.raises(confluent_kafka.KafkaException) as refused:
            admin.delete_consumer_groups([group])[group].result(WAIT_S)
        assert refused.value.args[0].name() == by_librdkafka


def test_a_static_member_is_removed_by_its_name(broker, java):
    group = Group(broker, "removed", 2)
    member = group.join("java", instance_id="named")
    group.await_shared()
    group.leave(member)
    assert java("describe", group=group.name)["state"] == "Stable"
    java("remove-member", group=group.name, instance="named")
    assert java("describe", group=group.name)["state"] == "Empty"
