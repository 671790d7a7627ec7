"""Wrong record batches beside a right one: Kafka's error for that partition, nothing of it stored, the other one stored."""

import gzip
import time
from dataclasses import dataclass

import pytest

from harness import wire
from harness.wire import CONTROL, GZIP, LZ4, SNAPPY, TRANSACTIONAL, ZSTD, Batch

HOUR_MS = 3_600_000


@dataclass
class Case:
    name: str
    data: bytes
    # The errors that are right. Where Apache Kafka's own answer is not one to copy, `on_kafka` holds what it says.
    expected: set[str]
    on_kafka: set[str] | None = None
    # Apache Kafka parses all partitions before it looks at any: these fail the whole request there.
    fails_all_on_kafka: bool = False
    # Seen only by walking the records: Buslane does that with buslane.validation=strict.
    within_records: bool = False


INVALID, CORRUPT = {"INVALID_RECORD"}, {"CORRUPT_MESSAGE"}
# Bytes that are no batch at all: either name is right.
BROKEN = INVALID | CORRUPT
# A format that nobody knows (yet): Apache Kafka says CORRUPT_MESSAGE of the whole request.
UNKNOWN_FORMAT = CORRUPT | {"UNSUPPORTED_FOR_MESSAGE_FORMAT"}
UNREADABLE_ON_KAFKA = {"UNKNOWN_SERVER_ERROR"}


