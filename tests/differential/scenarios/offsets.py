"""Offsets that are committed and fetched: of topics that are not there, wrong, large, deleted."""

from harness.broker import await_until

from ..script import Script, scenario
from .classic import Classic, commit_rows, fetch_offsets

UNKNOWN_ID = b"unknown-unknown!"


def commit(script: Script, group: str, topics: list[dict], version: int, **fields) -> dict:
    return script.ask("OffsetCommit", version, groupId=group, generationIdOrMemberEpoch=-1, memberId="", topics=topics, **fields)


@scenario()
def committed_and_fetched_in_every_version(script: Script) -> None:
    topic, group = script.topic("t", 3), script.group()
    topic_id = script.topic_id(topic)
    for version in script.versions("OffsetCommit"):
        commit(script, group, commit_rows((0, version, f"v{version}"), (1, 0, None), topic=topic, topic_id=topic_id), version)
    for version in script.versions("OffsetFetch"):
        fetch_offsets(script, group, [(topic, topic_id, [0, 1, 2])], version)
        if version > 1:
            fetch_offsets(script, group, None, version)
        fetch_offsets(script, group, [(topic, topic_id, [])], version)
        fetch_offsets(script, group, [], version)


@scenario()
def topics_and_partitions_that_are_not_there(script: Script) -> None:
    topic, group = script.topic("t", 2), script.group()
    topic_id, missing = script.topic_id(topic), script.unique("missing")
    for version in script.versions("OffsetCommit"):
        for row, of in (
            ((7, 1), (topic, topic_id)),
            ((-1, 1), (topic, topic_id)),
            ((0, 1), (missing, UNKNOWN_ID)),
            ((0, 1), ("", bytes(16))),
        ):
            commit(script, group, commit_rows(row, topic=of[0], topic_id=of[1]), version)
        mixed = commit_rows((0, 3), (9, 3), topic=topic, topic_id=topic_id) + commit_rows((0, 3), topic=missing, topic_id=UNKNOWN_ID)
        commit(script, group, mixed, version)
        commit(script, group, [], version)
    for version in script.versions("OffsetFetch"):
        rows = [(topic, topic_id, [0, 1, 9, -1]), (missing, UNKNOWN_ID, [0])]
        fetch_offsets(script, group, rows, version)
        fetch_offsets(script, script.group("none"), rows, version)
        fetch_offsets(script, group, [("a/b", bytes(16), [0])], version)


@scenario()
def strange_offsets(script: Script) -> None:
    topic, group = script.topic("t", 1), script.group()
    for offset in (-1, -2, -9_223_372_036_854_775_808, 9_223_372_036_854_775_807, 0):
        for version in (2, 9):
            commit(script, group, commit_rows((0, offset), topic=topic), version)
        fetch_offsets(script, group, [(topic, [0])], 9)
    for epoch in (0, 7, -1, -5, 2_147_483_647):
        row = {"partitionIndex": 0, "committedOffset": 1, "committedLeaderEpoch": epoch, "committedMetadata": ""}
        commit(script, group, [{"name": topic, "partitions": [row]}], 9)
        script.ask(
            "OffsetFetch",
            9,
            groups=[{"groupId": group, "topics": [{"name": topic, "partitionIndexes": [0]}]}],
            keep=lambda answer: [("epoch", row["committedLeaderEpoch"]) for row in answer["groups"][0]["topics"][0]["partitions"]],
        )


@scenario(0, 1, 4095, 4096, 4097, 30_000)
def the_text_of_an_offset(script: Script, size: int) -> None:
    topic, group = script.topic("t", 2), script.group()
    for version in (2, 9):
        commit(script, group, commit_rows((0, 1, "x" * size), (1, 1, "short"), topic=topic), version)
    fetch_offsets(script, group, [(topic, [0, 1])], 9)


@scenario()
def texts_of_other_letters(script: Script) -> None:
    """The limit counts UTF-16 units."""
    topic, group = script.topic("t", 1), script.group()
    for text in ("ä" * 4096, "ä" * 4097, "😀" * 2048, "😀" * 2049, "a\0b"):
        commit(script, group, commit_rows((0, 1, text), topic=topic), 9)
        fetch_offsets(script, group, [(topic, [0])], 9)


