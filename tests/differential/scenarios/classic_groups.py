"""Groups of the classic protocol: members that are late, wrong, fenced, or not what they say they are."""

from harness.broker import await_until
from harness.groups import subscription

from ..script import Script, scenario
from .classic import Classic, describe, fetch_offsets, rebalance


@scenario(*range(10))
def a_life_in_every_version(script: Script, version: int) -> None:
    group, topic = script.group(), script.topic()
    member = Classic(script, group, version=version)
    member.join()
    sync, beat, leave = min(version, 5), min(version, 4), min(version, 5)
    member.sync({member.member_id: b"all"}, sync)
    member.beat(beat)
    for commit in range(2, 10):
        member.commit(topic, commit, version=commit)
    for describing in script.versions("DescribeGroups"):
        describe(script, group, version=describing)
    member.join()
    member.sync({member.member_id: b"all"}, sync)
    member.leave(leave)
    describe(script, group)
    member.beat(beat)
    member.leave(leave)
    member.member_id = ""
    member.join()


@scenario()
def requests_of_another_generation(script: Script) -> None:
    topic, member = script.topic(), Classic(script, script.group()).settle()
    rebalance(member)
    for generation in (member.generation - 1, member.generation + 1, 0, -1, -2, 2_147_483_647):
        member.beat(generationId=generation)
        member.sync({member.member_id: b"late"}, generationId=generation)
        member.commit(topic, generationIdOrMemberEpoch=generation)
    describe(script, member.group)
    fetch_offsets(script, member.group, None, 9)


@scenario("nobody", "", "n" * 300)
def requests_of_an_unknown_member(script: Script, nobody: str) -> None:
    topic, member = script.topic(), Classic(script, script.group()).settle()
    member.beat(memberId=nobody)
    member.sync({}, memberId=nobody)
    member.commit(topic, memberId=nobody)
    member.commit(topic, memberId=nobody, generationIdOrMemberEpoch=-1)
    for version in script.versions("LeaveGroup"):
        member.leave(version, memberId=nobody, members=[{"memberId": nobody}])
    # And of a group that there is not.
    other = script.group("none")
    member.beat(memberId=nobody, groupId=other)
    member.sync({}, memberId=nobody, groupId=other)
    member.commit(topic, memberId=nobody, groupId=other)
    member.leave(memberId=nobody, members=[{"memberId": nobody}], groupId=other)
    describe(script, member.group, other)


@scenario(*range(10))
def joining_under_an_id_that_nobody_gave(script: Script, version: int) -> None:
    member = Classic(script, script.group(), version=version)
    for name in ("nobody", "raw-00000000-0000-0000-0000-000000000000"):
        member.take_join(member.send_join(memberId=name))
    member.settle()
    other = Classic(script, member.group, "b", version=version)
    other.take_join(other.send_join(memberId="nobody"))
    member.beat(min(version, 4))


@scenario()
def an_id_that_was_given_and_not_used(script: Script) -> None:
    member = Classic(script, script.group())
    member.take_join(member.send_join())
    topic = script.topic()
    member.beat()
    member.beat(generationId=0)
    member.sync()
    member.commit(topic)
    describe(script, member.group)
    member.leave()
    member.take_join(member.send_join())


@scenario()
def the_leader_leaves(script: Script) -> None:
    members = [Classic(script, script.group(), name) for name in "ab"]
    rebalance(*members)
    leader, other = sorted(members, key=lambda one: not one.leads)
    leader.leave()
    other.beat()
    other.commit(script.topic())
    describe(script, leader.group)
    rebalance(other)
    other.beat()
    describe(script, leader.group)


@scenario()
def the_follower_leaves_while_the_leader_has_not_synced(script: Script) -> None:
    members = [Classic(script, script.group(), name) for name in "ab"]
    rebalance(*members, sync=False)
    leader, other = sorted(members, key=lambda one: not one.leads)
    # Nobody waits for the answer to a SyncGroup of one who left.
    other.send_sync()
    script.quietly("LeaveGroup", 5, groupId=leader.group, members=[{"memberId": other.member_id}])
    leader.sync({leader.member_id: b"all"})
    leader.beat()
    rebalance(leader)


