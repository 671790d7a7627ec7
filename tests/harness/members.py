"""Members of consumer groups of every client that has them, each reading on by itself in the background.

A member keeps all that it read and commits when it is told to (kafkajs: each batch, before it tells of it). The tests change
groups only while everything that was read is committed, so that every record is read exactly once although groups rebalance.
"""

import asyncio
import base64
import concurrent.futures
import itertools
import logging
import queue
import threading
import time

import aiokafka
import aiokafka.coordinator.assignors.range
import aiokafka.coordinator.assignors.roundrobin
import confluent_kafka
import kafka
import kafka.coordinator.assignors.cooperative_sticky
import kafka.coordinator.assignors.range
import kafka.coordinator.assignors.roundrobin

from .clients import ALL

_numbers = itertools.count(1)
_QUIET = logging.getLogger("quiet")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False

POLL_S = 0.05
HEARTBEAT_MS = 300


def _now_ms() -> int:
    return int(time.time() * 1000)


class GroupMember:
    """`strategy` is the assignor's name in the protocol, None for the client's own choice.

    What follows is understood by members that can be of the consumer protocol (`protocols`): `pattern` makes the topic a
    pattern that the broker resolves, `commit_on_revoke` commits before partitions are given up.
    """

    protocols: tuple[str, ...] = ("classic",)
    assignors: tuple[str | None, ...] = (None,)
    can_be_static = True

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topic: str,
        *,
        strategy: str | None = None,
        instance_id: str | None = None,
        reset: str = "earliest",
        session_ms: int = 20_000,
        protocol: str = "classic",
        pattern: bool = False,
        commit_on_revoke: bool = False,
    ) -> None:
        assert protocol in self.protocols
        self.protocol, self.pattern, self.commit_on_revoke = protocol, pattern, commit_on_revoke
        self.bootstrap, self.group, self.topic = bootstrap, group, topic
        self.strategy, self.instance_id, self.reset, self.session_ms = strategy, instance_id, reset, session_ms
        # All that was read, as (partition, offset, value), in order.
        self.records: list[tuple[int, int, bytes]] = []
        # Of each of them the topic, and when it was read, in wall-clock milliseconds.
        self.reads: list[tuple[str, int]] = []
        # [topic, partition, from, until]: when a partition was this member's; until is -1 as long as it is.
        self.spans: list[list] = []
        self.assignment: set[int] = set()
        # What was taken away, one set a time.
        self.revoked: list[set[int]] = []
        self.rebalances = 0
        self.failure: str | None = None
        self.start()

    def start(self) -> None:
        raise NotImplementedError

    @property
    def owned(self) -> set[tuple[str, int]]:
        return {(topic, index) for topic, index, _, until in self.spans if until < 0}

    def refresh(self) -> "GroupMember":
        """Brings the fields up to date, where they do not follow by themselves."""
        return self

    def commit(self) -> None:
        """Commits all that was read, and waits for it."""
        raise NotImplementedError

    def close(self) -> None:
        """Leaves the group, unless it is a static member."""
        raise NotImplementedError


class _Thread(GroupMember):
    """A consumer of a Python client in a thread of its own."""

    def start(self) -> None:
        self._commits: queue.Queue[concurrent.futures.Future] = queue.Queue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._guard, daemon=True)
        self._thread.start()

    def _guard(self) -> None:
        try:
            self._run()
        except Exception as failure:
            self.failure = f"{type(failure).__name__}: {failure}"
            while not self._commits.empty():
                self._commits.get().set_exception(failure)

    def _run(self) -> None:
        raise NotImplementedError

    def commit(self) -> None:
        done = concurrent.futures.Future()
        self._commits.put(done)
        done.result(20)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), f"{type(self).__name__} does not end"

    def _serve_commits(self, commit) -> None:
        while not self._commits.empty():
            done = self._commits.get()
            try:
                commit()
                done.set_result(None)
            except Exception as refused:
                done.set_exception(refused)

    def _assigned(self, partitions) -> None:
        self.rebalances += 1
        self.assignment = self.assignment | {one.partition for one in partitions}
        self.spans += [[one.topic, one.partition, _now_ms(), -1] for one in partitions]

    def _revoked(self, partitions) -> None:
        if partitions:
            taken = {one.partition for one in partitions}
            self.revoked.append(taken)
            self.assignment = self.assignment - taken
            gone = {(one.topic, one.partition) for one in partitions}
            for span in self.spans:
                if span[3] < 0 and (span[0], span[1]) in gone:
                    span[3] = _now_ms()


