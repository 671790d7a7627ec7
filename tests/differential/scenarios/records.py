"""Records appended, read and deleted; offsets looked up; each way wrong."""

from harness import wire
from harness.broker import await_until
from harness.wire import Batch

from ..script import Script, scenario

UNKNOWN_ID = b"unknown-unknown!"
T0 = 1_000_000


# ---- produce ------------------------------------------------------------------------------------------------------


def produce(
    script: Script, topic: str, *rows: tuple[int, bytes | None], version: int | None = None, topic_id=None, acks=-1, **fields
) -> dict:
    """Rows are (partition, records)."""
    version = script.latest("Produce") if version is None else version
    known = bytes(16) if version < 13 else script.topic_id(topic) if topic_id is None else topic_id
    data = [{"index": index, "records": records} for index, records in rows]
    topics = [{"name": topic, "topicId": known, "partitionData": data}]
    return script.ask("Produce", version, acks=acks, timeoutMs=5000, topicData=topics, **fields)


def batch(*values: bytes, **fields) -> bytes:
    return Batch(values=list(values) or [b"v"], **{"timestamp": T0, **fields}).encode()


@scenario()
def appended_in_every_version(script: Script) -> None:
    topic = script.topic("t", 2, retention_ms=-1)
    for version in range(3, script.latest("Produce") + 1):
        for acks in (-1, 1):
            produce(script, topic, (0, batch(b"a", b"b")), (1, batch()), version=version, acks=acks)
        produce(script, topic, (7, batch()), (-1, batch()), (0, batch()), version=version)
        missing = script.unique("missing")
        produce(script, missing, (0, batch()), version=version, topic_id=UNKNOWN_ID)
        produce(script, topic, version=version)


@scenario(2, -2, 32_767, -32_768)
def acknowledgements_that_there_are_not(script: Script, acks: int) -> None:
    topic = script.topic("t", 2, retention_ms=-1)
    for version in (3, 8, 13):
        produce(script, topic, (0, batch()), (7, batch()), version=version, acks=acks)
    script.ask("ListOffsets", 7, replicaId=-1, topics=[{"name": topic, "partitions": [{"partitionIndex": 0, "timestamp": -1}]}])


BATCHES = {
    "empty": b"",
    "short": b"\0" * 20,
    "zeros": bytes(100),
    "two": batch() + batch(),
    "cut": batch()[:-3],
    "crc": batch(crc=7),
    "magic-1": wire.old_message_set(1),
    "magic-0": wire.old_message_set(0),
    "magic-3": batch(magic=3),
    "no-records": Batch(values=[], timestamp=T0).encode(),
    "length-short": batch(batch_length=20),
    "length-negative": batch(batch_length=-1),
    "count-wrong": batch(b"a", b"b", record_count=3, last_offset_delta=2),
    "delta-wrong": batch(b"a", b"b", last_offset_delta=5),
    "delta-negative": batch(last_offset_delta=-1),
    "base-offset": batch(base_offset=7),
    "leader-epoch": batch(leader_epoch=9),
    "control": batch(attributes=wire.CONTROL),
    "compression-7": batch(attributes=7),
    "gzip": batch(b"a" * 100, attributes=wire.GZIP),
    "append-time": batch(attributes=wire.LOG_APPEND_TIME),
    "future": batch(timestamp=99_999_999_999_999),
    "no-timestamp": batch(timestamp=-1),
    "negative-timestamp": batch(timestamp=-5),
}


@scenario(*BATCHES.items())
def a_batch(script: Script, case: tuple[str, bytes | None]) -> None:
    topic = script.topic("t", 1, retention_ms=-1)
    for version in (3, 8, 13):
        produce(script, topic, (0, case[1]), version=version)
    # Records that are not what their header says cannot be told.
    if case[0] not in ("count-wrong", "compression-7", "append-time"):
        fetch(script, topic, (0, 0), version=12)


@scenario()
def a_batch_that_is_too_large(script: Script) -> None:
    topic = script.topic("t", 2, retention_ms=-1, max_message_bytes=500)
    for version in (3, 8, 13):
        produce(script, topic, (0, batch(b"x" * 600)), (1, batch(b"x" * 300)), version=version)


# ---- producers ----------------------------------------------------------------------------------------------------