@scenario()
def a_leader_that_never_syncs(script: Script) -> None:
    members = [Classic(script, script.group(), name, rebalanceTimeoutMs=1_200) for name in "ab"]
    rebalance(*members, sync=False)
    leader, other = sorted(members, key=lambda one: not one.leads)
    topic = script.topic()
    other.commit(topic)
    other.beat()
    pending = other.send_sync()
    pending.result()
    # Those who did not sync in time are gone.
    leader.beat()
    other.beat()
    leader.commit(topic)


@scenario()
def a_follower_that_never_syncs(script: Script) -> None:
    members = [Classic(script, script.group(), name, rebalanceTimeoutMs=1_200) for name in "ab"]
    rebalance(*members, sync=False)
    leader, other = sorted(members, key=lambda one: not one.leads)
    leader.sync({member.member_id: member.name.encode() for member in members})
    leader.await_state("PreparingRebalance")
    leader.beat()
    other.beat()
    other.sync()


@scenario()
def a_member_that_never_rejoins(script: Script) -> None:
    members = [Classic(script, script.group(), name, rebalanceTimeoutMs=1_200) for name in "ab"]
    rebalance(*members)
    members[0].join()
    members[0].await_members(1)
    members[1].beat()
    describe(script, members[0].group)


@scenario()
def committing_while_a_group_rebalances(script: Script) -> None:
    topic, first = script.topic(), Classic(script, script.group()).settle()
    second = Classic(script, first.group, "b")
    joining = second.start_join()
    first.await_state("PreparingRebalance")
    first.beat()
    first.commit(topic, 1)
    first.commit(topic, 2, memberId="nobody")
    first.commit(topic, 3, generationIdOrMemberEpoch=first.generation + 1)
    first.commit(topic, 4, memberId="", generationIdOrMemberEpoch=-1)
    first.sync()
    rejoining = first.send_join()
    first.take_join(rejoining)
    second.take_join(joining)
    first.await_state("CompletingRebalance")
    for member in (first, second):
        member.commit(topic, 5)
        member.beat()
    first.commit(topic, 6, memberId="", generationIdOrMemberEpoch=-1)
    fetch_offsets(script, first.group, [(topic, [0])], 9)
    describe(script, first.group)


@scenario()
def committing_to_groups_without_members(script: Script) -> None:
    topic, member = script.topic(), Classic(script, script.group()).settle()
    group = script.group("simple")
    member.commit(topic, 1, groupId=group, memberId="", generationIdOrMemberEpoch=-1)
    for generation, name in ((0, ""), (-1, "nobody"), (1, "nobody"), (-2, ""), (5, "")):
        member.commit(topic, 2, groupId=group, memberId=name, generationIdOrMemberEpoch=generation)
        member.commit(topic, 2, groupId=script.group("fresh"), memberId=name, generationIdOrMemberEpoch=generation)
    member.leave()
    member.commit(topic, 3)
    member.commit(topic, 4, memberId="", generationIdOrMemberEpoch=-1)
    member.commit(topic, 5, memberId="", generationIdOrMemberEpoch=1)
    describe(script, group, member.group)
    fetch_offsets(script, group, None, 9)
    fetch_offsets(script, member.group, None, 9)


@scenario("connect", "", "Consumer", "c" * 1000)
def another_type_of_protocol(script: Script, kind: str) -> None:
    first = Classic(script, script.group()).settle()
    second = Classic(script, first.group, "b")
    second.take_join(second.send_join(protocolType=kind))
    first.sync({}, protocolType=kind)
    first.sync({}, protocolName="other")
    first.take_join(first.send_join(protocolType=kind))
    # The first of its group decides.
    alone = Classic(script, script.group("own"), "c", protocolType=kind)
    alone.take_join(alone.send_join())
    alone.take_join(alone.send_join())
    describe(script, alone.group)


@scenario()
def protocols_that_nobody_else_has(script: Script) -> None:
    one = Classic(script, script.group(), protocols={})
    one.take_join(one.send_join())
    one.protocols = {"range": b"", "roundrobin": b""}
    one.settle()
    for protocols in ({}, {"sticky": b"x"}, {"": b""}):
        other = Classic(script, one.group, "b", protocols=protocols)
        other.take_join(other.send_join())
        other.take_join(other.send_join(memberId="nobody"))
    # A member may change its own.
    one.protocols = {"sticky": b"s"}
    rebalance(one)
    describe(script, one.group)