@scenario()
def one_partition_twice_in_a_commit(script: Script) -> None:
    topic, group = script.topic("t", 1), script.group()
    commit(script, group, commit_rows((0, 1), (0, 2), topic=topic), 9)
    fetch_offsets(script, group, [(topic, [0])], 9)
    commit(script, group, commit_rows((0, 3), topic=topic) + commit_rows((0, 4), topic=topic), 9)
    fetch_offsets(script, group, [(topic, [0, 0]), (topic, [0])], 9)


@scenario()
def many_groups_in_one_fetch(script: Script) -> None:
    topic, group = script.topic("t", 1), script.group()
    commit(script, group, commit_rows((0, 1), topic=topic), 9)
    rows = [
        {"groupId": group, "topics": None},
        {"groupId": script.unique("none"), "topics": None},
        {"groupId": "", "topics": None},
        {"groupId": script.unique("other"), "topics": [{"name": topic, "partitionIndexes": [0]}]},
    ]
    for version in (8, 9):
        script.ask("OffsetFetch", version, groups=rows)
        script.ask("OffsetFetch", version, groups=rows, requireStable=True)
        script.ask("OffsetFetch", version, groups=[])
    script.ask("OffsetFetch", 9, groups=[{"groupId": group, "topics": None, "memberId": "nobody", "memberEpoch": 1}])
    script.ask("OffsetFetch", 9, groups=[{"groupId": group, "topics": None, "memberId": "", "memberEpoch": 1}])
    script.ask("OffsetFetch", 9, groups=[{"groupId": group, "topics": None, "memberId": None, "memberEpoch": 0}])


@scenario()
def stable_offsets_are_required(script: Script) -> None:
    topic, group = script.topic("t", 2), script.group()
    commit(script, group, commit_rows((0, 1), topic=topic), 9)
    for version in (7, 8, 9):
        fetch_offsets(script, group, [(topic, [0, 1])], version, requireStable=True)


@scenario()
def a_topic_goes_and_comes_again(script: Script) -> None:
    topic, group = script.topic("t", 2), script.group()
    old_id = script.topic_id(topic)
    commit(script, group, commit_rows((0, 5), (1, 6), topic=topic), 9)
    script.quietly("DeleteTopics", topics=[{"name": topic}], timeoutMs=15_000)
    script.await_topic(topic, 0)

    def gone() -> bool:
        rows = script.quietly("OffsetFetch", 8, groups=[{"groupId": group, "topics": None}])["groups"][0]["topics"]
        return rows == []

    await_until(gone, "the offsets of the deleted topic are gone")
    fetch_offsets(script, group, [(topic, old_id, [0, 1])], 9)
    fetch_offsets(script, group, [(topic, old_id, [0, 1])], 10)
    commit(script, group, commit_rows((0, 7), topic=topic, topic_id=old_id), 9)
    commit(script, group, commit_rows((0, 7), topic=topic, topic_id=old_id), 10)
    script.broker.create_topic(topic, 1)
    new_id = script.topic_id(topic)
    for topic_id in (old_id, new_id):
        fetch_offsets(script, group, [(topic, topic_id, [0, 1])], 10)
        commit(script, group, commit_rows((0, 8), (1, 8), topic=topic, topic_id=topic_id), 10)
        fetch_offsets(script, group, [(topic, topic_id, [0, 1])], 10)
    fetch_offsets(script, group, None, 10)


@scenario()
def a_retention_of_its_own(script: Script) -> None:
    """Versions 2 to 4 of OffsetCommit say how long an offset is kept."""
    topic, group = script.topic("t", 1), script.group()
    for retention in (-1, 0, 1, 86_400_000, -5):
        commit(script, group, commit_rows((0, 1), topic=topic), 2, retentionTimeMs=retention)
    member = Classic(script, script.group("member")).settle()
    member.commit(topic, version=2)
    fetch_offsets(script, member.group, None, 9)