@scenario()
def ids_of_producers(script: Script) -> None:
    producer(script)
    for version in script.versions("InitProducerId"):
        for fields in (
            {"transactionalId": None, "transactionTimeoutMs": 60_000},
            {"transactionalId": None, "transactionTimeoutMs": 0},
            {"transactionalId": None, "transactionTimeoutMs": -1},
            {"transactionalId": "", "transactionTimeoutMs": 60_000},
        ):
            script.ask("InitProducerId", version, **fields)
    for version in (3, 5):
        for producer_id, epoch in ((5, 0), (-1, 3), (5, -1), (-2, -2)):
            script.ask(
                "InitProducerId", version, transactionalId=None, transactionTimeoutMs=60_000, producerId=producer_id, producerEpoch=epoch
            )


def producer(script: Script) -> tuple[int, int]:
    found = wire.new_producer(script.connection())
    script.know("producerId", found[0])
    return found


def sequenced(
    script: Script, topic: str, who: tuple[int, int], sequence: int, *values: bytes, epoch: int | None = None, at_ms: int = T0, **fields
) -> dict:
    epoch = who[1] if epoch is None else epoch
    data = batch(*values, producer_id=who[0], producer_epoch=epoch, base_sequence=sequence, timestamp=at_ms)
    return produce(script, topic, (0, data), **fields)


@scenario(3, 8, 13)
def sequences(script: Script, version: int) -> None:
    topic, who = script.topic("t", 1, retention_ms=-1), producer(script)
    at = {"version": version}
    sequenced(script, topic, who, 0, b"a", b"b", **at)
    sequenced(script, topic, who, 0, b"a", b"b", **at)
    sequenced(script, topic, who, 2, b"c", **at)
    sequenced(script, topic, who, 0, b"a", b"b", **at)
    sequenced(script, topic, who, 0, b"a", **at)
    sequenced(script, topic, who, 1, b"b", **at)
    sequenced(script, topic, who, 4, b"gap", **at)
    for number in range(3, 9):
        sequenced(script, topic, who, number, b"%d" % number, **at)
    # Of the last five batches duplicates are known as such, older ones are out of order.
    for number in (0, 2, 3, 4, 5, 8):
        sequenced(script, topic, who, number, b"again", **at)
    sequenced(script, topic, who, -1, b"none", **at)
    sequenced(script, topic, who, -2, b"negative", **at)
    sequenced(script, topic, who, 2_147_483_647, b"last", **at)
    fetch(script, topic, (0, 0), version=12)


@scenario()
def epochs_of_a_producer(script: Script) -> None:
    topic, who = script.topic("t", 1, retention_ms=-1), producer(script)
    sequenced(script, topic, who, 0, b"a", epoch=5)
    sequenced(script, topic, who, 1, b"b", epoch=4)
    sequenced(script, topic, who, 0, b"b", epoch=4)
    sequenced(script, topic, who, 1, b"b", epoch=6)
    sequenced(script, topic, who, 0, b"b", epoch=6)
    sequenced(script, topic, who, 0, b"b", epoch=6)
    sequenced(script, topic, who, 1, b"b", epoch=5)
    sequenced(script, topic, who, 1, b"b", epoch=-1)
    sequenced(script, topic, who, 0, b"b", epoch=32_767)
    fetch(script, topic, (0, 0), version=12)


@scenario()
def a_producer_that_the_partition_does_not_know(script: Script) -> None:
    topic, who = script.topic("t", 1, retention_ms=-1), producer(script)
    sequenced(script, topic, who, 7, b"a")
    sequenced(script, topic, who, 8, b"b")
    sequenced(script, topic, (who[0] + 1_000_000, 0), 0, b"c")
    sequenced(script, topic, who, 2_147_483_646, b"gap")


@scenario()
def a_sequence_that_wraps(script: Script) -> None:
    topic, who = script.topic("t", 1, retention_ms=-1), producer(script)
    sequenced(script, topic, who, 2_147_483_646, b"a", b"b")
    sequenced(script, topic, who, 0, b"c")
    sequenced(script, topic, who, 1, b"d")
    sequenced(script, topic, who, 2_147_483_646, b"a", b"b")


@scenario()
def two_sequences_in_one_request(script: Script) -> None:
    topic, who = script.topic("t", 1, retention_ms=-1), producer(script)

    def one(sequence: int) -> bytes:
        return batch(producer_id=who[0], producer_epoch=who[1], base_sequence=sequence)

    produce(script, topic, (0, one(0) + one(1)))
    produce(script, topic, (0, one(0)), (0, one(1)))
    fetch(script, topic, (0, 0), version=12)


# ---- fetch --------------------------------------------------------------------------------------------------------