@scenario()
def the_protocol_that_most_prefer(script: Script) -> None:
    group = script.group()
    members = [
        Classic(script, group, "a", protocols={"x": b"1", "y": b"2", "z": b"3"}),
        Classic(script, group, "b", protocols={"y": b"4", "x": b"5"}),
        Classic(script, group, "c", protocols={"z": b"6", "y": b"7", "x": b"8"}),
    ]
    rebalance(*members)
    describe(script, group)


@scenario(-1, 0, 1, 5_999, 6_000, 1_800_000, 1_800_001, 2_147_483_647)
def a_session_timeout(script: Script, timeout_ms: int) -> None:
    for version in (0, 9):
        member = Classic(script, script.group(f"g{version}"), version=version, sessionTimeoutMs=timeout_ms)
        member.take_join(member.send_join())


@scenario(1_000, 2_147_483_647)
def a_rebalance_timeout(script: Script, timeout_ms: int) -> None:
    member = Classic(script, script.group(), rebalanceTimeoutMs=timeout_ms)
    member.join()
    member.sync({member.member_id: b"all"})
    describe(script, member.group)


@scenario()
def large_metadata_of_a_member(script: Script) -> None:
    member = Classic(script, script.group(), protocols={"range": bytes(300_000), "other": b"m" * 100_000})
    member.join()
    member.sync({member.member_id: b"a" * 200_000})
    describe(script, member.group)


@scenario()
def metadata_beyond_what_is_stored(script: Script) -> None:
    """A group is stored in one record, which has to fit the offsets topic's largest batch."""
    member = Classic(script, script.group(), protocols={"range": bytes(1_100_000)})
    member.take_join(member.send_join())


@scenario()
def an_assignment_to_others(script: Script) -> None:
    member = Classic(script, script.group()).join()
    member.sync({"nobody": b"x", member.member_id: b"mine", "": b"y"})
    member.sync({member.member_id: b"again"})
    other = Classic(script, script.group("none-given"), "b").join()
    other.sync({})
    other.sync({})


@scenario()
def leaving_in_batches(script: Script) -> None:
    members = [Classic(script, script.group(), name) for name in "abc"]
    rebalance(*members)
    a, b, c = members
    a.leave(members=[])
    a.leave(members=[{"memberId": "nobody"}, {"memberId": ""}, {"memberId": "nobody", "groupInstanceId": "i"}])
    a.leave(members=[{"memberId": "", "groupInstanceId": "i"}, {"memberId": a.member_id, "groupInstanceId": "i"}])
    a.leave(members=[{"memberId": b.member_id}, {"memberId": "nobody"}, {"memberId": b.member_id}])
    describe(script, a.group)
    a.leave(members=[{"memberId": a.member_id, "reason": "r" * 500}, {"memberId": c.member_id, "reason": None}])
    describe(script, a.group)
    a.leave(members=[{"memberId": a.member_id}])
    a.leave(groupId=script.unique("none"), members=[{"memberId": "x"}, {"memberId": "", "groupInstanceId": "y"}])
    a.leave(groupId=script.unique("none"), members=[])


IDS = {"empty": "", "blank": " ", "long": "g" * 249, "longest": "g" * 32_000, "umlaut": "ä", "slash": "a/b\0c"}


@scenario(*IDS.items())
def a_group_id(script: Script, case: tuple[str, str]) -> None:
    group, topic = case[1], script.topic()
    member = Classic(script, group, protocols={"range": b""})
    for version in (0, 9):
        member.version = version
        member.take_join(member.send_join(memberId=""))
    member.leave()
    member.member_id = "nobody"
    for version in (0, 4):
        member.beat(version)
    for version in (0, 5):
        member.sync({}, version)
    for version in (0, 5):
        member.leave(version)
    for version in (2, 9):
        member.commit(topic, 3, version, memberId="", generationIdOrMemberEpoch=-1)
        member.commit(topic, 3, version, memberId="", generationIdOrMemberEpoch=1)
    for version in (1, 5, 7, 9):
        fetch_offsets(script, group, [(topic, [0])], version)
        fetch_offsets(script, group, None if version > 1 else [], version)
    for version in script.versions("DescribeGroups"):
        describe(script, group, version=version)
    script.ask("OffsetDelete", groupId=group, topics=[{"name": topic, "partitions": [{"partitionIndex": 0}]}])
    script.ask("DeleteGroups", groupsNames=[group])
    script.ask("FindCoordinator", 3, key=group)
    script.ask("FindCoordinator", 6, coordinatorKeys=[group])


