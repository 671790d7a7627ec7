"""Brokers that are killed in the middle, and the same clients that go on."""

import time

from harness.broker import await_until
from harness.groups import coordinator_is_ready

from ..script import Script, scenario
from .classic import Classic, describe, fetch_offsets
from .consumer_groups import Modern, describe_modern
from .records import fetch, list_offsets, producer, sequenced


@scenario(restarts=True)
def a_kill_in_the_middle(script: Script) -> None:
    """kill -9 and a new start on the same data."""
    topic = script.topic("t", 2, retention_ms=-1)
    classic = Classic(script, script.group("classic")).settle()
    static = Classic(script, script.group("static"), "s", instance="one").settle()
    joining = Classic(script, script.group("joining"), "j").join()
    modern = Modern(script, script.group("modern"), subscribedTopicNames=[topic]).settle()
    empty = Classic(script, script.group("empty"), "e").settle()
    empty.commit(topic, 9)
    empty.leave()
    for member in (classic, static):
        member.commit(topic, 4)
    modern.commit(topic, 5)
    script.ask("OffsetDelete", groupId=empty.group, topics=[{"name": topic, "partitions": [{"partitionIndex": 0}]}])
    empty.commit(topic, 11, memberId="", generationIdOrMemberEpoch=-1)
    # A producer that was silent for long is forgotten at the start.
    who, now = producer(script), int(time.time() * 1000)
    for number in range(3):
        sequenced(script, topic, who, number, b"%d" % number, at_ms=now)
    session = fetch(script, topic, (0, 0), sessionEpoch=0, version=12)["sessionId"]

    script.broker.kill()
    script.close()
    script.broker.start()
    script.await_topic(topic, 2)
    await_until(lambda: _is_led(script, topic), "the partitions are led again")
    coordinator_is_ready(script.broker, *(member.group for member in (classic, static, joining, modern, empty)))

    # Members are known as before; who was between join and sync is, too, or has to join again.
    for member in (classic, static):
        member.beat()
        member.commit(topic, 6)
        member.sync({})
        describe(script, member.group)
    modern.beat()
    modern.commit(topic, 7)
    modern.acknowledge()
    describe_modern(script, modern.group)
    for group in (classic.group, static.group, modern.group, empty.group):
        fetch_offsets(script, group, None, 9)
    joining.beat()
    joining.sync({joining.member_id: b"all"})
    describe(script, joining.group, empty.group)
    again = Classic(script, static.group, "s2", instance="one")
    again.join()
    again.sync({again.member_id: b"all"})
    static.beat()
    # Sequences go on where they were, and what was sent before is a duplicate.
    sequenced(script, topic, who, 2, b"2", at_ms=now)
    sequenced(script, topic, who, 3, b"3", at_ms=now)
    sequenced(script, topic, who, 5, b"5", at_ms=now)
    for timestamp in (-1, -2):
        list_offsets(script, topic, (0, timestamp), (1, timestamp), version=7)
    for offset in (0, 1, 4):
        fetch(script, topic, (0, offset), version=12)
    fetch(script, topic, sessionId=session, sessionEpoch=1, version=12)


def _is_led(script: Script, topic: str) -> bool:
    rows = [{"partitionIndex": index, "currentLeaderEpoch": -1, "timestamp": -1} for index in (0, 1)]
    answer = script.quietly("ListOffsets", 7, replicaId=-1, topics=[{"name": topic, "partitions": rows}])
    return all(row["errorCode"] == 0 for row in answer["topics"][0]["partitions"])
