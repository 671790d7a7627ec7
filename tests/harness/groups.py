"""Requests of consumer groups in all their versions, and members that speak them by hand."""

from types import SimpleNamespace

from . import wire
from .broker import Broker, await_until
from .schema import Api, Field, Pending
from .wire import Connection, Reader, Writer, error_name

F = Field

THROTTLE_1 = F("throttle_time_ms", "i32", since=1)

FIND_COORDINATOR = Api(
    10,
    flexible=3,
    request=[F("key", "string", until=3), F("key_type", "i8", since=1), F("keys", ("array", "string"), since=4, default=())],
    response=[
        THROTTLE_1,
        F("error", "i16", until=3),
        F("message", "nullable", since=1, until=3),
        F("node_id", "i32", until=3),
        F("host", "string", until=3),
        F("port", "i32", until=3),
        F(
            "coordinators",
            [F("key", "string"), F("node_id", "i32"), F("host", "string"), F("port", "i32"), F("error", "i16"), F("message", "nullable")],
            since=4,
        ),
    ],
)

JOIN = Api(
    11,
    flexible=6,
    request=[
        F("group", "string"),
        F("session_timeout_ms", "i32", default=300_000),
        F("rebalance_timeout_ms", "i32", since=1, default=60_000),
        F("member_id", "string"),
        F("instance_id", "nullable", since=5),
        F("protocol_type", "string", default="consumer"),
        F("protocols", [F("name", "string"), F("metadata", "bytes")]),
        F("reason", "nullable", since=8),
    ],
    response=[
        F("throttle_time_ms", "i32", since=2),
        F("error", "i16"),
        F("generation", "i32"),
        F("protocol_type", "nullable", since=7),
        F("protocol", "nullable"),
        F("leader", "string"),
        F("skip_assignment", "bool", since=9),
        F("member_id", "string"),
        F("members", [F("member_id", "string"), F("instance_id", "nullable", since=5), F("metadata", "bytes")]),
    ],
)

SYNC = Api(
    14,
    flexible=4,
    request=[
        F("group", "string"),
        F("generation", "i32"),
        F("member_id", "string"),
        F("instance_id", "nullable", since=3),
        F("protocol_type", "nullable", since=5),
        F("protocol", "nullable", since=5),
        F("assignments", [F("member_id", "string"), F("assignment", "bytes")], default=()),
    ],
    response=[
        THROTTLE_1,
        F("error", "i16"),
        F("protocol_type", "nullable", since=5),
        F("protocol", "nullable", since=5),
        F("assignment", "bytes"),
    ],
)

HEARTBEAT = Api(
    12,
    flexible=4,
    request=[F("group", "string"), F("generation", "i32"), F("member_id", "string"), F("instance_id", "nullable", since=3)],
    response=[THROTTLE_1, F("error", "i16")],
)

LEAVE = Api(
    13,
    flexible=4,
    request=[
        F("group", "string"),
        F("member_id", "string", until=2),
        F("members", [F("member_id", "string"), F("instance_id", "nullable"), F("reason", "nullable", since=5)], since=3, default=()),
    ],
    response=[
        THROTTLE_1,
        F("error", "i16"),
        F("members", [F("member_id", "string"), F("instance_id", "nullable"), F("error", "i16")], since=3),
    ],
)

OFFSET_COMMIT = Api(
    8,
    flexible=8,
    request=[
        F("group", "string"),
        F("generation", "i32", default=-1),
        F("member_id", "string"),
        F("instance_id", "nullable", since=7),
        F("retention_time_ms", "i64", since=2, until=4, default=-1),
        F(
            "topics",
            [
                F("name", "string", until=9),
                F("topic_id", "uuid", since=10),
                F(
                    "partitions",
                    [F("index", "i32"), F("offset", "i64"), F("leader_epoch", "i32", since=6, default=-1), F("metadata", "nullable")],
                ),
            ],
        ),
    ],
    response=[
        F("throttle_time_ms", "i32", since=3),
        F(
            "topics",
            [
                F("name", "string", until=9),
                F("topic_id", "uuid", since=10),
                F("partitions", [F("index", "i32"), F("error", "i16")]),
            ],
        ),
    ],
)