class ConfluentMember(_Thread):
    protocols = ("classic", "consumer")
    assignors = (None, "range", "roundrobin", "cooperative-sticky")

    def _run(self) -> None:
        classic = {
            "session.timeout.ms": self.session_ms,
            "heartbeat.interval.ms": HEARTBEAT_MS,
            **({"partition.assignment.strategy": self.strategy} if self.strategy else {}),
        }
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": self.group,
                "group.protocol": self.protocol,
                "client.id": "confluent",
                "enable.auto.commit": False,
                "auto.offset.reset": "error" if self.reset == "none" else self.reset,
                "topic.metadata.refresh.interval.ms": 1000,
                "fetch.wait.max.ms": 100,
                "reconnect.backoff.max.ms": 200,
                **(classic if self.protocol == "classic" else {"group.remote.assignor": self.strategy} if self.strategy else {}),
                **({"group.instance.id": self.instance_id} if self.instance_id else {}),
            },
            logger=_QUIET,
        )

        def commit():
            try:
                consumer.commit(asynchronous=False)
            except confluent_kafka.KafkaException as failure:
                if failure.args[0].code() != confluent_kafka.KafkaError._NO_OFFSET:
                    raise

        def revoked(_, taken):
            if self.commit_on_revoke:
                try:
                    commit()
                except confluent_kafka.KafkaException as failure:
                    # An exception would not come out of here.
                    self.failure = f"commit before giving up: {failure}"
            self._revoked(taken)

        consumer.subscribe(
            ["^" + self.topic if self.pattern else self.topic],
            on_assign=lambda _, given: self._assigned(given),
            on_revoke=revoked,
            on_lost=lambda _, taken: self._revoked(taken),
        )

        try:
            while not self._stopping.is_set():
                message = consumer.poll(POLL_S)
                if message is not None and message.error():
                    error = message.error()
                    if error.code() != confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART and not error.retriable():
                        raise confluent_kafka.KafkaException(error)
                elif message is not None:
                    self.reads.append((message.topic(), _now_ms()))
                    self.records.append((message.partition(), message.offset(), message.value()))
                self._serve_commits(commit)
        finally:
            consumer.close()


class KafkaPythonMember(_Thread):
    assignors = (None, "range", "roundrobin", "cooperative-sticky")
    _CLASSES = {
        "range": kafka.coordinator.assignors.range.RangePartitionAssignor,
        "roundrobin": kafka.coordinator.assignors.roundrobin.RoundRobinPartitionAssignor,
        "cooperative-sticky": kafka.coordinator.assignors.cooperative_sticky.CooperativeStickyAssignor,
    }

    def _run(self) -> None:
        member = self

        class Listener(kafka.ConsumerRebalanceListener):
            def on_partitions_assigned(self, assigned):
                member._assigned(assigned)

            def on_partitions_revoked(self, revoked):
                member._revoked(revoked)

        consumer = kafka.KafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=self.group,
            client_id="kafka-python",
            enable_auto_commit=False,
            auto_offset_reset=self.reset,
            session_timeout_ms=self.session_ms,
            heartbeat_interval_ms=HEARTBEAT_MS,
            metadata_max_age_ms=1000,
            fetch_max_wait_ms=100,
            **({"partition_assignment_strategy": (self._CLASSES[self.strategy],)} if self.strategy else {}),
            **({"group_instance_id": self.instance_id} if self.instance_id else {}),
        )
        consumer.subscribe([self.topic], listener=Listener())
        try:
            while not self._stopping.is_set():
                for messages in consumer.poll(int(POLL_S * 1000)).values():
                    self.records += [(message.partition, message.offset, message.value) for message in messages]
                self._serve_commits(consumer.commit)
        finally:
            consumer.close()


class AioKafkaMember(_Thread):
    assignors = (None, "range", "roundrobin")
    _CLASSES = {
        "range": aiokafka.coordinator.assignors.range.RangePartitionAssignor,
        "roundrobin": aiokafka.coordinator.assignors.roundrobin.RoundRobinPartitionAssignor,
    }

    def _run(self) -> None:
        asyncio.run(self._consume())

    async def _consume(self) -> None:
        member = self

        class Listener(aiokafka.ConsumerRebalanceListener):
            async def on_partitions_assigned(self, assigned):
                member._assigned(assigned)

            async def on_partitions_revoked(self, revoked):
                member._revoked(revoked)

        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=self.group,
            client_id="aiokafka",
            enable_auto_commit=False,
            auto_offset_reset=self.reset,
            session_timeout_ms=self.session_ms,
            heartbeat_interval_ms=HEARTBEAT_MS,
            rebalance_timeout_ms=20_000,
            metadata_max_age_ms=1000,
            fetch_max_wait_ms=100,
            **({"partition_assignment_strategy": (self._CLASSES[self.strategy],)} if self.strategy else {}),
            **({"group_instance_id": self.instance_id} if self.instance_id else {}),
        )
        consumer.subscribe([self.topic], listener=Listener())
        await consumer.start()
        try:
            while not self._stopping.is_set():
                for messages in (await consumer.getmany(timeout_ms=int(POLL_S * 1000))).values():
                    self.records += [(message.partition, message.offset, message.value) for message in messages]
                while not self._commits.empty():
                    done = self._commits.get()
                    try:
                        await consumer.commit()
                        done.set_result(None)
                    except Exception as refused:
                        done.set_exception(refused)
        finally:
            await consumer.stop()


