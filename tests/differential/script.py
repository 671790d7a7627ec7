"""A script that is run on a broker, and the transcript of what it asked and was answered.

What differs from run to run without meaning anything stands in a transcript as a symbol: generated ids in the order of their
appearance, leader epochs by their distance from the first one seen, times of now, ports, folders, texts for people.
"""

import itertools
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from harness import wire
from harness.broker import Broker, await_until
from harness.groups import coordinator_is_ready
from harness.messages import Api
from harness.wire import Connection, ConnectionClosed, error_name

# Ids that brokers make, by the names of their fields.
GENERATED = {
    "memberId": "member",
    "leader": "member",
    "topicId": "topic-id",
    "producerId": "producer",
    "sessionId": "session",
    "clusterId": "cluster",
    "logDir": "folder",
    "directoryId": "directory",
    "voterDirectoryId": "directory",
    "replicaDirectoryId": "directory",
}
NOTHING = ("", None, bytes(16), -1, 0)
LEADER_EPOCHS = ("leaderEpoch", "currentLeaderEpoch", "committedLeaderEpoch", "partitionLeaderEpoch", "lastFetchedEpoch", "epochOfLeader")
COMMITTED_WITH = "generationIdOrMemberEpoch"
MEMBER_EPOCHS = ("memberEpoch", "groupEpoch", "assignmentEpoch", COMMITTED_WITH)
TEXTS = ("errorMessage", "batchIndexErrorMessage", "documentation")
# 2020; scripts that choose timestamps choose earlier ones.
NOW_MS = 1_577_836_800_000

_barriers = itertools.count(1)

Step = tuple[str, object]


def _shard(group: str) -> int:
    """The partition of __consumer_offsets that is a group's: Java's hash of its name, without the sign."""
    value = 0
    for char in group:
        value = (31 * value + ord(char)) & 0xFFFFFFFF
    return (value & 0x7FFFFFFF) % 50


@dataclass
class Pending:
    """A request under way; `result` waits for the answer and puts it into the transcript."""

    script: "Script"
    api: Api
    version: int
    connection: Connection
    label: str
    correlation_id: int
    keep: Callable | None = None

    def result(self) -> dict:
        try:
            answer = self.api.receive(self.connection, self.version, self.correlation_id)
        except ConnectionClosed:
            self.script.tell(self.label, "connection closed")
            return {}
        kept = self.keep(answer) if self.keep else answer
        self.script.tell(self.label, kept)
        return answer


