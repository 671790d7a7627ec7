"""What goes from the log by itself, and whose clock stamps a record."""

import time

import pytest

from harness import wire
from harness.broker import await_until
from harness.clients import ALL, CONSUMERS, EARLIEST
from harness.records import Record

SEGMENT_BYTES = 1_048_576  # the least that Apache Kafka accepts since 4.0 (KIP-1030)


def fill(broker, topic: str, megabytes: int, timestamp: int | None = None) -> None:
    """About a megabyte for each batch of the count asked, so that segments roll."""
    stamp = {} if timestamp is None else {"timestamp": timestamp}
    with broker.connect() as connection:
        for _ in range(megabytes * 2):
            batch = wire.Batch(values=[b"x" * 500_000], **stamp).encode()
            assert wire.produce(connection, {(topic, 0): batch})[topic, 0].error == 0


def bounds(broker, topic: str) -> tuple[int, int]:
    with broker.connect() as connection:
        return tuple(wire.list_offset(connection, topic, 0, end).offset for end in (wire.EARLIEST, wire.LATEST))


def test_old_segments_go_when_the_partition_is_larger_than_its_retention(broker, topic):
    broker.create_topic(topic, segment_bytes=SEGMENT_BYTES, retention_bytes=2 * SEGMENT_BYTES)
    fill(broker, topic, 6)
    earliest = await_until(lambda: bounds(broker, topic)[0], "the log start moves", deadline_s=60, every_s=0.2)
    await_until(lambda: bounds(broker, topic)[0] >= 6, "the log start moves on", deadline_s=60, every_s=0.2)
    earliest, latest = bounds(broker, topic)
    assert latest == 12 and earliest < 12
    with broker.connect() as connection:
        gone = wire.fetch(connection, {(topic, 0): 0}).partitions[topic, 0]
        assert wire.error_name(gone.error) == "OFFSET_OUT_OF_RANGE"
    received = ALL["confluent"].consume(broker.bootstrap, topic, 0, EARLIEST, latest - earliest)
    assert [r.offset for r in received] == list(range(earliest, latest))


def test_segments_go_when_their_newest_record_is_older_than_the_retention(broker, topic):
    broker.create_topic(topic, segment_bytes=SEGMENT_BYTES, retention_ms=3_600_000)
    fill(broker, topic, 3, timestamp=int(time.time() * 1000) - 7_200_000)
    with broker.connect() as connection:
        fresh = wire.produce(connection, {(topic, 0): wire.Batch(values=[b"fresh"] * 3).encode()})[topic, 0]
        assert fresh.error == 0
    # The segment with the fresh record stays; the older ones go, the newest record in them being too old.
    await_until(lambda: bounds(broker, topic)[0] >= 4, "old segments go", deadline_s=60, every_s=0.2)
    earliest, latest = bounds(broker, topic)
    assert latest == 9 and earliest <= 6
    received = ALL["java"].consume(broker.bootstrap, topic, 0, EARLIEST, latest - earliest)
    assert [r.value for r in received][-3:] == [b"fresh"] * 3


def test_segments_whose_records_have_no_timestamps_go_by_the_time_they_were_written(broker, topic):
    broker.create_topic(topic, segment_bytes=SEGMENT_BYTES, retention_ms=3_000)
    fill(broker, topic, 3, timestamp=-1)
    with broker.connect() as connection:
        batches = wire.fetch(connection, {(topic, 0): 0}).partitions[topic, 0].batches
        assert {(b.base_timestamp, b.max_timestamp) for b in batches} == {(-1, -1)}
    await_until(lambda: bounds(broker, topic)[0] >= 4, "old segments go", deadline_s=60, every_s=0.2)
    assert bounds(broker, topic)[1] == 6


def test_a_consumer_left_behind_by_retention_goes_on_at_the_log_start(broker, topic):
    broker.create_topic(topic, segment_bytes=SEGMENT_BYTES, retention_bytes=SEGMENT_BYTES)
    fill(broker, topic, 4)
    await_until(lambda: bounds(broker, topic)[0] > 0, "the log start moves", deadline_s=60, every_s=0.2)
    for consumer in ("confluent", "java"):
        received = ALL[consumer].consume(broker.bootstrap, topic, 0, 0, 1, **{"auto.offset.reset": "earliest"})
        assert received[0].offset > 0


# ---- timestamps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_log_append_time_replaces_the_producers_timestamps(broker, topic, codec):
    broker.create_topic(topic, message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    sent = [Record(b"%d" % i, b"value" * 50, (), timestamp=1_000_000 + i) for i in range(20)]
    ALL["java"].produce(broker.bootstrap, topic, 0, sent, codec)
    after = int(time.time() * 1000)
    for consumer in CONSUMERS:
        received = ALL[consumer].consume(broker.bootstrap, topic, 0, EARLIEST, 20)
        assert len(received) == 20
        assert all(before - 5 <= r.timestamp <= after + 5 for r in received), consumer
        assert {r.timestamp_type for r in received} <= {"LogAppendTime", None}, consumer
    with broker.connect() as connection:
        batches = wire.fetch(connection, {(topic, 0): 0}).partitions[topic, 0].batches
        assert batches and all(b.crc_is_right and b.attributes & wire.LOG_APPEND_TIME for b in batches)
        assert all(before - 5 <= b.max_timestamp <= after + 5 for b in batches)
        # A search by time goes by the broker's stamps, not by the producer's.
        found = wire.list_offset(connection, topic, 0, before - 5)
        assert (found.offset, found.timestamp >= before - 5) == (0, True)
        assert wire.list_offset(connection, topic, 0, after + 10_000).offset == -1


def test_the_append_time_is_told_to_the_producer(broker, topic):
    broker.create_topic(topic, message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    with broker.connect() as connection:
        result = wire.produce(connection, {(topic, 0): wire.Batch(timestamp=5).encode()})[topic, 0]
    assert before - 5 <= result.log_append_time <= int(time.time() * 1000) + 5


def test_create_time_tells_no_append_time(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        assert wire.produce(connection, {(topic, 0): wire.Batch().encode()})[topic, 0].log_append_time == -1
