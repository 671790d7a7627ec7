"""Members of classic groups, step by step, in a script."""

from harness.broker import await_until
from harness.groups import subscription

from ..script import Pending, Script


def state_of(script: Script, group: str) -> str:
    return script.quietly("DescribeGroups", 5, groups=[group])["groups"][0]["groupState"]


def describe(script: Script, *groups: str, version: int | None = None) -> dict:
    return script.ask("DescribeGroups", version, groups=list(groups))


def commit_rows(*rows: tuple[int, int] | tuple[int, int, str | None], topic: str, topic_id: bytes = bytes(16)) -> list[dict]:
    """Topics of an OffsetCommit: (partition, offset) or (partition, offset, text)."""
    partitions = [
        {"partitionIndex": row[0], "committedOffset": row[1], "committedMetadata": row[2] if len(row) > 2 else ""} for row in rows
    ]
    return [{"name": topic, "topicId": topic_id, "partitions": partitions}]


def fetch_offsets(script: Script, group: str, topics: list | None, version: int | None = None, **fields) -> dict:
    """OffsetFetch in any version. Topics are (name, partitions) or (name, id, partitions), or None for all."""
    version = script.latest("OffsetFetch") if version is None else version
    if topics is not None:
        topics = [{"name": row[0], "topicId": row[1] if len(row) > 2 else bytes(16), "partitionIndexes": list(row[-1])} for row in topics]
    if version < 8:
        rows = None if topics is None else [{key: value for key, value in row.items() if key != "topicId"} for row in topics]
        return script.ask("OffsetFetch", version, groupId=group, topics=rows, **fields)
    stable = {"requireStable": fields.pop("requireStable")} if "requireStable" in fields else {}
    return script.ask("OffsetFetch", version, groups=[{"groupId": group, "topics": topics, **fields}], **stable)


class Classic:
    """A member of a classic group on a connection of its own. Each call is a step of the script."""

    def __init__(
        self,
        script: Script,
        group: str,
        name: str = "a",
        *,
        version: int | None = None,
        instance: str | None = None,
        protocols: dict[str, bytes] | None = None,
        **joining,
    ) -> None:
        self.script, self.group, self.name, self.instance = script, group, name, instance
        self.version = script.latest("JoinGroup") if version is None else version
        self.protocols = protocols if protocols is not None else {"range": subscription(["of-" + group])}
        self.joining = joining
        self.member_id, self.generation, self.protocol = "", -1, None
        self.leads = False

    def send_join(self, **changes) -> Pending:
        fields = {
            "groupId": self.group,
            "memberId": self.member_id,
            "groupInstanceId": self.instance,
            "protocolType": "consumer",
            "sessionTimeoutMs": 300_000,
            "rebalanceTimeoutMs": 60_000,
            "protocols": [{"name": name, "metadata": metadata} for name, metadata in self.protocols.items()],
            **self.joining,
            **changes,
        }
        return self.script.send("JoinGroup", self.version, on=self.name, **fields)

    def take_join(self, pending: Pending) -> dict:
        answer = pending.result()
        if answer["errorCode"] in (0, 79):
            self.member_id = answer["memberId"]
        if answer["errorCode"] == 0:
            self.generation, self.protocol = answer["generationId"], answer["protocolName"]
            self.leads = answer["leader"] == answer["memberId"]
        return answer

    def start_join(self, **changes) -> Pending:
        """A JoinGroup that the group knows of: with a member id, where it asks for one."""
        if not self.member_id and self.instance is None and self.version >= 4:
            self.take_join(self.send_join(**changes))
        return self.send_join(**changes)

    def join(self, **changes) -> "Classic":
        self.take_join(self.start_join(**changes))
        return self

    def send_sync(self, given: dict[str, bytes] | None = None, version: int | None = None, **changes) -> Pending:
        fields = {
            "groupId": self.group,
            "generationId": self.generation,
            "memberId": self.member_id,
            "groupInstanceId": self.instance,
            "protocolType": "consumer",
            "protocolName": self.protocol,
            "assignments": [{"memberId": member, "assignment": data} for member, data in (given or {}).items()],
            **changes,
        }
        return self.script.send("SyncGroup", version, on=self.name, **fields)

    def sync(self, given: dict[str, bytes] | None = None, version: int | None = None, **changes) -> dict:
        return self.send_sync(given, version, **changes).result()

    def settle(self) -> "Classic":
        """Alone in its group: joined and synced."""
        self.join()
        self.sync({self.member_id: b"all"})
        return self

    def beat(self, version: int | None = None, **changes) -> dict:
        fields = {"groupId": self.group, "generationId": self.generation, "memberId": self.member_id, "groupInstanceId": self.instance}
        return self.script.ask("Heartbeat", version, on=self.name, **{**fields, **changes})

    def commit(self, topic: str, offset: int = 5, version: int = 9, **changes) -> dict:
        fields = {
            "groupId": self.group,
            "generationIdOrMemberEpoch": self.generation,
            "memberId": self.member_id,
            "groupInstanceId": self.instance,
            "topics": commit_rows((0, offset), topic=topic),
            **changes,
        }
        return self.script.ask("OffsetCommit", version, on=self.name, **fields)

    def leave(self, version: int | None = None, **changes) -> dict:
        fields = {
            "groupId": self.group,
            "memberId": self.member_id,
            "members": [{"memberId": self.member_id, "groupInstanceId": self.instance}],
            **changes,
        }
        return self.script.ask("LeaveGroup", version, on=self.name, **fields)

    def await_state(self, state: str) -> None:
        await_until(lambda: state_of(self.script, self.group) == state, f"{self.group} is {state}")

    def await_members(self, count: int) -> None:
        def has() -> bool:
            return len(self.script.quietly("DescribeGroups", 5, groups=[self.group])["groups"][0]["members"]) == count

        await_until(has, f"{self.group} has {count} members")


def rebalance(*members: Classic, sync: bool = True) -> None:
    """All join; those that are members already do so once the group knows of the new ones. The leader gives each its name."""
    if all(member.generation < 0 for member in members):
        # Nobody waits for more members: the first one is alone at first.
        members[0].join()
    newcomers = [member for member in members if member.generation < 0]
    present = [member for member in members if member.generation >= 0]
    joins = []
    for count, member in enumerate(newcomers, start=len(present) + 1):
        joins.append((member, member.start_join()))
        member.await_members(count)
    for member in present:
        joins.append((member, member.start_join()))
    for member, pending in joins:
        member.take_join(pending)
    if not sync:
        return
    given = {member.member_id: member.name.encode() for member in members}
    syncs = [(member, member.send_sync(given if member.leads else None)) for member in sorted(members, key=lambda one: not one.leads)]
    for _, pending in syncs:
        pending.result()
