"""Where a consumer may start: any offset (in the middle of a batch too), either end, a timestamp; and how much it asks for."""

import threading
import time

import pytest

from harness import wire
from harness.broker import await_until
from harness.clients import ALL, CONSUMERS, EARLIEST, LATEST, ClientError
from harness.clients.confluent import open_consumer, read
from harness.records import Record

TIME_CONSUMERS = [name for name in CONSUMERS if name != "kcat"]  # kcat only prints what it then consumes


@pytest.fixture(scope="module")
def hundred(broker) -> tuple[str, list[int]]:
    """A topic with 100 records in batches of 10, and their timestamps: not monotone, each ten reaching 1 s further."""
    topic = "positions"
    broker.create_topic(topic)
    base = int(time.time() * 1000) - 3_600_000
    stamps = [base + 1000 * (i // 10) + (i * 37) % 900 for i in range(100)]
    # One record far ahead of its neighbours: everything after it is "late".
    stamps[42] = base + 30_000
    with broker.connect() as connection:
        for first in range(0, 100, 10):
            batch = wire.Batch(values=[b"value-%d" % i for i in range(first, first + 10)], timestamps=stamps[first : first + 10])
            assert wire.produce(connection, {(topic, 0): batch.encode()})[topic, 0].base_offset == first
    return topic, stamps


@pytest.mark.parametrize("consumer", CONSUMERS)
@pytest.mark.parametrize("start", [0, 10, 15, 19, 20, 99])
def test_reading_starts_exactly_at_the_asked_offset(broker, hundred, consumer, start):
    count = min(25, 100 - start)
    received = ALL[consumer].consume(broker.bootstrap, hundred[0], 0, start, count)
    assert [(r.offset, r.value) for r in received[:count]] == [(i, b"value-%d" % i) for i in range(start, start + count)]


def test_a_fetch_in_the_middle_of_a_batch_returns_the_whole_batch(broker, hundred):
    topic, _ = hundred
    with broker.connect() as connection:
        for offset in (11, 15, 19):
            found = wire.fetch(connection, {(topic, 0): offset}).partitions[topic, 0]
            assert found.batches[0].base_offset == 10
            assert found.batches[-1].last_offset == 99


def test_the_ends_are_told(broker, hundred):
    topic, stamps = hundred
    with broker.connect() as connection:
        assert wire.list_offset(connection, topic, 0, wire.EARLIEST).offset == 0
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 100
        newest = wire.list_offset(connection, topic, 0, wire.MAX_TIMESTAMP)
        assert (newest.offset, newest.timestamp) == (42, stamps[42])
        found = wire.fetch(connection, {(topic, 0): 50}).partitions[topic, 0]
        assert (found.high_watermark, found.last_stable_offset, found.log_start_offset) == (100, 100, 0)


def test_the_java_admin_finds_the_ends_and_the_newest_timestamp(broker, hundred):
    topic, stamps = hundred
    offsets = {
        spec: ALL["java"].admin(broker.bootstrap, "list-offsets", topic=topic, partition=0, spec=spec)
        for spec in ("earliest", "latest", "max-timestamp")
    }
    assert [offsets[spec]["offset"] for spec in ("earliest", "latest", "max-timestamp")] == [0, 100, 42]
    assert offsets["max-timestamp"]["timestamp"] == stamps[42]


def test_an_empty_partition_has_no_newest_timestamp(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        found = wire.list_offset(connection, topic, 0, wire.MAX_TIMESTAMP)
        assert (found.error, found.offset, found.timestamp) == (0, -1, -1)


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_latest_waits_for_what_comes(broker, topic, consumer):
    """A consumer at the end sees the next record and none before it."""
    broker.create_topic(topic)
    ALL["confluent"].produce(broker.bootstrap, topic, 0, [Record(None, b"before")])
    received = []
    reader = threading.Thread(target=lambda: received.extend(ALL[consumer].consume(broker.bootstrap, topic, 0, LATEST, 1, deadline_s=20)))
    reader.start()
    # When exactly a client has found the end is not to be seen from here: records go on coming until one arrives.
    sent = 0
    while reader.is_alive():
        sent += 1
        ALL["confluent"].produce(broker.bootstrap, topic, 0, [Record(None, b"after-%d" % sent)])
        reader.join(0.3)
        assert sent < 60
    assert received and received[0].value.startswith(b"after-")


def first_at_or_after(stamps: list[int], timestamp: int) -> int | None:
    return next((i for i, stamp in enumerate(stamps) if stamp >= timestamp), None)


@pytest.mark.parametrize("consumer", TIME_CONSUMERS)
def test_a_timestamp_finds_the_first_offset_at_or_after_it(broker, hundred, consumer):
    topic, stamps = hundred
    asked = [0, stamps[0], stamps[0] + 1, stamps[15], stamps[33] + 1, stamps[42], stamps[41] + 1, stamps[42] + 1, stamps[42] + 3_600_000]
    found = ALL[consumer].offsets_for_times(broker.bootstrap, topic, 0, asked)
    assert found == {timestamp: first_at_or_after(stamps, timestamp) for timestamp in asked}


def test_every_timestamp_finds_the_first_offset_at_or_after_it(broker, hundred):
    topic, stamps = hundred
    with broker.connect() as connection:
        for timestamp in sorted({stamp + step for stamp in stamps for step in (-1, 0, 1)}):
            found = wire.list_offset(connection, topic, 0, timestamp)
            expected = first_at_or_after(stamps, timestamp)
            if expected is None:
                assert (found.error, found.offset, found.timestamp) == (0, -1, -1)
            else:
                assert (found.error, found.offset, found.timestamp) == (0, expected, stamps[expected])


@pytest.mark.parametrize("offset", [-1, 101, 1_000_000])
def test_an_offset_outside_the_log_is_out_of_range(broker, hundred, offset):
    topic, _ = hundred
    with broker.connect() as connection:
        found = wire.fetch(connection, {(topic, 0): offset}).partitions[topic, 0]
        assert wire.error_name(found.error) == "OFFSET_OUT_OF_RANGE"
        assert found.batches == []


def test_reading_at_the_end_is_empty_and_no_error(broker, hundred):
    topic, _ = hundred
    with broker.connect() as connection:
        found = wire.fetch(connection, {(topic, 0): 100}, max_wait_ms=10).partitions[topic, 0]
        assert (found.error, found.data) == (0, b"")


# ---- sizes --------------------------------------------------------------------------------------------------------


def test_the_first_batch_is_returned_even_when_larger_than_asked(broker, topic):
    """KIP-74: else a consumer with small buffers would hang for ever."""
    broker.create_topic(topic, 2)
    batches = [wire.Batch(values=[bytes([97 + i]) * 5000]).encode() for i in range(3)]
    with broker.connect() as connection:
        for batch in batches:
            wire.produce(connection, {(topic, 0): batch, (topic, 1): batch})
        both = {(topic, 0): 0, (topic, 1): 0}
        found = wire.fetch(connection, both, max_bytes=100).partitions
        assert sorted(len(p.batches) for p in found.values()) == [0, 1]
        found = wire.fetch(connection, {(topic, 0): 1}, partition_max_bytes=1).partitions[topic, 0]
        assert [b.base_offset for b in found.batches] == [1]
        # A partition's own limit holds once something is in the response.
        found = wire.fetch(connection, {(topic, 0): 0}, partition_max_bytes=12_000).partitions[topic, 0]
        assert [b.base_offset for b in found.batches] == [0, 1]


@pytest.mark.parametrize(
    ("consumer", "config"),
    [
        ("confluent", {"fetch.message.max.bytes": 1000}),
        ("kcat", {"fetch.message.max.bytes": 1000}),
        ("aiokafka", {"max_partition_fetch_bytes": 1000, "fetch_max_bytes": 1000}),
        ("kafka-python", {"max_partition_fetch_bytes": 1000, "fetch_max_bytes": 1000}),
        ("java", {"max.partition.fetch.bytes": "1000", "fetch.max.bytes": "1000"}),
    ],
)
def test_a_consumer_with_buffers_smaller_than_a_batch_still_reads_all(broker, topic, consumer, config):
    broker.create_topic(topic)
    records = [Record(b"%d" % i, bytes([97 + i % 26]) * 700) for i in range(30)]
    ALL["java"].produce(broker.bootstrap, topic, 0, records)
    received = ALL[consumer].consume(broker.bootstrap, topic, 0, EARLIEST, 30, **config)
    assert [r.value for r in received] == [r.value for r in records]


# ---- long poll ----------------------------------------------------------------------------------------------------


def test_a_waiting_fetch_wakes_when_something_is_produced(broker, topic):
    broker.create_topic(topic)
    batch = wire.Batch(values=[b"wake up"]).encode()
    delays = []
    with broker.connect() as producer, broker.connect(timeout=20) as consumer:
        for offset in range(5):
            consumer.send(wire.FETCH, 11, wire.fetch_body({(topic, 0): offset}, max_wait_ms=15_000))
            time.sleep(0.3)  # the fetch has to be waiting in the broker; nothing tells when it is
            assert wire.produce(producer, {(topic, 0): batch})[topic, 0].error == 0
            produced_at = time.monotonic()
            _, payload = consumer.receive()
            delays.append(time.monotonic() - produced_at)
            assert wire.parse_fetch(wire.Reader(payload)).partitions[topic, 0].batches[0].base_offset == offset
    assert sorted(delays)[2] < 0.2, delays


def test_a_fetch_waits_its_whole_time_when_nothing_comes(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        began = time.monotonic()
        found = wire.fetch(connection, {(topic, 0): 0}, max_wait_ms=700)
        waited = time.monotonic() - began
        assert found.partitions[topic, 0].data == b""
        assert 0.65 <= waited < 2.5


def test_a_fetch_waits_for_its_minimum_of_bytes(broker, topic):
    broker.create_topic(topic)
    batch = wire.Batch(values=[b"x" * 500]).encode()
    with broker.connect() as producer, broker.connect(timeout=20) as consumer:
        consumer.send(wire.FETCH, 11, wire.fetch_body({(topic, 0): 0}, max_wait_ms=15_000, min_bytes=3 * len(batch)))
        for _ in range(3):
            consumer.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                consumer.receive()
            wire.produce(producer, {(topic, 0): batch})
        consumer.socket.settimeout(5)
        _, payload = consumer.receive()
        assert len(wire.parse_fetch(wire.Reader(payload)).partitions[topic, 0].batches) == 3


def test_a_tailing_client_sees_a_record_promptly(broker, topic):
    """The median over a real consumer with its default waits."""
    broker.create_topic(topic)
    consumer = open_consumer(broker.bootstrap, topic, 0, EARLIEST)
    try:
        with broker.connect() as connection:
            wire.produce(connection, {(topic, 0): wire.Batch(values=[b"warm-up"]).encode()})
            assert len(read(consumer, 1, 20)) == 1
            delays = []
            for i in range(9):
                time.sleep(0.05)
                wire.produce(connection, {(topic, 0): wire.Batch(values=[b"%d" % i]).encode()})
                produced_at = time.monotonic()
                assert [r.value for r in read(consumer, 1, 10)] == [b"%d" % i]
                delays.append(time.monotonic() - produced_at)
    finally:
        consumer.close()
    assert sorted(delays)[4] < 0.2, delays


# ---- leader epochs ------------------------------------------------------------------------------------------------


def test_leader_epochs_agree_everywhere(broker, topic):
    """What Metadata, the stored batches, ListOffsets and OffsetForLeaderEpoch say must be one story."""
    broker.create_topic(topic)
    with broker.connect() as connection:
        wire.produce(connection, {(topic, 0): wire.Batch(values=[b"a", b"b"]).encode()})
        _, _, epoch = wire.metadata(connection, [topic])[topic].partitions[0]
        assert epoch >= 0
        batch = wire.fetch(connection, {(topic, 0): 0}).partitions[topic, 0].batches[0]
        assert batch.leader_epoch == epoch
        for timestamp in (wire.EARLIEST, wire.LATEST, batch.base_timestamp):
            assert wire.list_offset(connection, topic, 0, timestamp).leader_epoch == epoch
        assert wire.offset_for_leader_epoch(connection, topic, 0, epoch, epoch) == (0, epoch, 2)
        assert wire.offset_for_leader_epoch(connection, topic, 0, epoch + 5) == (0, -1, -1)


def test_an_unknown_leader_epoch_is_refused(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        _, _, epoch = wire.metadata(connection, [topic])[topic].partitions[0]
        ahead = wire.fetch(connection, {(topic, 0): 0}, leader_epoch=epoch + 1).partitions[topic, 0]
        assert wire.error_name(ahead.error) == "UNKNOWN_LEADER_EPOCH"
        assert wire.error_name(wire.list_offset(connection, topic, 0, wire.LATEST, epoch + 1).error) == "UNKNOWN_LEADER_EPOCH"
        assert wire.error_name(wire.offset_for_leader_epoch(connection, topic, 0, epoch, epoch + 1)[0]) == "UNKNOWN_LEADER_EPOCH"


def test_an_outdated_leader_epoch_is_fenced_and_the_java_consumer_goes_on(new_broker, topic):
    """After a restart the epoch is higher: a consumer that still holds the old one finds its way without losing its place."""
    broker = new_broker().start()
    java = ALL["java"]
    broker.create_topic(topic)
    java.produce(broker.bootstrap, topic, 0, [Record(None, b"%d" % i) for i in range(10)])
    with broker.connect() as connection:
        _, _, before = wire.metadata(connection, [topic])[topic].partitions[0]
    java.driver.ask("tail-open", bootstrap=broker.bootstrap, name=topic, topic=topic, partition=0, start="earliest")
    rows = java.driver.ask("tail-poll", name=topic, count=10, deadline_ms=10_000)
    assert len(rows) == 10
    broker.kill()
    broker.start()
    with broker.connect() as connection:
        await_until(lambda: wire.list_offset(connection, topic, 0, wire.LATEST).error == 0, "the partition is led again")
        _, _, after = wire.metadata(connection, [topic])[topic].partitions[0]
        assert after > before
        old = wire.fetch(connection, {(topic, 0): 0}, leader_epoch=before).partitions[topic, 0]
        assert wire.error_name(old.error) == "FENCED_LEADER_EPOCH"
        assert wire.offset_for_leader_epoch(connection, topic, 0, before, after) == (0, before, 10)
    java.produce(broker.bootstrap, topic, 0, [Record(None, b"%d" % i) for i in range(10, 20)])
    rows = java.driver.ask("tail-poll", name=topic, count=10, deadline_ms=20_000)
    java.driver.ask("tail-close", name=topic)
    assert [row["offset"] for row in rows] == list(range(10, 20))
    assert {row["leader_epoch"] for row in rows} == {after}
    broker.stop()


def test_reading_below_the_log_start_is_an_error_or_a_reset_as_the_client_chose(broker, topic):
    broker.create_topic(topic)
    ALL["java"].produce(broker.bootstrap, topic, 0, [Record(None, b"%d" % i) for i in range(20)])
    with broker.connect() as connection:
        assert wire.delete_records(connection, topic, 0, 12) == (0, 12)
    with pytest.raises(ClientError) as refused:
        ALL["java"].consume(broker.bootstrap, topic, 0, 3, 1)
    assert refused.value.kind == "OffsetOutOfRangeException"
    received = ALL["java"].consume(broker.bootstrap, topic, 0, 3, 8, **{"auto.offset.reset": "earliest"})
    assert [r.offset for r in received] == list(range(12, 20))
