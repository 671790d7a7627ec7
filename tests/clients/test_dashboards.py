"""What people watch a cluster with sees lag, sizes and settings.

The exporters that most people run (kafka_exporter, Burrow, kminion) are no packages of any registry; what they ask a broker, they
ask through sarama's and franz-go's administration clients, and so is it asked here. kafkatop and kcat are run as they are.
"""

import json

import confluent_kafka
import pytest

from harness import wire
from harness.broker import await_until
from harness.clients import ALL
from harness.clients.kcat import kcat
from harness.kafkatop import kafkatop
from harness.members import ConfluentMember
from harness.records import Record

# What each shows of a group of the consumer protocol (KIP-848), at Apache Kafka too: nothing, or its offsets alone.
LIBRARIES = {"franz-go": {}, "sarama": {"shipping": ["Dead", 0]}}
TOPIC = "orders"


class Cluster:
    """A broker with one topic, a group of each protocol with a member, and a group that nobody is in any more. All are behind."""

    def __init__(self, broker) -> None:
        self.broker = broker
        broker.create_topic(TOPIC, 2, retention_ms=3_600_000)
        self.produce(0, 10)
        self.produce(1, 4)
        self.commit("abandoned", {0: 2, 1: 1})
        self.commit("billing", {0: 7, 1: 4})
        self.commit("shipping", {0: 10, 1: 3})
        self.members = [
            ConfluentMember(broker.bootstrap, "billing", TOPIC),
            ConfluentMember(broker.bootstrap, "shipping", TOPIC, protocol="consumer"),
        ]
        await_until(lambda: all(member.assignment == {0, 1} for member in self.members), "the members have both partitions")

    def produce(self, partition: int, count: int) -> None:
        ALL["confluent"].produce(self.broker.bootstrap, TOPIC, partition, [Record(b"key", b"value" * 20)] * count)

    def commit(self, group: str, offsets: dict[int, int]) -> None:
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": group, "enable.auto.commit": False})
        rows = [confluent_kafka.TopicPartition(TOPIC, partition, offset) for partition, offset in offsets.items()]
        consumer.commit(offsets=rows, asynchronous=False)
        consumer.close()

    def bytes_of(self, partition: int) -> int:
        """The size of all its batches, as they are on the wire."""
        with self.broker.connect() as connection:
            return len(wire.fetch(connection, {(TOPIC, partition): 0}).partitions[TOPIC, partition].data)


@pytest.fixture(scope="module")
def cluster(new_broker):
    made = Cluster(new_broker().start())
    yield made
    for member in made.members:
        member.close()
    made.broker.stop()


@pytest.mark.parametrize("library", LIBRARIES)
def test_exporters_see_lag_sizes_and_settings_and_follow_them(cluster, library):
    def look() -> dict:
        return ALL[library].dashboard(cluster.broker.bootstrap, TOPIC)

    def lag(shown: dict) -> dict[tuple[str, int], int]:
        return {(group, partition): behind for group, topic, partition, behind in shown["lag"] if topic == TOPIC}

    def sizes(shown: dict) -> dict[int, int]:
        return {int(partition): size for partition, size in shown["sizes"][TOPIC].items()}

    before = look()
    ends = {partition: end_offset(cluster, partition) for partition in range(2)}
    assert before["groups"] == {"billing": ["Stable", 1], "abandoned": ["Empty", 0], **LIBRARIES[library]}
    committed = {"billing": [7, 4], "abandoned": [2, 1], "shipping": [10, 3]}
    behind = {(group, index): ends[index] - committed[group][index] for group in before["groups"] for index in (0, 1)}
    assert lag(before) == behind
    assert sizes(before) == {partition: cluster.bytes_of(partition) for partition in range(2)}
    expected = {"retention.ms": "3600000", "cleanup.policy": "delete", "max.message.bytes": "1048588", "segment.bytes": "1073741824"}
    assert before["configs"].items() >= expected.items()
    cluster.produce(1, 5)
    after = look()
    assert lag(after) == {(group, partition): more + 5 * partition for (group, partition), more in behind.items()}
    assert sizes(after) == {partition: cluster.bytes_of(partition) for partition in range(2)} != sizes(before)
    cluster.commit("abandoned", {0: ends[0]})
    assert lag(look())["abandoned", 0] == 0
    cluster.commit("abandoned", {0: 2})


def end_offset(cluster, partition: int) -> int:
    with cluster.broker.connect() as connection:
        return wire.list_offset(connection, TOPIC, partition, wire.LATEST).offset


def test_kafkatop_shows_the_lag_of_groups_and_the_partitions_of_topics(cluster):
    groups = kafkatop(cluster.broker.bootstrap, "--summary-json", "--all")
    states = {"billing": "STABLE", "shipping": "STABLE", "abandoned": "EMPTY"}
    assert {group: shown["state"].rpartition(".")[2] for group, shown in groups.items()} == states
    for group, committed in (("billing", [7, 4]), ("shipping", [10, 3]), ("abandoned", [2, 1])):
        shown = groups[group]["topics"][TOPIC]
        lags = [end_offset(cluster, partition) - committed[partition] for partition in range(2)]
        assert (shown["partitions"], shown["lag_min"], shown["lag_max"]) == (2, min(lags), max(lags))
    topics = kafkatop(cluster.broker.bootstrap, "--topicinfo-parts", "--text")["topics"]
    with cluster.broker.connect() as connection:
        _, broker, _ = wire.metadata(connection, [TOPIC])[TOPIC].partitions[0]
    partitions = [{"id": index, "leader": broker, "replicas": [broker], "nisrs": 1} for index in range(2)]
    assert (topics[TOPIC]["partitions"], topics[TOPIC]["partinfo"]) == (2, partitions)


def test_kcat_lists_brokers_and_topics_as_json(cluster):
    listed = json.loads(kcat(cluster.broker.bootstrap, ["-L", "-J"]))
    (broker,) = listed["brokers"]
    assert broker["name"] == cluster.broker.bootstrap
    topics = {topic["topic"]: topic["partitions"] for topic in listed["topics"]}
    replica = [{"id": broker["id"]}]
    assert topics[TOPIC] == [{"partition": index, "leader": broker["id"], "replicas": replica, "isrs": replica} for index in range(2)]