def cases() -> list[Case]:
    now = int(time.time() * 1000)
    pair = Batch(values=[b"a", b"b"])
    whole, records = pair.encode(), pair.encode_records()
    one_length = len(Batch().encode()) - 12
    return [
        Case("wrong CRC", Batch(crc=1).encode(), CORRUPT),
        Case("a bit flipped in a value", whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:], CORRUPT),
        # -- count and last offset delta disagree with each other
        Case("count above the delta", Batch(record_count=2).encode(), INVALID),
        Case("count below the delta", Batch(values=[b"a", b"b"], record_count=1).encode(), INVALID),
        Case("negative count", Batch(record_count=-1).encode(), INVALID),
        Case("no records", Batch(values=[], record_count=0, last_offset_delta=0).encode(), INVALID),
        Case("no records, delta -1", Batch(values=[]).encode(), INVALID),
        Case("delta above the count", Batch(last_offset_delta=5).encode(), INVALID),
        Case("negative delta", Batch(last_offset_delta=-1).encode(), INVALID),
        # -- count and delta agree and the records disagree
        Case("more promised than there", Batch(record_count=2, last_offset_delta=1).encode(), INVALID, within_records=True),
        Case(
            "fewer promised than there",
            Batch(values=[b"a", b"b"], record_count=1, last_offset_delta=0).encode(),
            INVALID,
            within_records=True,
        ),
        Case("a huge count", Batch(record_count=2**31 - 1, last_offset_delta=2**31 - 2).encode(), INVALID, within_records=True),
        Case(
            "a record longer than the batch",
            Batch(records=b"\x7e" + records[1:], values=[b"a", b"b"]).encode(),
            INVALID,
            within_records=True,
        ),
        Case("bytes behind the records", Batch(records=records + b"\0\0", values=[b"a", b"b"]).encode(), INVALID, within_records=True),
        Case("records of rubbish", Batch(records=b"\xff" * 50).encode(), BROKEN, UNREADABLE_ON_KAFKA, within_records=True),
        # -- sizes
        Case("length beyond the data", Batch(batch_length=10_000).encode(), BROKEN),
        Case("length below a header", Batch(batch_length=30).encode(), BROKEN),
        Case("length three short", Batch(batch_length=one_length - 3).encode(), BROKEN),
        Case("negative length", Batch(batch_length=-5).encode(), BROKEN, fails_all_on_kafka=True),
        Case("the longest length", Batch(batch_length=2**31 - 1).encode(), BROKEN, UNREADABLE_ON_KAFKA, fails_all_on_kafka=True),
        Case("cut in the records", whole[:-3], BROKEN),
        Case("cut in the header", whole[:60], BROKEN),
        Case("cut before the magic", whole[:10], BROKEN),
        Case("two batches", whole + whole, INVALID),
        Case("empty", b"", BROKEN),
        Case("zeros", bytes(200), UNKNOWN_FORMAT, fails_all_on_kafka=True),
        Case("counting bytes", bytes(range(200)), UNKNOWN_FORMAT, fails_all_on_kafka=True),
        # -- timestamps
        Case("two hours ahead", Batch(timestamp=now + 2 * HOUR_MS).encode(), {"INVALID_TIMESTAMP"}),
        Case("one record two hours ahead", Batch(values=[b"a", b"b"], timestamps=[now, now + 2 * HOUR_MS]).encode(), {"INVALID_TIMESTAMP"}),
        # -- compression
        Case("codec 5", Batch(attributes=5).encode(), BROKEN | {"UNSUPPORTED_COMPRESSION_TYPE"}, UNREADABLE_ON_KAFKA),
        Case("codec 7", Batch(attributes=7).encode(), BROKEN | {"UNSUPPORTED_COMPRESSION_TYPE"}, UNREADABLE_ON_KAFKA),
        Case(
            "rubbish as gzip", Batch(attributes=GZIP, records=b"not gzip at all").encode(), BROKEN, UNREADABLE_ON_KAFKA, within_records=True
        ),
        Case("rubbish as snappy", Batch(attributes=SNAPPY, records=b"\xff" * 6).encode(), BROKEN, UNREADABLE_ON_KAFKA, within_records=True),
        Case("rubbish as lz4", Batch(attributes=LZ4, records=b"not lz4 at all").encode(), BROKEN, UNREADABLE_ON_KAFKA, within_records=True),
        Case(
            "rubbish as zstd", Batch(attributes=ZSTD, records=b"not zstd at all").encode(), BROKEN, UNREADABLE_ON_KAFKA, within_records=True
        ),
        Case(
            "cut gzip",
            Batch(attributes=GZIP, records=gzip.compress(records)[:-10], values=[b"a", b"b"]).encode(),
            BROKEN,
            UNREADABLE_ON_KAFKA,
            within_records=True,
        ),
        # -- formats and flags
        Case("format 0", wire.old_message_set(0), INVALID | {"UNSUPPORTED_FOR_MESSAGE_FORMAT"}),
        Case("format 1", wire.old_message_set(1), INVALID | {"UNSUPPORTED_FOR_MESSAGE_FORMAT"}),
        Case("format 3", Batch(magic=3).encode(), UNKNOWN_FORMAT, fails_all_on_kafka=True),
        Case("format -1", Batch(magic=-1).encode(), UNKNOWN_FORMAT, fails_all_on_kafka=True),
        Case("control batch", Batch(attributes=CONTROL).encode(), INVALID),
        Case("control batch of a producer", Batch(attributes=CONTROL, producer_id=7, producer_epoch=0, base_sequence=0).encode(), INVALID),
        Case(
            "transactional without a transactional id",
            Batch(attributes=TRANSACTIONAL, producer_id=7, producer_epoch=0, base_sequence=0).encode(),
            INVALID | {"INVALID_TXN_STATE", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"},
            {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED"},
            fails_all_on_kafka=True,
        ),
        Case("base offset 55", Batch(base_offset=55).encode(), INVALID),
    ]


CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_a_bad_batch_is_refused_alone(broker, kind, topic, case):
    strict = {"buslane_validation": "strict"} if case.within_records and kind == "buslane" else {}
    broker.create_topic(topic, 3, **strict)
    good = Batch(values=[b"good", b"too"]).encode()
    with broker.connect() as connection:
        answered = wire.produce(connection, {(topic, 0): good, (topic, 1): case.data, (topic, 2): good})
        expected = (case.on_kafka if kind == "kafka" else None) or case.expected
        assert answered[topic, 1].name in expected, answered[topic, 1]
        assert answered[topic, 1].base_offset == -1
        assert wire.list_offset(connection, topic, 1, wire.LATEST).offset == 0
        if kind == "kafka" and case.fails_all_on_kafka:
            return
        for partition in (0, 2):
            assert (answered[topic, partition].name, answered[topic, partition].base_offset) == ("NONE", 0)
            assert wire.list_offset(connection, topic, partition, wire.LATEST).offset == 2
        # The partition is none the worse for it.
        assert wire.produce(connection, {(topic, 1): good})[topic, 1].base_offset == 0
        assert wire.fetch(connection, {(topic, 1): 0}).partitions[topic, 1].batches[0].values == [b"good", b"too"]


def test_an_old_timestamp_is_fine_unless_the_topic_limits_it(broker, topic):
    broker.create_topic(topic)
    limited = topic + "-limited"
    broker.create_topic(limited, message_timestamp_before_max_ms=HOUR_MS)
    old = Batch(timestamp=int(time.time() * 1000) - 2 * HOUR_MS).encode()
    with broker.connect() as connection:
        assert wire.produce(connection, {(topic, 0): old})[topic, 0].name == "NONE"
        assert wire.produce(connection, {(limited, 0): old})[limited, 0].name == "INVALID_TIMESTAMP"
        assert wire.list_offset(connection, limited, 0, wire.LATEST).offset == 0


def test_an_unset_max_timestamp_is_computed(broker, topic):
    """Some clients leave it -1; stored so, a search by time would never find the batch."""
    broker.create_topic(topic)
    now = int(time.time() * 1000)
    stamps = [now - 50, now - 10, now - 30]
    with broker.connect() as connection:
        batch = Batch(values=[b"a", b"b", b"c"], timestamps=stamps, max_timestamp=-1).encode()
        assert wire.produce(connection, {(topic, 0): batch})[topic, 0].name == "NONE"
        stored = wire.fetch(connection, {(topic, 0): 0}).partitions[topic, 0].batches[0]
        assert stored.max_timestamp == now - 10 and stored.crc_is_right
        assert wire.list_offset(connection, topic, 0, now - 20).offset == 1


@pytest.mark.parametrize("max_timestamp", ["too high", "too low"])
def test_a_false_max_timestamp_does_not_reach_the_log(broker, kind, topic, max_timestamp):
    """Put right (as Apache Kafka does) or refused; under Buslane's relaxed validation it is among the documented gaps."""
    broker.create_topic(topic, **({"buslane_validation": "strict"} if kind == "buslane" else {}))
    now = int(time.time() * 1000)
    lie = now + (10_000 if max_timestamp == "too high" else -10_000)
    with broker.connect() as connection:
        answered = wire.produce(connection, {(topic, 0): Batch(timestamp=now, max_timestamp=lie).encode()})[topic, 0]
        if answered.name == "NONE":
            stored = wire.fetch(connection, {(topic, 0): 0}).partitions[topic, 0].batches[0]
            assert stored.max_timestamp == now and stored.crc_is_right
        else:
            assert answered.name in ("INVALID_RECORD", "INVALID_TIMESTAMP")
            assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 0


def test_the_offset_and_epoch_that_a_producer_writes_are_replaced(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        for expected in (0, 1):
            assert wire.produce(connection, {(topic, 0): Batch(leader_epoch=99).encode()})[topic, 0].base_offset == expected
        batches = wire.fetch(connection, {(topic, 0): 0}).partitions[topic, 0].batches
    assert [b.base_offset for b in batches] == [0, 1]
    assert {b.leader_epoch for b in batches} != {99} and all(b.crc_is_right for b in batches)


def test_zstd_in_a_request_older_than_zstd_is_refused(broker, topic):
    broker.create_topic(topic)
    body = wire.produce_body({(topic, 0): Batch(attributes=ZSTD, records=b"x").encode()})
    with broker.connect() as connection:
        reader = connection.request(wire.PRODUCE, 3, body)
        reader.i32(), reader.string(), reader.i32(), reader.i32()
        assert wire.error_name(reader.i16()) == "UNSUPPORTED_COMPRESSION_TYPE"
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 0


@pytest.mark.parametrize("acks", [2, -2, 100])
def test_other_acks_than_kafkas_are_refused(broker, topic, acks):
    broker.create_topic(topic)
    with broker.connect() as connection:
        assert wire.produce(connection, {(topic, 0): Batch().encode()}, acks=acks)[topic, 0].name == "INVALID_REQUIRED_ACKS"
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 0


def test_unknown_topics_and_partitions_do_not_spoil_the_known(broker, topic):
    broker.create_topic(topic)
    batch = Batch().encode()
    with broker.connect() as connection:
        answered = wire.produce(connection, {(topic, 0): batch, (topic, 9): batch, (topic, -1): batch, (topic + "-unknown", 0): batch})
    assert {where[1]: result.name for where, result in answered.items() if where[0] == topic} == {
        0: "NONE",
        9: "UNKNOWN_TOPIC_OR_PARTITION",
        -1: "UNKNOWN_TOPIC_OR_PARTITION",
    }
    assert answered[topic + "-unknown", 0].name == "UNKNOWN_TOPIC_OR_PARTITION"