@dataclass
class Script:
    """One run of a scenario on one broker."""

    broker: Broker
    name: str
    # What both brokers serve: request name -> lowest and highest version.
    served: dict[str, tuple[int, int]]
    transcript: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        self._symbols: dict[tuple[str, object], str] = {}
        self._counts: dict[str, int] = {}
        self._base_epoch: int | None = None
        # Epoch of the first member of each consumer group when it had joined: brokers count them differently.
        self._member_bases: dict[str, int] = {}
        self._member_base: int | None = None
        # Groups whose coordinators are known to know a topic.
        self._coordinated: set[tuple[str, str]] = set()

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    # ---- names -------------------------------------------------------------------------------------------------

    def unique(self, suffix: str) -> str:
        """A name of a topic or a group that belongs to this scenario."""
        return f"{re.sub(r'[^a-zA-Z0-9-]+', '-', self.name)[:100]}-{suffix}"

    def mine(self, name: object) -> bool:
        return isinstance(name, str) and name.startswith(self.unique(""))

    def versions(self, api: str) -> range:
        lowest, highest = self.served[api]
        return range(lowest, highest + 1)

    def latest(self, api: str) -> int:
        return self.served[api][1]

    # ---- asking ------------------------------------------------------------------------------------------------

    def connection(self, name: str = "main") -> Connection:
        if name not in self._connections:
            self._connections[name] = self.broker.connect(timeout=20)
        return self._connections[name]

    def drop(self, name: str = "main") -> None:
        """Closes a connection without a word."""
        self._connections.pop(name).close()

    def send(self, api: str, version: int | None = None, *, on: str = "main", keep: Callable | None = None, **fields) -> Pending:
        """Sends a request. Without a version the newest one of both brokers. `keep` makes of the answer what is to be compared."""
        kind, version = Api(api), self.latest(api) if version is None else version
        told = json.dumps(self.normal(fields), sort_keys=True, default=str)
        label = f"{api} v{version} {told if len(told) < 2000 else told[:2000] + '...'}"
        connection = self.connection(on)
        return Pending(self, kind, version, connection, label, kind.send(connection, version, fields), keep)

    def ask(self, api: str, version: int | None = None, **options) -> dict:
        """Sends a request and waits for its answer; both become a step of the transcript."""
        answer = self.send(api, version, **options).result()
        if not answer:
            self.drop(options.get("on", "main"))
        return answer

    def quietly(self, api: str, version: int | None = None, *, on: str = "main", **fields) -> dict:
        """Asks without a step in the transcript."""
        return Api(api).ask(self.connection(on), self.latest(api) if version is None else version, fields)

    def tell(self, label: str, value: object) -> None:
        """A step that the scenario tells itself."""
        self.transcript.append((label, self.normal(value)))

    # ---- what scenarios start from -----------------------------------------------------------------------------

    def topic(self, suffix: str = "t", partitions: int = 1, **config: object) -> str:
        """A topic of this scenario that is led. `config` keys have underscores for dots."""
        name = self.unique(suffix)
        self.broker.create_topic(name, partitions, **config)
        self.know_topic(name)
        return name

    def know_topic(self, name: str) -> bytes:
        """Makes the topic's id and its leader epoch known to the transcript; returns the id."""
        found = wire.metadata(self.connection(), [name])[name]
        self._name_topic({"name": name, "topicId": found.topic_id})
        if self._base_epoch is None and found.partitions:
            self._base_epoch = found.partitions[0][2]
        return found.topic_id

    def await_topic(self, name: str, partitions: int) -> None:
        """Waits until Metadata tells this many partitions of the topic, each led: Kafka answers earlier. 0: it is gone."""

        def told() -> bool:
            found = wire.metadata(self.connection(), [name])[name]
            return len([index for index, (error, *_) in found.partitions.items() if error == 0]) == partitions

        await_until(told, f"{name} has {partitions} partitions")

    def topic_id(self, name: str) -> bytes:
        return self.know_topic(name)

    def leader_epoch(self, name: str, partition: int = 0) -> int:
        return wire.metadata(self.connection(), [name])[name].partitions[partition][2]

    def group(self, suffix: str = "g") -> str:
        """A group of this scenario whose coordinator is ready."""
        name = self.unique(suffix)
        coordinator_is_ready(self.broker, name)
        return name

    def await_coordinator(self, group: str, topics: list[str]) -> None:
        """Waits until the group's coordinator knows these topics, those of them that there are: Kafka's shards follow the metadata
        each by itself, after its brokers have answered. Asked is a group of the same shard, which is gone afterwards."""
        asked = [topic for topic in topics if topic and (group, topic) not in self._coordinated]
        there = [topic for topic in asked if wire.metadata(self.connection(), [topic])[topic].error == 0]
        self._coordinated.update((group, topic) for topic in asked)
        if not there:
            return
        shard = _shard(group)
        probe = next(name for name in (f"{group}-probe-{n}" for n in itertools.count()) if _shard(name) == shard)
        member = {"groupId": probe, "memberId": "AAAAAAAAAAAAAAAAAAAAAw", "topicPartitions": []}

        def given() -> bool:
            joining = {"memberEpoch": 0, "subscribedTopicNames": there, "rebalanceTimeoutMs": 60_000}
            answer = self.quietly("ConsumerGroupHeartbeat", 1, **member, **joining)
            assignment = answer["assignment"]
            return answer["errorCode"] == 0 and assignment is not None and len(assignment["topicPartitions"]) == len(there)

        await_until(given, f"the coordinator of {group} knows {there}")
        self.quietly("ConsumerGroupHeartbeat", 1, **member, memberEpoch=-1)
        self.quietly("DeleteGroups", 2, groupsNames=[probe])

    def count_member_epochs(self, group: str, joined: int) -> None:
        """From now on member epochs stand in the transcript by their distance from the one that the first member of the group
        joined with."""
        self._member_base = self._member_bases.setdefault(group, joined)

    def barrier(self) -> None:
        """Waits until what was changed in the metadata is known everywhere: Kafka answers earlier."""
        name = f"{self.unique('barrier')}-{next(_barriers)}"
        self.broker.create_topic(name)

    def produce(self, topic: str, values: list[bytes], partition: int = 0, timestamps: list[int] | None = None) -> None:
        """Appends a batch, not in the transcript."""
        batch = wire.Batch(values=values, timestamps=timestamps).encode()
        answer = wire.produce(self.connection(), {(topic, partition): batch})
        assert answer[topic, partition].error == 0, answer

    # ---- normal form -------------------------------------------------------------------------------------------

    def know(self, name: str, value: object) -> None:
        """Gives a generated value its symbol."""
        self._normal(value, name)

    def normal(self, value: object) -> object:
        """What it is in a transcript."""
        return self._normal(value, "")

    def _name_topic(self, value: dict) -> None:
        """An id that stands beside its topic's name has its symbol from there."""
        name, topic_id = value.get("name"), value.get("topicId")
        if not name or topic_id in NOTHING or ("topic-id", topic_id) in self._symbols:
            return
        count = sum(1 for symbol in self._symbols.values() if symbol.startswith(f"<id of {name}"))
        self._symbols["topic-id", topic_id] = f"<id of {name}{' anew' * count}>"

    def _symbol(self, name: str, value: object) -> object:
        kind = GENERATED[name]
        if value in NOTHING:
            return value
        known = self._symbols.get((kind, value))
        if known is None:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            known = self._symbols[kind, value] = f"<{kind} {self._counts[kind]}>"
        return known

    def _normal(self, value: object, name: str) -> object:
        if isinstance(value, dict):
            self._name_topic(value)
            of_classic = value.get("groupId") not in self._member_bases
            return {key: self._normal(one, "generation" if key == COMMITTED_WITH and of_classic else key) for key, one in value.items()}
        if isinstance(value, (list, tuple, range)):
            if name == "batches":
                return [self._normal(one, "") for one in value]
            parts = [self._normal(one, name) for one in value]
            return sorted(parts, key=lambda one: json.dumps(one, sort_keys=True, default=str))
        if name in ("errorCode", "partitionErrorCode"):
            return error_name(value)
        if name in TEXTS:
            return "<text>" if value else value
        if name == "records":
            return None if value is None else self._batches(value)
        if name in GENERATED and isinstance(value, (str, bytes, int)):
            return self._symbol(name, value)
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            if name in LEADER_EPOCHS and value >= 0 and self._base_epoch is not None:
                return f"<epoch {value - self._base_epoch:+d}>"
            if name in MEMBER_EPOCHS and 0 < value < 1_000_000 and self._member_base is not None:
                return f"<member epoch {value - self._member_base:+d}>"
            if name == "port" and value == self.broker.port:
                return "<port>"
            if value > NOW_MS and re.search("timestamp|Ms$|Time", name, re.IGNORECASE):
                return "<now>"
            return value
        if isinstance(value, bytes):
            return value.decode("latin-1")
        return value

    def _batches(self, data: bytes) -> object:
        try:
            return [self._batch(one) for one in wire.parse_batches(data)]
        except (IndexError, struct.error, ValueError):
            return "records that are not what their header says"

    def _batch(self, batch: wire.StoredBatch) -> dict:
        told = {
            "offsets": f"{batch.base_offset}..{batch.last_offset}",
            "partitionLeaderEpoch": batch.leader_epoch,
            "attributes": batch.attributes,
            "baseTimestamp": batch.base_timestamp,
            "maxTimestamp": batch.max_timestamp,
            "producerId": batch.producer_id,
            "producerEpoch": batch.producer_epoch,
            "baseSequence": batch.base_sequence,
            "crcIsRight": batch.crc_is_right,
            "values": b" ".join(one or b"-" for one in batch.values),
        }
        return self._normal(told, "")


# ---- the scenarios ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    name: str
    play: Callable[[Script], None]
    restarts: bool = False


SCENARIOS: dict[str, Scenario] = {}


def scenario(*parameters: object, restarts: bool = False):
    """Makes a function a scenario: play(script), or one scenario for each parameter: play(script, parameter).
    `restarts`: the brokers, which all scenarios share."""

    def register(play: Callable) -> Callable:
        name = play.__name__
        if not parameters:
            _register(Scenario(name, play, restarts))
        for parameter in parameters:
            label = str(parameter[0] if isinstance(parameter, tuple) else parameter)[:40]
            _register(Scenario(f"{name}[{label}]", lambda script, parameter=parameter: play(script, parameter), restarts))
        return play

    return register


def _register(one: Scenario) -> None:
    assert one.name not in SCENARIOS, f"two scenarios are called {one.name}"
    SCENARIOS[one.name] = one
