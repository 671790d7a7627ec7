"""A topic with numbered records, and a group of members of any clients that reads it."""

import contextlib
import itertools

from . import groups as protocol
from . import wire
from .broker import Broker, await_until
from .members import MEMBERS, GroupMember

WAIT_S = 30
_numbers = itertools.count(1)
_made: list["Group"] = []


class Group:
    """A topic with numbered records and a group that reads it. Every record is to be read exactly once."""

    def __init__(self, broker: Broker, name: str, partitions: int, **options) -> None:
        """`options` are what all members join with."""
        self.options = options
        self.broker, self.name = broker, f"{name}-{next(_numbers)}"
        self.topic, self.partitions = "of-" + self.name, partitions
        self.members: list[GroupMember] = []
        self.gone: list[GroupMember] = []
        self.produced = 0
        _made.append(self)
        broker.create_topic(self.topic, partitions)

    def produce(self, each: int) -> None:
        """`each` more records in every partition."""
        with self.broker.connect() as connection:
            values = [b"%d" % n for n in range(self.produced, self.produced + each)]
            batches = {(self.topic, index): wire.Batch(values=values).encode() for index in range(self.partitions)}
            assert all(result.error == 0 for result in wire.produce(connection, batches).values())
        self.produced += each

    def join(self, client: str, *, topic: str | None = None, **options) -> GroupMember:
        member = MEMBERS[client](self.broker.bootstrap, self.name, topic or self.topic, **{**self.options, **options})
        self.members.append(member)
        return member

    def leave(self, member: GroupMember) -> None:
        self.members.remove(member)
        self.gone.append(member)
        member.close()

    def healthy(self) -> None:
        """Brings the members up to date, and none has failed."""
        failures = [(type(member).__name__, member.failure) for member in self.members if member.refresh().failure]
        assert failures == []

    def read(self) -> list[tuple[int, int]]:
        """Partition and offset of each record that any member read."""
        return [(index, offset) for member in self.members + self.gone for index, offset, _ in member.records]

    def state(self) -> list:
        return [(type(member).__name__, sorted(member.assignment), member.rebalances, member.failure) for member in self.members]

    def await_shared(self) -> None:
        """Each member has its share, and every partition one owner."""

        def is_shared():
            self.healthy()
            shares = [member.refresh().assignment for member in self.members]
            fair = all(len(share) in (self.partitions // len(shares), -(-self.partitions // len(shares))) for share in shares)
            return fair and sorted(index for share in shares for index in share) == list(range(self.partitions))

        try:
            await_until(is_shared, "the partitions are shared", WAIT_S)
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.state()}") from None

    def read_all(self) -> None:
        """Everything produced so far is read, once, in order; and committed."""
        expected = [(index, offset) for index in range(self.partitions) for offset in range(self.produced)]

        def is_read():
            self.healthy()
            return len(self.read()) >= len(expected)

        try:
            await_until(is_read, "all records are read", WAIT_S)
        except AssertionError:
            pass  # the comparison tells what is missing
        found = sorted(self.read())
        assert found == expected, f"missing {sorted(set(expected) - set(found))[:9]}, {self.read_again()}; {self.state()}"
        for member in self.members:
            for index in member.assignment:
                read = [(offset, value) for at, offset, value in member.records if at == index]
                assert read == sorted(read) and all(value == b"%d" % offset for offset, value in read)
            member.commit()

    def read_again(self) -> str:
        """What was read more than once: partition, offset and member, the first reading first."""
        everybody = self.members + self.gone
        reads = sorted((at, index, offset, number) for number, member in enumerate(everybody) for (_, at), (index, offset, _) in zip(member.reads, member.records))
        readers: dict[tuple[int, int], list[int]] = {}
        for _, index, offset, number in reads:
            readers.setdefault((index, offset), []).append(number)
        again = [f"{index}-{offset} by members {who}" for (index, offset), who in readers.items() if len(who) > 1]
        return f"{len(again)} again: {again[:9]}"

    def committed(self) -> dict[int, int]:
        with self.broker.connect() as connection:
            found = protocol.OFFSET_FETCH.ask(connection, 8, groups=[{"group": self.name, "topics": None}]).groups[0]
        return {one.index: one.offset for topic in found.topics for one in topic.partitions}

    def close(self) -> None:
        for member in list(self.members):
            self.leave(member)


def end_members() -> None:
    """Ends what a failed test left running."""
    for group in _made:
        for member in group.members:
            with contextlib.suppress(Exception):
                member.close()
