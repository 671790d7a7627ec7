"""Groups of the consumer protocol (KIP-848): members that are late, wrong or fenced."""

from harness.broker import await_until

from ..script import Script, scenario
from .classic import Classic, commit_rows, describe, fetch_offsets

UUIDS = [f"AAAAAAAAAAAAAAAAAAAAA{letter}" for letter in "abcdef"]


class Modern:
    """A member of a consumer group. Each call is a step; ids are chosen, so they stand in the transcript as they are."""

    def __init__(self, script: Script, group: str, number: int = 0, *, version: int = 1, **joining) -> None:
        self.script, self.group, self.version = script, group, version
        self.member_id, self.epoch = UUIDS[number] if version else "", 0
        self.joining = {"subscribedTopicNames": [], "rebalanceTimeoutMs": 60_000, "topicPartitions": [], **joining}
        self.instance = joining.get("instanceId")
        self.held: list[dict] = []

    def ask(self, **fields) -> dict:
        fields = {"groupId": self.group, "memberId": self.member_id, "memberEpoch": self.epoch, **fields}
        if self.instance is not None:
            fields.setdefault("instanceId", self.instance)

        def joined(answer: dict) -> dict:
            if fields["memberEpoch"] == 0 and answer["errorCode"] == 0:
                self.script.count_member_epochs(self.group, answer["memberEpoch"])
            return answer

        answer = self.script.ask("ConsumerGroupHeartbeat", self.version, keep=joined, **fields)
        if answer["errorCode"] == 0:
            self.member_id, self.epoch = answer["memberId"], answer["memberEpoch"]
            if answer["assignment"] is not None:
                self.held = answer["assignment"]["topicPartitions"]
        return answer

    def join(self, **changes) -> "Modern":
        self.script.await_coordinator(self.group, {**self.joining, **changes}["subscribedTopicNames"] or [])
        self.ask(**{"memberEpoch": 0, **self.joining, **changes})
        return self

    def beat(self, **changes) -> dict:
        return self.ask(**changes)

    def acknowledge(self) -> dict:
        return self.ask(topicPartitions=self.held)

    def settle(self) -> "Modern":
        self.join()
        self.acknowledge()
        return self

    def commit(self, topic: str, offset: int = 5, version: int = 9, **changes) -> dict:
        fields = {
            "groupId": self.group,
            "generationIdOrMemberEpoch": self.epoch,
            "memberId": self.member_id,
            "groupInstanceId": self.instance,
            "topics": commit_rows((0, offset), topic=topic, topic_id=changes.pop("topic_id", bytes(16))),
            **changes,
        }
        return self.script.ask("OffsetCommit", version, **fields)

    def fetch(self, topic: str, version: int = 9, **changes) -> dict:
        member = {"memberId": self.member_id, "memberEpoch": self.epoch, **changes}
        return fetch_offsets(self.script, self.group, [(topic, [0])], version, **member)


def describe_modern(script: Script, *groups: str, version: int | None = None, **fields) -> dict:
    return script.ask("ConsumerGroupDescribe", version, groupIds=list(groups), **fields)


@scenario(0, 1)
def a_modern_life(script: Script, version: int) -> None:
    topic = script.topic("t", 3)
    member = Modern(script, script.group(), version=version, subscribedTopicNames=[topic])
    member.join()
    member.beat()
    member.acknowledge()
    for kind in (0, 1):
        describe_modern(script, member.group, version=kind)
    for describing in script.versions("DescribeGroups"):
        describe(script, member.group, version=describing)
    member.commit(topic)
    member.fetch(topic)
    member.beat(memberEpoch=-1)
    member.beat()
    describe_modern(script, member.group)


@scenario()
def epochs_that_are_not_the_members(script: Script) -> None:
    topic = script.topic("t", 2)
    topic_id = script.topic_id(topic)
    member = Modern(script, script.group(), subscribedTopicNames=[topic]).settle()
    member.beat(subscribedTopicNames=[topic, "not-there-at-all"])
    epoch = member.epoch
    for wrong in (epoch + 1, epoch - 1, -3, 2_147_483_647, -2):
        member.epoch = wrong
        member.beat()
        for version in (8, 9):
            member.commit(topic, version=version)
        member.commit(topic, version=10, topic_id=topic_id)
        member.fetch(topic)
        member.epoch = wrong
        member.acknowledge()
    member.epoch = epoch
    member.beat()
    describe_modern(script, member.group)