_FETCHED = [
    F("index", "i32"),
    F("offset", "i64"),
    F("leader_epoch", "i32", since=5),
    F("metadata", "nullable"),
    F("error", "i16"),
]
OFFSET_FETCH = Api(
    9,
    flexible=6,
    request=[
        F("group", "string", until=7),
        F("topics", [F("name", "string"), F("partitions", ("array", "i32"))], until=7),
        F(
            "groups",
            [
                F("group", "string"),
                F("member_id", "nullable", since=9),
                F("member_epoch", "i32", since=9, default=-1),
                F(
                    "topics",
                    [F("name", "string", until=9), F("topic_id", "uuid", since=10), F("partitions", ("array", "i32"))],
                ),
            ],
            since=8,
        ),
        F("require_stable", "bool", since=7),
    ],
    response=[
        F("throttle_time_ms", "i32", since=3),
        F("topics", [F("name", "string"), F("partitions", _FETCHED)], until=7),
        F("error", "i16", since=2, until=7),
        F(
            "groups",
            [
                F("group", "string"),
                F("topics", [F("name", "string", until=9), F("topic_id", "uuid", since=10), F("partitions", _FETCHED)]),
                F("error", "i16"),
            ],
            since=8,
        ),
    ],
)

DESCRIBE_GROUPS = Api(
    15,
    flexible=5,
    request=[F("groups", ("array", "string")), F("include_authorized_operations", "bool", since=3)],
    response=[
        THROTTLE_1,
        F(
            "groups",
            [
                F("error", "i16"),
                F("message", "nullable", since=6),
                F("group", "string"),
                F("state", "string"),
                F("protocol_type", "string"),
                F("protocol", "string"),
                F(
                    "members",
                    [
                        F("member_id", "string"),
                        F("instance_id", "nullable", since=4),
                        F("client_id", "string"),
                        F("client_host", "string"),
                        F("metadata", "bytes"),
                        F("assignment", "bytes"),
                    ],
                ),
                F("authorized_operations", "i32", since=3),
            ],
        ),
    ],
)

LIST_GROUPS = Api(
    16,
    flexible=3,
    request=[F("states", ("array", "string"), since=4, default=()), F("types", ("array", "string"), since=5, default=())],
    response=[
        THROTTLE_1,
        F("error", "i16"),
        F("groups", [F("group", "string"), F("protocol_type", "string"), F("state", "string", since=4), F("type", "string", since=5)]),
    ],
)

DELETE_GROUPS = Api(
    42,
    flexible=2,
    request=[F("groups", ("array", "string"))],
    response=[F("throttle_time_ms", "i32"), F("results", [F("group", "string"), F("error", "i16")])],
)

OFFSET_DELETE = Api(
    47,
    flexible=wire.NEVER_FLEXIBLE,
    request=[F("group", "string"), F("topics", [F("name", "string"), F("partitions", [F("index", "i32")])])],
    response=[
        F("error", "i16"),
        F("throttle_time_ms", "i32"),
        F("topics", [F("name", "string"), F("partitions", [F("index", "i32"), F("error", "i16")])]),
    ],
)

ALL = [
    FIND_COORDINATOR,
    JOIN,
    SYNC,
    HEARTBEAT,
    LEAVE,
    OFFSET_COMMIT,
    OFFSET_FETCH,
    DESCRIBE_GROUPS,
    LIST_GROUPS,
    DELETE_GROUPS,
    OFFSET_DELETE,
]
wire.FIRST_FLEXIBLE.update({api.key: api.flexible for api in ALL})

OFFSETS_TOPIC = "__consumer_offsets"


def subscription(topics: list[str], user_data: bytes | None = None) -> bytes:
    """ConsumerProtocolSubscription, version 0."""
    body = Writer().i16(0).i32(len(topics))
    for topic in topics:
        body.string(topic)
    return bytes(body.bytes(user_data).data)


def assignment(partitions: dict[str, list[int]]) -> bytes:
    """ConsumerProtocolAssignment, version 0."""
    body = Writer().i16(0).i32(len(partitions))
    for topic, indexes in partitions.items():
        body.string(topic).i32(len(indexes))
        for index in indexes:
            body.i32(index)
    return bytes(body.bytes(None).data)


def parse_assignment(data: bytes) -> dict[str, list[int]]:
    reader = Reader(data)
    reader.i16()
    return dict(reader.array(lambda: (reader.string(), reader.array(reader.i32))))


def coordinator_is_ready(broker: Broker, *groups: str) -> None:
    """Waits until the coordinators of these groups are found and have loaded."""
    with broker.connect() as connection:

        def ready():
            found = FIND_COORDINATOR.ask(connection, 4, keys=list(groups)).coordinators
            if any(one.error for one in found):
                return False
            answers = OFFSET_FETCH.ask(connection, 8, groups=[{"group": group, "topics": None} for group in groups]).groups
            return all(one.error == 0 for one in answers)

        await_until(ready, f"the coordinators of {groups} are ready")