def fetch(script: Script, topic: str, *rows: tuple[int, int], version: int | None = None, topic_id=None, epoch=-1, **fields) -> dict:
    """Rows are (partition, offset)."""
    version = script.latest("Fetch") if version is None else version
    known = bytes(16) if version < 13 else script.topic_id(topic) if topic_id is None else topic_id
    size = fields.pop("partitionMaxBytes", 1 << 20)
    more = {"lastFetchedEpoch": fields.pop("lastFetchedEpoch")} if "lastFetchedEpoch" in fields else {}
    parts = [
        {"partition": index, "fetchOffset": offset, "partitionMaxBytes": size, "currentLeaderEpoch": epoch, **more}
        for index, offset in rows
    ]
    topics = [{"topic": topic, "topicId": known, "partitions": parts}] if rows else []
    defaults = {"maxWaitMs": 0, "minBytes": 0, "maxBytes": 1 << 20, "sessionId": 0, "sessionEpoch": -1}
    return script.ask("Fetch", version, topics=topics, **{**defaults, **fields})


@scenario(*range(4, 19))
def fetched(script: Script, version: int) -> None:
    topic = script.topic("t", 2, retention_ms=-1)
    script.produce(topic, [b"a", b"b"], timestamps=[T0, T0 + 1])
    script.produce(topic, [b"c"], timestamps=[T0])
    for isolation in (0, 1):
        for offset in (0, 1, 2, 3, 4, -1, -2, 9_223_372_036_854_775_807):
            fetch(script, topic, (0, offset), version=version, isolationLevel=isolation)
    fetch(script, topic, (0, 0), (1, 0), (7, 0), (-1, 0), version=version)
    fetch(script, script.unique("missing"), (0, 0), version=version, topic_id=UNKNOWN_ID)
    fetch(script, topic, (0, 0), (0, 2), version=version)
    fetch(script, topic, (0, 0), version=version, epoch=script.leader_epoch(topic))
    fetch(script, topic, (0, 0), version=version, epoch=script.leader_epoch(topic) + 1)
    fetch(script, topic, version=version)


@scenario()
def limits_of_a_fetch(script: Script) -> None:
    topic = script.topic("t", 2, retention_ms=-1)
    for index in (0, 1):
        for _ in range(3):
            script.produce(topic, [b"x" * 200], index, timestamps=[T0])
    for version in (4, 12, 18):
        for total in (-1, 0, 1, 300, 600, 100_000, 2_147_483_647, -2_147_483_648):
            fetch(script, topic, (0, 0), (1, 0), version=version, maxBytes=total)
        for each in (-1, 0, 1, 300, 100_000, -2_147_483_648):
            fetch(script, topic, (0, 0), (1, 0), version=version, partitionMaxBytes=each)
        fetch(script, topic, (0, 0), version=version, minBytes=-1)
        fetch(script, topic, (0, 0), version=version, minBytes=2_147_483_647, maxWaitMs=1)
        fetch(script, topic, (0, 0), version=version, maxWaitMs=-1)
        fetch(script, topic, (0, 3), version=version, maxWaitMs=-1, minBytes=1)
        fetch(script, topic, (0, 0), version=version, isolationLevel=7)
        fetch(script, topic, (0, 0), version=version, isolationLevel=-1)


@scenario()
def an_epoch_that_was_not(script: Script) -> None:
    """The partition of a topic that was never led before: its leader epoch is the first."""
    topic = script.topic("t", 1, retention_ms=-1)
    script.produce(topic, [b"a"], timestamps=[T0])
    epoch = script.leader_epoch(topic)
    for version in (9, 12, 13, 16, 18):
        for claimed in (epoch, epoch + 1, 2_147_483_647, -1, -2):
            fetch(script, topic, (0, 0), version=version, epoch=claimed)
    for version in (12, 13, 18):
        for last in (epoch, epoch + 1, -1, -2):
            for offset in (0, 1, 2, 5):
                fetch(script, topic, (0, offset), version=version, lastFetchedEpoch=last)
    for version in script.versions("ListOffsets"):
        for claimed in (epoch, epoch + 1, -1, -2):
            row = {"partitionIndex": 0, "currentLeaderEpoch": claimed, "timestamp": -1}
            script.ask("ListOffsets", version, replicaId=-1, topics=[{"name": topic, "partitions": [row]}])
    for version in script.versions("OffsetForLeaderEpoch"):
        for claimed in (epoch, epoch + 1, -1):
            for asked in (epoch, epoch + 1, epoch - 1, -2, 2_147_483_647):
                row = {"partition": 0, "currentLeaderEpoch": claimed, "leaderEpoch": asked}
                script.ask("OffsetForLeaderEpoch", version, replicaId=-1, topics=[{"topic": topic, "partitions": [row]}])


