"""Kafka Streams applications (tests/kafka-streams): each instance a process of its own, started, killed and stopped as people's are."""

import contextlib
import functools
import logging
import signal
import subprocess
import time
from pathlib import Path

import confluent_kafka

from . import groups as protocol
from . import wire
from .broker import Broker, await_until
from .cache import TESTS, built, run

PROJECT = TESTS / "kafka-streams"
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"

# Streams' own defaults but for what would make the tests wait: offsets are committed each 30 s there, a silent member is
# missed after 45 s, repartition topics are purged each 30 s; and its caches would swallow results that the tests count.
SETTINGS = {
    "commit.interval.ms": 200,
    "repartition.purge.interval.ms": 500,
    "statestore.cache.max.bytes": 0,
    "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 300,
    "metadata.max.age.ms": 1000,
}
CLASSIC = ("session.timeout.ms", "heartbeat.interval.ms")
_instances: list["Instance"] = []
# A broker that ends before a failed test's consumers do makes librdkafka complain several times a second.
QUIET = logging.getLogger("quiet librdkafka")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


@functools.cache
def class_path() -> str:
    sources = sorted((PROJECT / "src").rglob("*.java"))
    with built("kafka-streams", [PROJECT / "pom.xml", *sources]) as (folder, complete):
        if not complete:
            run(["mvn", "-q", "-B", "-f", PROJECT / "pom.xml", COPY_JARS, "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}"])
            run(["javac", "--release", "17", "-cp", f"{folder / 'lib'}/*", "-d", folder / "classes", *sources])
        return f"{folder / 'classes'}:{folder / 'lib'}/*"


class Instance:
    """One process of an application. Its state lives in `folder`; with an old one it finds again what it had."""

    def __init__(self, job: str, name: str, broker: Broker, folder: Path, **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.output, self.log = folder / f"output-{len(_instances)}", folder / f"log-{len(_instances)}"
        java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", class_path()]
        # Sessions are the broker's matter in protocols that are not the classic one.
        ours = {key: value for key, value in SETTINGS.items() if "group.protocol" not in settings or key not in CLASSIC}
        told = {"bootstrap.servers": broker.bootstrap, "state.dir": folder / "state", **ours, **settings}
        command = [*java, "buslane.tests.Job", job, name, *(f"{key}={value}" for key, value in told.items())]
        with open(self.output, "wb") as output, open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=log)
        _instances.append(self)

    def told(self, what: str) -> list[str]:
        """What it said about `what` so far, in order."""
        lines = self.output.read_text().split("\n")[:-1]
        return [line[len(what) + 1 :] for line in lines if line.startswith(what + " ")]

    def healthy(self) -> "Instance":
        failures = self.told("failure")
        assert failures == [] and self.process.poll() is None, f"{failures}\n{self.said()}"
        return self

    @property
    def active(self) -> set[str]:
        """The tasks it has, once it is running."""
        states = self.told("state")
        if states[-1:] != ["RUNNING"]:
            return set()
        return set((self.told("active") or [""])[-1].split())

    @property
    def restored(self) -> dict[str, int]:
        """How many records of each store came out of its changelog."""
        counts: dict[str, int] = {}
        for store, count in (line.split() for line in self.told("restored")):
            counts[store] = counts.get(store, 0) + int(count)
        return counts

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM; it closes what it has open."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        assert self.told("closed") == ["in time"], self.said()

    def said(self) -> str:
        """The end of what it told and logged, for people."""
        return f"{self.output.read_text()[-500:]}\n{self.log.read_text(errors='replace')[-3000:]}"


def end_instances() -> None:
    """Ends what a failed test left running."""
    for instance in _instances:
        if instance.process.poll() is None:
            instance.kill()


def await_shared(instances: list[Instance], tasks: set[str]) -> None:
    """Each instance has its share of the tasks, and every task is with one."""

    def is_shared() -> bool:
        shares = [instance.healthy().active for instance in instances]
        fair = {len(tasks) // len(shares), -(-len(tasks) // len(shares))}
        return sorted(task for share in shares for task in share) == sorted(tasks) and {len(share) for share in shares} <= fair

    try:
        await_until(is_shared, "the tasks are shared", 60, every_s=0.05)
    except AssertionError as late:
        raise AssertionError(f"{late}: " + "\n".join(instance.said() for instance in instances)) from None


class Outcome:
    """What came into a topic so far, read on with each look: (partition, key, value) in the order of each partition."""

    def __init__(self, broker: Broker, topic: str, partitions: int) -> None:
        self.rows: list[tuple[int, str, str]] = []
        self._broker, self._topic = broker, topic
        self._read = dict.fromkeys(range(partitions), 0)
        settings = {"group.id": "unused", "enable.auto.commit": False, "enable.partition.eof": True, "fetch.wait.max.ms": 100}
        self._consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap, **settings}, logger=QUIET)
        self._consumer.assign([confluent_kafka.TopicPartition(topic, index, 0) for index in self._read])

    def read_on(self, deadline_s: float = 20) -> "Outcome":
        """Reads what is there now."""
        ends = end_offsets(self._broker, self._topic)
        end = time.monotonic() + deadline_s
        while any(self._read[index] < last for (_, index), last in ends.items()):
            assert time.monotonic() < end, f"{self._topic}: read up to {self._read} of {ends}"
            for message in self._consumer.consume(1000, 0.05):
                if message.error() is None:
                    self._read[message.partition()] = message.offset() + 1
                    self.rows.append((message.partition(), _text(message.key()), _text(message.value())))
                else:
                    # At the end, also where no record is left just before it.
                    assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                    self._read[message.partition()] = message.offset()
        return self

    def by_key(self) -> dict[str, list[str]]:
        """The values of each key, in order; a key is in one partition only."""
        values: dict[str, list[str]] = {}
        places: dict[str, set[int]] = {}
        for partition, key, value in self.rows:
            values.setdefault(key, []).append(value)
            places.setdefault(key, set()).add(partition)
        assert all(len(at) == 1 for at in places.values()), places
        return values

    def close(self) -> None:
        self._consumer.close()


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")


def end_offsets(broker: Broker, topic: str, timestamp: int = wire.LATEST) -> dict[tuple[str, int], int]:
    """The end of each partition, or where it begins (`wire.EARLIEST`)."""
    with broker.connect() as connection:
        partitions = wire.metadata(connection, [topic])[topic].partitions
        return {(topic, index): wire.list_offset(connection, topic, index, timestamp).offset for index in range(len(partitions))}


def committed(broker: Broker, group: str) -> dict[tuple[str, int], int]:
    with broker.connect() as connection:
        found = protocol.OFFSET_FETCH.ask(connection, 8, groups=[{"group": group, "topics": None}]).groups[0]
    return {(topic.name, one.index): one.offset for topic in found.topics for one in topic.partitions}


def await_done(instances: list[Instance], broker: Broker, name: str, topics: list[str]) -> None:
    """All that is in `topics` is processed, and committed."""

    def is_done() -> bool:
        for instance in instances:
            instance.healthy()
        offsets = committed(broker, name)
        ends = {at: end for topic in topics for at, end in end_offsets(broker, topic).items() if end > 0}
        return all(offsets.get(at) == end for at, end in ends.items())

    with contextlib.suppress(AssertionError):
        await_until(is_done, "all is processed and committed", 60, every_s=0.1)
        return
    told = {topic: end_offsets(broker, topic) for topic in topics}
    raise AssertionError(f"not processed within 60 s: committed {committed(broker, name)} of {told}\n{instances[-1].said()}")