class _InDriver(GroupMember):
    """A member in a child process that the harness drives."""

    client: str

    def start(self) -> None:
        self._name = f"{self.group}-{next(_numbers)}"
        self._ask("member-start", topic=self.topic, **self._options())

    def _ask(self, verb: str, **request):
        return ALL[self.client].driver.ask(verb, name=self._name, bootstrap=self.bootstrap, **request)

    def _options(self) -> dict:
        raise NotImplementedError

    def refresh(self) -> GroupMember:
        return self._take(self._ask("member-status", seen=len(self.records)))

    def _take(self, status: dict) -> GroupMember:
        self.reads += [(more[0], more[1]) for _, _, _, *more in status["records"] if more]
        self.records += [(partition, offset, base64.b64decode(value)) for partition, offset, value, *_ in status["records"]]
        self.spans = status.get("spans", [])
        self.assignment = set(status["assignment"])
        self.revoked = [set(taken) for taken in status["revoked"]]
        self.rebalances, self.failure = status["rebalances"], status["failure"]
        return self

    def close(self) -> None:
        status = self._ask("member-stop", seen=len(self.records))
        assert status["stopped"]
        self._take(status)


class JavaMember(_InDriver):
    client = "java"
    protocols = ("classic", "consumer")
    assignors = (None, "range", "roundrobin", "cooperative-sticky")
    _CLASSES = {"range": "RangeAssignor", "roundrobin": "RoundRobinAssignor", "cooperative-sticky": "CooperativeStickyAssignor"}

    def _options(self) -> dict:
        config = {
            "group.id": self.group,
            "group.protocol": self.protocol,
            "client.id": "java",
            "enable.auto.commit": "false",
            "auto.offset.reset": self.reset,
            "allow.auto.create.topics": "false",
            "request.timeout.ms": "30000",
            "metadata.max.age.ms": "1000",
            "fetch.max.wait.ms": "100",
            "reconnect.backoff.max.ms": "200",
        }
        if self.protocol == "classic":
            config |= {"session.timeout.ms": self.session_ms, "heartbeat.interval.ms": HEARTBEAT_MS}
            if self.strategy:
                config["partition.assignment.strategy"] = "org.apache.kafka.clients.consumer." + self._CLASSES[self.strategy]
        elif self.strategy:
            config["group.remote.assignor"] = self.strategy
        if self.instance_id:
            config["group.instance.id"] = self.instance_id
        return {
            "config": {name: str(value) for name, value in config.items()},
            "pattern": self.pattern,
            "commit_on_revoke": self.commit_on_revoke,
        }

    def commit(self) -> None:
        self._ask("member-commit")


class KafkaJsMember(_InDriver):
    client = "kafkajs"
    # It has no notion of group.instance.id.
    can_be_static = False

    def _options(self) -> dict:
        return {"group": self.group, "reset": self.reset, "session_ms": self.session_ms}

    def commit(self) -> None:
        """Nothing to do: what it tells of is committed."""


class _GoMember(_InDriver):
    def _ask(self, verb: str, **request):
        return ALL[self.client].ask(verb, self.bootstrap, name=self._name, **request)

    def _options(self) -> dict:
        return {
            "group": self.group,
            "reset": self.reset,
            "session_ms": self.session_ms,
            "strategy": self.strategy or "",
            "instance_id": self.instance_id or "",
            "protocol": self.protocol,
            "commit_on_revoke": self.commit_on_revoke,
        }

    def commit(self) -> None:
        self._ask("member-commit")


class FranzGoMember(_GoMember):
    client = "franz-go"
    protocols = ("classic", "consumer")
    assignors = (None, "range", "roundrobin", "cooperative-sticky")


class SaramaMember(_GoMember):
    client = "sarama"
    assignors = (None, "range", "roundrobin")


MEMBERS: dict[str, type[GroupMember]] = {
    "confluent": ConfluentMember,
    "java": JavaMember,
    "kafka-python": KafkaPythonMember,
    "aiokafka": AioKafkaMember,
    "kafkajs": KafkaJsMember,
    "franz-go": FranzGoMember,
    "sarama": SaramaMember,
}