@scenario()
def epochs_of_what_is_not_there(script: Script) -> None:
    topic = script.topic("t", 1, retention_ms=-1)
    for version in script.versions("OffsetForLeaderEpoch"):
        for replica in (-1, -2, 5):
            rows = [{"partition": index, "currentLeaderEpoch": -1, "leaderEpoch": 0} for index in (0, 7, -1)]
            topics = [{"topic": topic, "partitions": rows}, {"topic": script.unique("missing"), "partitions": rows[:1]}]
            script.ask("OffsetForLeaderEpoch", version, replicaId=replica, topics=topics)
        script.ask("OffsetForLeaderEpoch", version, replicaId=-1, topics=[])


@scenario(7, 12, 13, 18)
def fetch_sessions(script: Script, version: int) -> None:
    topic = script.topic("t", 3, retention_ms=-1)
    script.produce(topic, [b"a"], 0, timestamps=[T0])
    at = {"version": version}
    first = fetch(script, topic, (0, 0), (1, 0), sessionEpoch=0, **at)
    session = first["sessionId"]
    fetch(script, topic, sessionId=session, sessionEpoch=1, **at)
    fetch(script, topic, (0, 1), sessionId=session, sessionEpoch=2, **at)
    # A partition that has nothing new is not told again.
    fetch(script, topic, sessionId=session, sessionEpoch=3, **at)
    for wrong in (3, 5, 9, -7, 2_147_483_647):
        fetch(script, topic, sessionId=session, sessionEpoch=wrong, **at)
    fetch(script, topic, (2, 0), (7, 0), sessionId=session, sessionEpoch=4, **at)
    name = {"topic": topic, "topicId": script.topic_id(topic) if version >= 13 else bytes(16)}
    fetch(script, topic, sessionId=session, sessionEpoch=5, forgottenTopicsData=[{**name, "partitions": [0, 7, 9]}], **at)
    script.produce(topic, [b"b"], 1, timestamps=[T0])
    script.produce(topic, [b"c"], 0, timestamps=[T0])
    fetch(script, topic, sessionId=session, sessionEpoch=6, **at)
    for unknown in (session + 1_000_003, 1, -1):
        for epoch in (1, 5):
            fetch(script, topic, sessionId=unknown, sessionEpoch=epoch, **at)
    fetch(script, topic, (0, 0), sessionId=0, sessionEpoch=1, **at)
    fetch(script, topic, (0, 1), sessionId=session, sessionEpoch=-1, **at)
    fetch(script, topic, sessionId=session, sessionEpoch=7, **at)
    fetch(script, topic, sessionId=0, sessionEpoch=0, **at)


@scenario()
def a_session_between_names_and_ids(script: Script) -> None:
    topic = script.topic("t", 1, retention_ms=-1)
    for one, other in ((12, 13), (13, 12)):
        session = fetch(script, topic, (0, 0), sessionEpoch=0, version=one)["sessionId"]
        fetch(script, topic, sessionId=session, sessionEpoch=1, version=other)
        fetch(script, topic, (0, 0), sessionId=session, sessionEpoch=1, version=other)
        fetch(script, topic, sessionId=session, sessionEpoch=2, version=one)


@scenario()
def a_session_over_a_deletion(script: Script) -> None:
    topic = script.topic("t", 1, retention_ms=-1)
    topic_id = script.topic_id(topic)
    for version in (12, 13):
        session = fetch(script, topic, (0, 0), sessionEpoch=0, version=version, topic_id=topic_id)["sessionId"]
        script.quietly("DeleteTopics", topics=[{"name": topic}], timeoutMs=15_000)
        script.await_topic(topic, 0)
        fetch(script, topic, sessionId=session, sessionEpoch=1, version=version)
        script.broker.create_topic(topic, 1)
        topic_id = script.topic_id(topic)
        fetch(script, topic, sessionId=session, sessionEpoch=2, version=version)
        fetch(script, topic, sessionId=session, sessionEpoch=3, version=version)


@scenario()
def an_unknown_id_in_a_session(script: Script) -> None:
    topic = script.topic("t", 1, retention_ms=-1)
    session = fetch(script, topic, (0, 0), sessionEpoch=0, version=13, topic_id=UNKNOWN_ID)["sessionId"]
    fetch(script, topic, sessionId=session, sessionEpoch=1, version=13)
    fetch(script, topic, (0, 0), sessionId=session, sessionEpoch=2, version=13)
    fetch(script, topic, sessionId=session, sessionEpoch=3, version=13)


# ---- offsets of records --------------------------------------------------------------------------------------------