# ---- static members -----------------------------------------------------------------------------------------------


@scenario(*range(5, 10))
def two_members_of_one_instance_id(script: Script, version: int) -> None:
    topic, group = script.topic(), script.group()
    first = Classic(script, group, "a", version=version, instance="one").settle()
    second = Classic(script, group, "b", version=version, instance="one")
    second.join()
    second.sync({second.member_id: b"all"})
    for member in (first, second):
        member.beat()
        member.commit(topic)
        member.sync({})
        member.take_join(member.send_join())
    first.leave()
    describe(script, group)
    second.leave(
        members=[{"memberId": first.member_id, "groupInstanceId": "one"}, {"memberId": second.member_id, "groupInstanceId": "two"}]
    )
    second.leave(members=[{"memberId": "", "groupInstanceId": "one"}])
    describe(script, group)


@scenario()
def an_unknown_instance_id(script: Script) -> None:
    topic, member = script.topic(), Classic(script, script.group(), instance="one").settle()
    for instance in ("two", "", None):
        member.instance = instance
        member.beat()
        member.commit(topic)
        member.sync({})


@scenario()
def a_static_member_comes_back(script: Script) -> None:
    group = script.group()
    members = [Classic(script, group, name, instance=f"instance-{name}") for name in "ab"]
    rebalance(*members)
    leader, other = sorted(members, key=lambda one: not one.leads)
    describe(script, group)
    # With the same subscription nothing is rebalanced.
    for member in (other, leader):
        again = Classic(script, group, member.name + "2", instance=member.instance)
        again.join()
        again.sync({})
        again.beat()
        member.beat()
    describe(script, group)


@scenario()
def a_static_member_comes_back_with_another_subscription(script: Script) -> None:
    group = script.group()
    first = Classic(script, group, "a", instance="one").settle()
    again = Classic(script, group, "b", instance="one", protocols={"range": subscription(["other"])})
    again.join()
    again.sync({again.member_id: b"new"})
    first.beat()
    describe(script, group)


@scenario()
def a_static_member_comes_back_while_its_group_rebalances(script: Script) -> None:
    group = script.group()
    first = Classic(script, group, "a", instance="one").join()
    again = Classic(script, group, "b", instance="one")
    pending = again.send_join()
    again.take_join(pending)
    first.sync({first.member_id: b"x"})
    again.sync({again.member_id: b"y"})
    describe(script, group)


# ---- of groups as a whole ------------------------------------------------------------------------------------------


@scenario()
def groups_described(script: Script) -> None:
    member = Classic(script, script.group()).settle()
    for version in script.versions("DescribeGroups"):
        describe(script, member.group, script.unique("none"), "", version=version)
        describe(script, member.group, member.group, version=version)
        describe(script, version=version)
        script.ask("DescribeGroups", version, groups=[member.group], includeAuthorizedOperations=True)


@scenario()
def groups_listed(script: Script) -> None:
    def mine(answer: dict) -> dict:
        return {**answer, "groups": [group for group in answer["groups"] if script.mine(group["groupId"])]}

    member = Classic(script, script.group()).settle()
    empty = Classic(script, script.group("empty"), "b").settle()
    empty.leave()
    member.commit(script.topic(), groupId=script.group("simple"), memberId="", generationIdOrMemberEpoch=-1)
    given = Classic(script, script.group("id-given"), "c")
    given.take_join(given.send_join())
    for version in script.versions("ListGroups"):
        script.ask("ListGroups", version, keep=mine)
    states = [
        "Stable",
        "Empty",
        "Dead",
        "PreparingRebalance",
        "CompletingRebalance",
        "stable",
        "STABLE",
        "Assigning",
        "Reconciling",
        "",
        "x",
    ]
    for state in states:
        for version in (4, 5):
            script.ask("ListGroups", version, statesFilter=[state], keep=mine)
    script.ask("ListGroups", 5, statesFilter=["Stable", "Empty"], keep=mine)
    for kind in ("classic", "Classic", "consumer", "share", "streams", "simple", "", "x"):
        script.ask("ListGroups", 5, typesFilter=[kind], keep=mine)
    script.ask("ListGroups", 5, typesFilter=["classic", "consumer"], statesFilter=["Empty"], keep=mine)


