"""Unmodified clients over changes of the topic that they use: what they report, and what they read in the end."""

import confluent_kafka

from harness import wire
from harness.broker import await_until
from harness.groups import coordinator_is_ready
from harness.members import MEMBERS, GroupMember

from ..script import Script, scenario

WAIT_S = 40


class Sender:
    """A producer of librdkafka that lives as long as the scenario."""

    def __init__(self, script: Script, **config) -> None:
        base = {"bootstrap.servers": script.broker.bootstrap, "topic.metadata.refresh.interval.ms": 300, "retry.backoff.ms": 50}
        self.producer = confluent_kafka.Producer({**base, "reconnect.backoff.max.ms": 200, "delivery.timeout.ms": 20_000, **config})

    def send(self, topic: str, *values: bytes) -> list[str]:
        """What became of each record."""
        outcomes: list[str] = []

        def delivered(error, message) -> None:
            outcomes.append(error.name() if error else f"{message.value().decode()} at {message.partition()}:{message.offset()}")

        for value in values:
            self.producer.produce(topic, value, partition=0, on_delivery=delivered)
        self.producer.flush(WAIT_S)
        return outcomes


def recreate(script: Script, topic: str) -> None:
    """Deletes the topic and creates it again, unless a client that asks for it is faster."""
    old_id = script.topic_id(topic)
    script.quietly("DeleteTopics", topics=[{"name": None, "topicId": old_id}], timeoutMs=15_000)

    def is_new() -> bool:
        row = {"name": topic, "numPartitions": 1, "replicationFactor": 1}
        script.quietly("CreateTopics", topics=[row], timeoutMs=15_000)
        found = wire.metadata(script.connection(), [topic])[topic]
        return found.topic_id not in (old_id, bytes(16)) and wire.list_offset(script.connection(), topic, 0, wire.LATEST).error == 0

    await_until(is_new, f"{topic} is another topic")


def read_in_the_end(member: GroupMember, values: set[bytes]) -> list[str]:
    """Waits until the member has read at least these, and tells what it has read."""

    def has_read() -> bool:
        member.refresh()
        assert member.failure is None, member.failure
        return values <= {value for *_, value in member.records}

    await_until(has_read, f"{values} are read", WAIT_S)
    return [f"{value.decode()} at {index}:{offset}" for index, offset, value in member.records]


@scenario("confluent-classic", "confluent-consumer", "java-classic", "java-consumer")
def a_topic_is_deleted_and_created_again_under_clients(script: Script, kind: str) -> None:
    """The new topic is shorter than the old one was: who goes on where it was finds nothing there."""
    client, protocol = kind.split("-")
    topic, group = script.topic(), script.unique("g")
    coordinator_is_ready(script.broker, group)
    sender = Sender(script)
    member = MEMBERS[client](script.broker.bootstrap, group, topic, protocol=protocol, session_ms=10_000)
    try:
        script.tell("sent", sender.send(topic, b"a", b"b", b"c", b"d", b"e"))
        script.tell("read", read_in_the_end(member, {b"a", b"b", b"c", b"d", b"e"}))
        member.commit()
        recreate(script, topic)
        script.tell("sent to the new topic", sender.send(topic, b"f", b"g"))
        script.tell("read of the new topic", read_in_the_end(member, {b"f", b"g"}))
        member.commit()
    finally:
        member.close()

    def committed() -> list:
        rows = script.quietly("OffsetFetch", 8, groups=[{"groupId": group, "topics": None}])["groups"][0]["topics"]
        return [(row["name"], [(part["partitionIndex"], part["committedOffset"]) for part in row["partitions"]]) for row in rows]

    script.tell("committed", committed())


@scenario(True, False)
def a_topic_is_deleted_and_created_again_under_a_producer(script: Script, idempotent: bool) -> None:
    topic = script.topic()
    sender = Sender(script, **{"enable.idempotence": idempotent})
    for turn in range(3):
        script.tell(f"sent, turn {turn}", sender.send(topic, b"a%d" % turn, b"b%d" % turn))
        recreate(script, topic)
    script.tell("sent at last", sender.send(topic, b"last"))


@scenario()
def records_deleted_under_a_consumer(script: Script) -> None:
    topic, group = script.topic(), script.unique("g")
    coordinator_is_ready(script.broker, group)
    sender = Sender(script)
    member = MEMBERS["confluent"](script.broker.bootstrap, group, topic)
    try:
        script.tell("sent", sender.send(topic, b"a", b"b", b"c"))
        script.tell("read", read_in_the_end(member, {b"a", b"b", b"c"}))
        member.commit()
        script.ask("DeleteRecords", topics=[{"name": topic, "partitions": [{"partitionIndex": 0, "offset": -1}]}], timeoutMs=5000)
        script.tell("sent after the deletion", sender.send(topic, b"d"))
        script.tell("read after the deletion", read_in_the_end(member, {b"d"}))
    finally:
        member.close()