@scenario()
def members_that_are_not_there(script: Script) -> None:
    topic = script.topic()
    member = Modern(script, script.group(), subscribedTopicNames=[topic]).settle()
    for name in ("nobody", "", "n" * 40, UUIDS[5]):
        for epoch in (member.epoch, -1, member.epoch + 4):
            member.beat(memberId=name, memberEpoch=epoch)
        member.commit(topic, memberId=name)
        member.commit(topic, memberId=name, generationIdOrMemberEpoch=-1)
        member.fetch(topic, memberId=name)
    member.beat(groupId=script.unique("none"))
    member.beat(groupId=script.unique("none"), memberEpoch=-1)
    member.beat(groupId="")
    member.beat(groupId=" ")
    member.commit(topic, groupId=script.unique("none"), generationIdOrMemberEpoch=5)
    describe_modern(script, script.unique("none"), "", member.group)
    describe_modern(script, member.group, member.group)
    describe_modern(script)
    describe_modern(script, member.group, includeAuthorizedOperations=True)


WRONG_JOINS = {
    "no-topics": {"subscribedTopicNames": None},
    "empty-topics": {"subscribedTopicNames": []},
    "no-timeout": {"rebalanceTimeoutMs": -1},
    "timeout-0": {"rebalanceTimeoutMs": 0},
    "timeout-negative": {"rebalanceTimeoutMs": -2},
    "not-owned": {"topicPartitions": None},
    "owns-something": {"topicPartitions": [{"topicId": b"unknown-unknown!", "partitions": [0]}]},
    "assignor": {"serverAssignor": "nothing"},
    "assignor-empty": {"serverAssignor": ""},
    "assignor-range": {"serverAssignor": "range"},
    "regex-bad": {"subscribedTopicRegex": "("},
    "regex-empty": {"subscribedTopicRegex": ""},
    "regex-nothing": {"subscribedTopicRegex": "nothing-like-this"},
    "regex-alone": {"subscribedTopicNames": None, "subscribedTopicRegex": "nothing-like-this"},
    "regex-lookahead": {"subscribedTopicRegex": "(?=a)b"},
    "instance-empty": {"instanceId": ""},
    "rack-empty": {"rackId": ""},
    "rack": {"rackId": "r"},
    "missing-topic": {"subscribedTopicNames": ["not-there-at-all"]},
    "topic-twice": {"subscribedTopicNames": ["not-there-at-all", "not-there-at-all"]},
    "topic-name-bad": {"subscribedTopicNames": ["a/b"]},
    "topic-name-empty": {"subscribedTopicNames": [""]},
}


@scenario(*WRONG_JOINS.items())
def joining_wrongly(script: Script, case: tuple[str, dict]) -> None:
    for version in (0, 1):
        changes = {key: value for key, value in case[1].items() if version or key != "subscribedTopicRegex"}
        member = Modern(script, script.group(f"g{version}"), version=version, **changes)
        member.join()
        member.beat()
        describe_modern(script, member.group)


@scenario()
def joining_without_an_id(script: Script) -> None:
    first = Modern(script, script.group(), version=0)
    first.join()
    first.join()
    second = Modern(script, first.group, version=1)
    for name in ("", "not-a-uuid", "x" * 100, "x" * 36, "x" * 37):
        second.join(memberId=name)
    describe_modern(script, first.group)


@scenario()
def a_change_of_subscription(script: Script) -> None:
    one, other = script.topic("one", 2), script.topic("other", 2)
    member = Modern(script, script.group(), subscribedTopicNames=[one]).settle()
    member.beat(subscribedTopicNames=[one, other])
    member.acknowledge()
    member.beat(subscribedTopicNames=[other])
    describe_modern(script, member.group)
    member.acknowledge()
    member.beat(subscribedTopicNames=[])
    member.acknowledge()
    describe_modern(script, member.group)
    member.beat(serverAssignor="range")
    member.beat(serverAssignor="nothing")
    member.beat(rackId="elsewhere")
    member.beat(rebalanceTimeoutMs=5_000)
    member.beat()
    member.beat(subscribedTopicRegex="(")


