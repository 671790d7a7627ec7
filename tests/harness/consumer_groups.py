"""Requests of the consumer protocol (KIP-848), and members that speak it by hand."""

import uuid
from types import SimpleNamespace

from . import wire
from .broker import Broker
from .schema import Api, Field, Pending
from .wire import error_name

F = Field

_BY_ID = [F("topic_id", "uuid"), F("partitions", ("array", "i32"))]
_NAMED = ("struct", [F("topics", [F("topic_id", "uuid"), F("name", "string"), F("partitions", ("array", "i32"))])])

HEARTBEAT = Api(
    68,
    flexible=0,
    request=[
        F("group", "string"),
        F("member_id", "string"),
        F("epoch", "i32"),
        F("instance_id", "nullable"),
        F("rack_id", "nullable"),
        F("rebalance_timeout_ms", "i32", default=-1),
        F("topics", ("array", "string")),
        F("regex", "nullable", since=1),
        F("assignor", "nullable"),
        F("owned", _BY_ID),
    ],
    response=[
        F("throttle_time_ms", "i32"),
        F("error", "i16"),
        F("message", "nullable"),
        F("member_id", "nullable"),
        F("epoch", "i32"),
        F("interval_ms", "i32"),
        F("assignment", ("nullable", [F("topics", _BY_ID)])),
    ],
)

DESCRIBE = Api(
    69,
    flexible=0,
    request=[F("groups", ("array", "string")), F("include_authorized_operations", "bool")],
    response=[
        F("throttle_time_ms", "i32"),
        F(
            "groups",
            [
                F("error", "i16"),
                F("message", "nullable"),
                F("group", "string"),
                F("state", "string"),
                F("epoch", "i32"),
                F("assignment_epoch", "i32"),
                F("assignor", "string"),
                F(
                    "members",
                    [
                        F("member_id", "string"),
                        F("instance_id", "nullable"),
                        F("rack_id", "nullable"),
                        F("epoch", "i32"),
                        F("client_id", "string"),
                        F("client_host", "string"),
                        F("topics", ("array", "string")),
                        F("regex", "nullable"),
                        F("assignment", _NAMED),
                        F("target", _NAMED),
                        F("type", "i8", since=1),
                    ],
                ),
                F("authorized_operations", "i32"),
            ],
        ),
    ],
)

wire.FIRST_FLEXIBLE.update({api.key: api.flexible for api in (HEARTBEAT, DESCRIBE)})

LEAVE, LEAVE_FOR_A_WHILE = -1, -2

# A topic's id and a partition's index.
Held = set[tuple[bytes, int]]


def _rows(held: Held) -> list[dict]:
    by_topic: dict[bytes, list[int]] = {}
    for topic_id, index in sorted(held):
        by_topic.setdefault(topic_id, []).append(index)
    return [{"topic_id": topic_id, "partitions": indexes} for topic_id, indexes in by_topic.items()]


class ConsumerMember:
    """A member of a consumer group, step by step. Each call is one request and answers with the error's name.

    `held` is what it was told to hold, `epoch` the epoch it was told.
    """

    def __init__(
        self,
        broker: Broker,
        group: str,
        topics: list[str] | None,
        *,
        version: int = 1,
        regex: str | None = None,
        instance_id: str | None = None,
        assignor: str | None = None,
        rebalance_timeout_ms: int = 60_000,
    ) -> None:
        self.connection = broker.connect(timeout=20)
        self.group, self.version, self.instance_id = group, version, instance_id
        self.joining = {
            "topics": topics,
            "assignor": assignor,
            "rebalance_timeout_ms": rebalance_timeout_ms,
            "owned": [],
            **({"regex": regex} if version >= 1 else {}),
        }
        # From version 1 on members make their ids (KIP-1082).
        self.member_id = str(uuid.uuid4()) if version >= 1 else ""
        self.epoch = 0
        self.held: Held = set()
        self.answer: SimpleNamespace | None = None

    def close(self) -> None:
        """Gone without a word, as a process that is killed."""
        self.connection.close()

    def send(self, **changes) -> Pending:
        fields = {"group": self.group, "member_id": self.member_id, "epoch": self.epoch, "instance_id": self.instance_id, **changes}
        if isinstance(fields.get("owned"), set):
            fields["owned"] = _rows(fields["owned"])
        return HEARTBEAT.send(self.connection, self.version, **fields)

    def take(self, pending: Pending) -> str:
        self.answer = answer = pending.result()
        if answer.error == 0:
            self.member_id, self.epoch = answer.member_id, answer.epoch
            if answer.assignment is not None:
                self.held = {(topic.topic_id, index) for topic in answer.assignment.topics for index in topic.partitions}
        return error_name(answer.error)

    def beat(self, **changes) -> str:
        """A heartbeat that says nothing new."""
        return self.take(self.send(**changes))

    def join(self, **changes) -> str:
        return self.beat(**{"epoch": 0, **self.joining, **changes})

    def acknowledge(self) -> str:
        """Tells that it holds what it was told to hold, and nothing else."""
        return self.beat(owned=self.held)

    def leave(self, epoch: int = LEAVE) -> str:
        return self.beat(epoch=epoch)

    def indexes(self, topic_id: bytes | None = None) -> list[int]:
        """The partitions it holds, of this topic or of any."""
        return sorted(index for topic, index in self.held if topic_id in (None, topic))