def list_offsets(script: Script, topic: str, *rows: tuple[int, int], version: int, **fields) -> dict:
    parts = [{"partitionIndex": index, "timestamp": timestamp, "currentLeaderEpoch": -1} for index, timestamp in rows]
    return script.ask("ListOffsets", version, topics=[{"name": topic, "partitions": parts}], **{"replicaId": -1, **fields})


@scenario(*range(1, 12))
def offsets_listed(script: Script, version: int) -> None:
    topic = script.topic("t", 3, retention_ms=-1)
    script.produce(topic, [b"a", b"b"], timestamps=[T0, T0 + 100])
    script.produce(topic, [b"c"], timestamps=[T0 + 50])
    script.produce(topic, [b"d", b"e"], timestamps=[T0 + 300, T0 + 300])
    for timestamp in (-1, -2, -3, -4, -5, -6, -7, -100, -9_223_372_036_854_775_808, 0, T0, T0 + 1, T0 + 100, T0 + 101, T0 + 300, T0 + 301):
        list_offsets(script, topic, (0, timestamp), version=version)
        list_offsets(script, topic, (1, timestamp), version=version)
    list_offsets(script, topic, (0, -1), (7, -1), (-1, -1), version=version)
    list_offsets(script, script.unique("missing"), (0, -1), (0, -2), version=version)
    list_offsets(script, script.unique("missing"), (0, -6), version=version)
    list_offsets(script, topic, (0, -1), (0, -2), version=version)
    for isolation in (0, 1, 7):
        list_offsets(script, topic, (0, -1), version=version, isolationLevel=isolation)
    for replica in (-2, 5):
        list_offsets(script, topic, (0, -1), (0, -2), version=version, replicaId=replica)
    script.ask("ListOffsets", version, replicaId=-1, topics=[])


# ---- deletion of records -------------------------------------------------------------------------------------------


@scenario()
def records_deleted(script: Script) -> None:
    topic = script.topic("t", 2, retention_ms=-1)
    for value in (b"a", b"b", b"c", b"d"):
        script.produce(topic, [value, value], timestamps=[T0, T0])

    def delete(*rows: tuple[int, int], name: str = topic, version: int | None = None) -> None:
        parts = [{"partitionIndex": index, "offset": offset} for index, offset in rows]
        script.ask("DeleteRecords", version, topics=[{"name": name, "partitions": parts}], timeoutMs=5000)

    for version in script.versions("DeleteRecords"):
        delete((0, 9), version=version)
        delete((0, -2), version=version)
        delete((7, 0), (-1, 0), version=version)
        delete((0, 0), name=script.unique("missing"), version=version)
        delete((0, 0), version=version)
        delete(version=version)
    delete((0, 3))
    list_offsets(script, topic, (0, -2), version=7)
    # Whole batches are fetched, also of what is partly deleted.
    for offset in (0, 2, 3, 4):
        fetch(script, topic, (0, offset), version=12)
    delete((0, 2))
    delete((0, 5), (0, 6))
    delete((0, -1))
    list_offsets(script, topic, (0, -2), version=7)
    list_offsets(script, topic, (0, T0), version=7)
    delete((0, -1), (1, -1))
    delete((1, 1))
    script.produce(topic, [b"e"], timestamps=[T0])
    fetch(script, topic, (0, 8), version=12)


@scenario()
def a_request_without_an_answer(script: Script) -> None:
    """acks=0 has no answer, and what it sent is there."""
    topic = script.topic("t", 1, retention_ms=-1)
    silent = {"name": topic, "partitionData": [{"index": 0, "records": batch(b"silent")}]}
    script.send("Produce", 8, acks=0, timeoutMs=5000, topicData=[silent])

    def there() -> bool:
        return wire.list_offset(script.connection("other"), topic, 0, wire.LATEST).offset == 1

    await_until(there, "what was sent without an answer is there")
    fetch(script, topic, (0, 0), version=12, on="other")


@scenario("partition", "batch", "one of two")
def an_error_without_an_answer(script: Script, wrong: str) -> None:
    """What acks=0 brings no answer for closes the connection when it is refused; the rest of the request is stored."""
    topic = script.topic("t", 1, retention_ms=-1)
    rows = {
        "partition": [{"index": 7, "records": batch(b"lost")}],
        "batch": [{"index": 0, "records": batch(b"lost", crc=1)}],
        "one of two": [{"index": 0, "records": batch(b"kept")}, {"index": 7, "records": batch(b"lost")}],
    }[wrong]
    script.send("Produce", 8, acks=0, timeoutMs=5000, topicData=[{"name": topic, "partitionData": rows}]).result()
    list_offsets(script, topic, (0, -1), version=7, on="other")