@scenario("uniform", "range")
def two_modern_members(script: Script, assignor: str) -> None:
    topic = script.topic("t", 4)
    first = Modern(script, script.group(), 0, subscribedTopicNames=[topic], serverAssignor=assignor).settle()
    second = Modern(script, first.group, 1, subscribedTopicNames=[topic], serverAssignor=assignor)
    second.join()
    describe_modern(script, first.group)
    # Until the first gives up what it is asked to, the second has nothing, and commits of an old epoch are stale or not.
    first.beat()
    first.commit(topic)
    second.beat()
    second.commit(topic)
    first.acknowledge()
    second.beat()
    second.acknowledge()
    first.beat()
    for member in (first, second):
        member.commit(topic, 7)
        member.fetch(topic)
        member.commit(topic, 8, generationIdOrMemberEpoch=member.epoch - 1)
        member.fetch(topic, memberEpoch=member.epoch - 1)
    describe_modern(script, first.group)
    first.beat(memberEpoch=-1)
    second.beat()
    second.acknowledge()
    describe_modern(script, first.group)


@scenario()
def owned_partitions_that_are_wrong(script: Script) -> None:
    topic = script.topic("t", 2)
    topic_id = script.topic_id(topic)
    member = Modern(script, script.group(), subscribedTopicNames=[topic]).settle()
    for owned in (
        [{"topicId": topic_id, "partitions": [7]}],
        [{"topicId": b"unknown-unknown!", "partitions": [0]}],
        [{"topicId": topic_id, "partitions": [0, 0]}],
        [{"topicId": topic_id, "partitions": []}],
        [],
    ):
        member.beat(topicPartitions=owned)
        describe_modern(script, member.group)


@scenario()
def a_heartbeat_that_was_lost(script: Script) -> None:
    """The answer that moved the member on did not arrive: it says its former epoch, and what it owned then."""
    topic = script.topic("t", 2)
    member = Modern(script, script.group(), subscribedTopicNames=[topic]).settle()
    before, owned = member.epoch, member.held
    Modern(script, member.group, 1, subscribedTopicNames=[topic]).join()
    member.beat()
    member.acknowledge()
    member.beat()
    member.epoch = before
    member.ask(topicPartitions=owned)
    member.epoch = before
    member.ask()
    member.epoch = before
    member.ask(topicPartitions=[{"topicId": script.topic_id(topic), "partitions": [0]}])
    describe_modern(script, member.group)


@scenario(0, 1)
def two_modern_members_of_one_instance_id(script: Script, version: int) -> None:
    topic = script.topic("t", 2)
    first = Modern(script, script.group(), 0, version=version, subscribedTopicNames=[topic], instanceId="one").settle()
    second = Modern(script, first.group, 1, version=version, subscribedTopicNames=[topic], instanceId="one")
    second.join()
    first.beat()
    first.beat(memberEpoch=-2)
    second.join()
    first.beat()
    first.commit(topic)
    second.acknowledge()
    second.commit(topic)
    second.beat(instanceId="two")
    second.beat(instanceId=None)
    second.beat(memberEpoch=-2, instanceId="two")
    describe_modern(script, first.group)
    second.beat(memberEpoch=-2)
    describe_modern(script, first.group)
    # Whoever is away for a while and leaves for good.
    second.beat(memberEpoch=-1)
    third = Modern(script, first.group, 2, version=version, subscribedTopicNames=[topic], instanceId="one")
    third.join()
    third.beat(memberEpoch=-1)
    third.beat(memberEpoch=-1)
    describe_modern(script, first.group)


@scenario()
def leaving_for_a_while_without_an_instance_id(script: Script) -> None:
    member = Modern(script, script.group(), subscribedTopicNames=[script.topic()]).settle()
    member.beat(memberEpoch=-2)
    member.beat()
    describe_modern(script, member.group)