class Member:
    """A member of a group, step by step. Each call is one request; `error` fields are names."""

    def __init__(self, broker: Broker, group: str, *, version: int = 9, instance_id: str | None = None, protocols=None, **join) -> None:
        self.connection = broker.connect(timeout=20)
        self.group, self.version, self.instance_id = group, version, instance_id
        self.protocols = protocols or {"range": subscription(["topic-of-" + group])}
        self.join_options = join
        self.member_id = ""
        self.generation = -1
        self.joined: SimpleNamespace | None = None

    def close(self) -> None:
        """Gone without a word, as a process that is killed."""
        self.connection.close()

    def send_join(self, **changes) -> Pending:
        fields = {
            "group": self.group,
            "member_id": self.member_id,
            "protocols": [{"name": name, "metadata": metadata} for name, metadata in self.protocols.items()],
            **({"instance_id": self.instance_id} if self.version >= 5 else {}),
            **self.join_options,
            **changes,
        }
        return JOIN.send(self.connection, self.version, **fields)

    def take_join(self, pending: Pending) -> str:
        """The error of a JoinGroup's answer; on success this member is of the generation that it tells."""
        answer = pending.result()
        if error_name(answer.error) in ("NONE", "MEMBER_ID_REQUIRED"):
            self.member_id = answer.member_id
        if answer.error == 0:
            self.generation, self.joined = answer.generation, answer
        return error_name(answer.error)

    def start_join(self) -> Pending:
        """A JoinGroup under way that the group knows of: with an id, where the version asks for one."""
        if not self.member_id and self.version >= 4 and self.instance_id is None:
            assert self.take_join(self.send_join()) == "MEMBER_ID_REQUIRED"
        return self.send_join()

    def join(self) -> "Member":
        error = self.take_join(self.start_join())
        assert error == "NONE", error
        return self

    @property
    def leads(self) -> bool:
        return self.joined.leader == self.member_id

    def send_sync(self, assignments: dict[str, bytes] | None = None, **changes) -> Pending:
        version = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 3, 6: 4}.get(self.version, 5)
        fields = {
            "group": self.group,
            "generation": self.generation,
            "member_id": self.member_id,
            **({"instance_id": self.instance_id} if version >= 3 else {}),
            **({"protocol_type": "consumer", "protocol": self.joined.protocol if self.joined else None} if version >= 5 else {}),
            "assignments": [{"member_id": member_id, "assignment": data} for member_id, data in (assignments or {}).items()],
            **changes,
        }
        return SYNC.send(self.connection, version, **fields)

    def sync(self, assignments: dict[str, bytes] | None = None, **changes) -> tuple[str, bytes]:
        answer = self.send_sync(assignments, **changes).result()
        return error_name(answer.error), answer.assignment

    def heartbeat(self, version: int = 4, **changes) -> str:
        fields = {"group": self.group, "generation": self.generation, "member_id": self.member_id, **changes}
        if version >= 3:
            fields.setdefault("instance_id", self.instance_id)
        return error_name(HEARTBEAT.ask(self.connection, version, **fields).error)

    def commit(self, topic: str, offset: int, version: int = 9, partition: int = 0, metadata: str | None = "", **changes) -> str:
        rows = [{"index": partition, "offset": offset, "metadata": metadata}]
        fields = {
            "group": self.group,
            "generation": self.generation,
            "member_id": self.member_id,
            "topics": [{"name": topic, "partitions": rows}],
            **({"instance_id": self.instance_id} if version >= 7 else {}),
            **changes,
        }
        return error_name(OFFSET_COMMIT.ask(self.connection, version, **fields).topics[0].partitions[0].error)

    def leave(self) -> str:
        leaving = [{"member_id": self.member_id, "instance_id": self.instance_id}]
        answer = LEAVE.ask(self.connection, 4, group=self.group, members=leaving)
        return error_name(answer.error or answer.members[0].error)


def settle(members: list[Member]) -> None:
    """All are of one new generation, and the leader gives each its own id as assignment.

    Those that are members already rejoin after the others are there, as they would when a heartbeat tells them to.
    """
    newcomers = [member for member in members if member.generation < 0]
    present = [member for member in members if member.generation >= 0]
    joins = []
    with wire.Connection(members[0].connection.socket.getpeername()) as connection:
        for count, member in enumerate(newcomers, start=len(present) + 1):
            joins.append((member, member.start_join()))
            describe = lambda: DESCRIBE_GROUPS.ask(connection, 5, groups=[member.group]).groups[0]  # noqa: E731
            await_until(lambda: len(describe().members) == count, "the group knows of the new member")
    joins += [(member, member.start_join()) for member in present]
    for member, pending in joins:
        error = member.take_join(pending)
        assert error == "NONE", error
    assert len({member.generation for member in members}) == 1, [member.generation for member in members]
    leader = next(member for member in members if member.leads)
    given = {member.member_id: member.member_id.encode() for member in members}
    syncs = [(member, member.send_sync(given if member is leader else None)) for member in members]
    for member, pending in syncs:
        answer = pending.result()
        assert (error_name(answer.error), answer.assignment) == ("NONE", member.member_id.encode())