@scenario()
def groups_deleted(script: Script) -> None:
    topic, member = script.topic(), Classic(script, script.group()).settle()
    for version in script.versions("DeleteGroups"):
        script.ask("DeleteGroups", version, groupsNames=[member.group, script.unique("none"), ""])
    script.ask("DeleteGroups", groupsNames=[member.group, member.group])
    script.ask("DeleteGroups", groupsNames=[])
    member.commit(topic)
    member.leave()
    script.ask("DeleteGroups", groupsNames=[member.group, member.group])
    script.ask("DeleteGroups", groupsNames=[member.group])
    describe(script, member.group)
    fetch_offsets(script, member.group, None, 9)
    member.commit(topic)
    member.beat()
    member.take_join(member.send_join())
    member.commit(topic, memberId="", generationIdOrMemberEpoch=-1)
    describe(script, member.group)


@scenario()
def offsets_deleted(script: Script) -> None:
    topic, other = script.topic("t", 2), script.topic("other")
    member = Classic(script, script.group(), protocols={"range": subscription([topic])}).settle()
    for name in (topic, other):
        member.commit(name)

    def delete(group: str, *rows: tuple[str, list[int]]) -> None:
        topics = [{"name": name, "partitions": [{"partitionIndex": index} for index in indexes]} for name, indexes in rows]
        script.ask("OffsetDelete", groupId=group, topics=topics)

    delete(member.group, (topic, [0, 1]), (other, [0, 7, -1]), (script.unique("missing"), [0]))
    delete(member.group, (topic, [0]))
    fetch_offsets(script, member.group, None, 9)
    delete(script.unique("none"), (topic, [0]))
    delete("", (topic, [0]))
    delete(member.group)
    delete(member.group, (topic, []))
    member.leave()
    delete(member.group, (topic, [0, 1]), (topic, [0]))
    fetch_offsets(script, member.group, None, 9)
    describe(script, member.group)


@scenario()
def offsets_deleted_of_other_protocols(script: Script) -> None:
    """A group of another type has no subscriptions that the broker could read."""
    topic = script.topic()
    member = Classic(script, script.group(), protocolType="connect").join()
    member.sync({member.member_id: b"all"}, protocolType="connect")
    member.commit(topic)
    script.ask("OffsetDelete", groupId=member.group, topics=[{"name": topic, "partitions": [{"partitionIndex": 0}]}])
    garbage = Classic(script, script.group("garbage"), "b", protocols={"range": b"\1\2\3"}).settle()
    garbage.commit(topic)
    script.ask("OffsetDelete", groupId=garbage.group, topics=[{"name": topic, "partitions": [{"partitionIndex": 0}]}])


@scenario()
def the_coordinator_of_strange_keys(script: Script) -> None:
    for version in script.versions("FindCoordinator"):
        for key, kind in (("g", 0), ("", 0), ("g", 2), ("g", 77), ("g", -1)):
            if kind and not version:
                continue
            script.ask("FindCoordinator", version, key=key, coordinatorKeys=[key], keyType=kind)
    script.ask("FindCoordinator", coordinatorKeys=["a", "b", "a"], keyType=0)
    script.ask("FindCoordinator", coordinatorKeys=[], keyType=0)


@scenario()
def a_member_of_short_session_is_missed(script: Script) -> None:
    member = Classic(script, script.group(), sessionTimeoutMs=6_000)
    stays = Classic(script, member.group, "b", sessionTimeoutMs=60_000)
    rebalance(member, stays)
    await_until(lambda: _members(script, member.group) == 1, "the silent member is missed", 15)
    member.beat()
    stays.beat()
    member.commit(script.topic())
    describe(script, member.group)


def _members(script: Script, group: str) -> int:
    return len(script.quietly("DescribeGroups", 5, groups=[group])["groups"][0]["members"])