@scenario()
def groups_of_the_other_protocol(script: Script) -> None:
    topic = script.topic()
    classic, modern = Classic(script, script.group("classic")).settle(), Modern(script, script.group("modern")).settle()
    # A classic group with protocols that cannot be read is not converted.
    garbage = Classic(script, script.group("garbage"), "c", protocols={"range": b"\1"}, protocolType="connect").join()
    garbage.sync({}, protocolType="connect")
    Modern(script, garbage.group).join()
    one = Modern(script, classic.group)
    one.beat(memberEpoch=5_000_000)
    one.commit(topic)
    describe_modern(script, classic.group, garbage.group)
    two = Classic(script, modern.group, "b")
    two.take_join(two.send_join(protocolType="connect"))
    two.take_join(two.send_join(protocols=[]))
    two.member_id = "nobody"
    two.take_join(two.send_join())
    two.generation = 1
    two.beat()
    two.sync({})
    two.leave()
    two.commit(topic)
    modern.commit(topic)
    modern.commit(topic, memberId="", generationIdOrMemberEpoch=-1)
    script.ask("DeleteGroups", groupsNames=[modern.group])
    script.ask("OffsetDelete", groupId=modern.group, topics=[{"name": topic, "partitions": [{"partitionIndex": 0}]}])
    modern.beat(memberEpoch=-1)
    modern.commit(topic, memberId="", generationIdOrMemberEpoch=-1)
    script.ask("ListGroups", keep=lambda answer: [group for group in answer["groups"] if script.mine(group["groupId"])])
    script.ask("OffsetDelete", groupId=modern.group, topics=[{"name": topic, "partitions": [{"partitionIndex": 0}]}])
    script.ask("DeleteGroups", groupsNames=[modern.group])
    describe_modern(script, modern.group)


@scenario()
def an_empty_group_changes_its_protocol(script: Script) -> None:
    topic, group = script.topic(), script.group()
    classic = Classic(script, group).settle()
    classic.commit(topic, 4)
    classic.leave()
    modern = Modern(script, group, subscribedTopicNames=[topic]).settle()
    modern.fetch(topic)
    classic.beat()
    describe(script, group)
    describe_modern(script, group)
    modern.beat(memberEpoch=-1)
    again = Classic(script, group, "b").settle()
    fetch_offsets(script, group, None, 9)
    describe(script, group)
    describe_modern(script, group)
    again.leave()


@scenario()
def a_topic_is_deleted_while_subscribed(script: Script) -> None:
    topic = script.topic("t", 2)
    member = Modern(script, script.group(), subscribedTopicNames=[topic]).settle()
    member.commit(topic)
    script.quietly("DeleteTopics", topics=[{"name": topic}], timeoutMs=15_000)
    script.await_topic(topic, 0)
    script.tell("the assignment goes", _assigned_in_the_end(member, 0))
    fetch_offsets(script, member.group, None, 9)
    member.commit(topic)
    member.acknowledge()
    describe_modern(script, member.group)
    script.broker.create_topic(topic, 1)
    script.know_topic(topic)
    script.tell("and comes again", _assigned_in_the_end(member, 1))
    member.acknowledge()
    fetch_offsets(script, member.group, [(topic, [0, 1])], 9)
    describe_modern(script, member.group)


def _assigned_in_the_end(member: Modern, partitions: int) -> object:
    """Heartbeats, not in the transcript, until that many partitions are assigned."""

    def counted() -> bool:
        script = member.script
        fields = {"groupId": member.group, "memberId": member.member_id, "memberEpoch": member.epoch, "topicPartitions": member.held}
        answer = script.quietly("ConsumerGroupHeartbeat", 1, **fields)
        assert answer["errorCode"] == 0, answer
        member.epoch = answer["memberEpoch"]
        if answer["assignment"] is not None:
            member.held = answer["assignment"]["topicPartitions"]
        return sum(len(row["partitions"]) for row in member.held) == partitions

    await_until(counted, f"{partitions} partitions are assigned")
    return member.held
