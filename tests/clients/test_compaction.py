"""Compacted topics: the newest record of each key stays, what is deleted stays deleted, offsets never change."""

import functools
import itertools
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from harness import wire
from harness.broker import await_until
from harness.clients import ALL, CONSUMERS, EARLIEST
from harness.groups import OFFSET_FETCH, Member, coordinator_is_ready
from harness.records import Record

SEGMENT_BYTES = 1_048_576  # the least that Apache Kafka accepts since 4.0 (KIP-1030)
KEYS = 20

# Both brokers look for work all the time, and find it in the smallest share of dirt.
QUICK = {
    "kafka": {"log.cleaner.backoff.ms": 300},
    "buslane": {"compaction.check": "300ms"},
}
COMPACTED = {"cleanup_policy": "compact", "segment_bytes": SEGMENT_BYTES, "min_cleanable_dirty_ratio": "0.001"}


@pytest.fixture(scope="module")
def broker(new_broker):
    made = new_broker(QUICK).start()
    yield made
    made.stop()


def keyed(number: int, value: bytes | None = None) -> Record:
    return Record(b"key-%d" % (number % KEYS), value or b"%d" % number, (), timestamp=1_700_000_000_000 + number)


def roll(broker, topic: str, times: int = 1) -> None:
    """Writes as much under one key as it takes to seal what is there."""
    with broker.connect() as connection:
        for _ in range(3 * times):
            batch = wire.Batch(keys=[b"large"], values=[b"x" * 500_000]).encode()
            assert wire.produce(connection, {(topic, 0): batch})[topic, 0].error == 0


def records(broker, topic: str) -> dict[int, tuple[bytes | None, bytes | None]]:
    """Everything that there is, by offset, up to the end of the partition."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "none", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = {}
    try:
        while True:
            message = consumer.poll(20)
            assert message is not None, "the end of the partition is told"
            if message.error() is None:
                found[message.offset()] = (message.key(), message.value())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                return found
            else:
                raise KafkaException(message.error())
    finally:
        consumer.close()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_the_newest_record_of_each_key_stays_at_its_offset(broker, topic, codec):
    broker.create_topic(topic, **COMPACTED)
    count = 5 * KEYS
    ALL["java"].produce(broker.bootstrap, topic, 0, [keyed(n) for n in range(count)], codec)
    roll(broker, topic)
    expected = list(range(count - KEYS, count))
    await_until(lambda: [o for o in records(broker, topic) if o < count] == expected, "older records go", deadline_s=60, every_s=0.3)
    for consumer in CONSUMERS:
        received = ALL[consumer].consume(broker.bootstrap, topic, 0, EARLIEST, KEYS)[:KEYS]
        assert [(r.offset, r.key, r.value) for r in received] == [(n, keyed(n).key, keyed(n).value) for n in expected], consumer


def test_a_record_without_a_key_is_refused_and_named(broker, topic):
    broker.create_topic(topic, cleanup_policy="compact")
    with broker.connect() as connection:
        batch = wire.Batch(keys=[b"a", None, b"b", None], values=[b"1", b"2", b"3", b"4"]).encode()
        refused = wire.produce(connection, {(topic, 0): batch})[topic, 0]
        assert (refused.name, refused.record_errors) == ("INVALID_RECORD", [1, 3])
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 0


def test_a_tombstone_deletes_and_goes_itself_after_its_retention(broker, topic):
    broker.create_topic(topic, **COMPACTED, delete_retention_ms=1_000)
    ALL["java"].produce(broker.bootstrap, topic, 0, [keyed(0), keyed(1)], "none")
    ALL["java"].produce(broker.bootstrap, topic, 0, [Record(keyed(0).key, None, (), timestamp=1_700_000_000_002)], "none")
    roll(broker, topic)
    deleted = keyed(0).key
    await_until(lambda: 0 not in records(broker, topic), "the value goes", deadline_s=60, every_s=0.3)

    def gone() -> bool:
        # Dirt, so that there is another pass.
        roll(broker, topic)
        return deleted not in [key for key, _ in records(broker, topic).values()]

    await_until(gone, "the tombstone goes", deadline_s=60, every_s=0.5)
    assert records(broker, topic)[1] == (keyed(1).key, keyed(1).value)


@pytest.mark.parametrize("isolation", ["read_uncommitted", "read_committed"])
def test_who_reads_until_its_position_is_the_end_gets_there_whatever_was_removed(broker, topic, isolation):
    """The last records of each segment are tombstones, which go: nothing is left of whole segments but where they ended."""
    broker.create_topic(topic, **COMPACTED, delete_retention_ms=100, segment_ms=500)
    produce = functools.partial(ALL["java"].produce, broker.bootstrap, topic, 0)
    looks, last = 0, 0

    def read() -> list[Record]:
        nonlocal looks
        end, position, found = ALL["java"].read_to_end(broker.bootstrap, topic, 0, **{"isolation.level": isolation})
        assert position == end and [r.offset for r in found] == sorted({r.offset for r in found})
        looks += 1
        return found

    def removed() -> bool:
        # Something new, so that the segments roll and there is dirt; it has no value either.
        nonlocal last
        time.sleep(0.3)
        last = produce([Record(b"pulse", None, (), timestamp=1_700_000_000_000)], "none")[-1]
        return {r.key for r in read()} <= {b"pulse"}

    for _ in range(2):
        produce([keyed(n) for n in range(KEYS)], "none")
        read()
        produce([Record(keyed(n).key, None, (), timestamp=1_700_000_000_000) for n in range(KEYS)], "none")
        assert len(read()) >= 2
        await_until(removed, "all keys and their tombstones go", deadline_s=60, every_s=0.2)
    assert looks > 6
    assert read()[-1].offset == last, "the last record of all is there"


def test_a_topic_that_is_compacted_and_deleted_does_both(broker, topic):
    broker.create_topic(topic, **{**COMPACTED, "cleanup_policy": "compact,delete"}, retention_bytes=SEGMENT_BYTES)
    ALL["java"].produce(broker.bootstrap, topic, 0, [keyed(n) for n in range(2 * KEYS)], "none")
    with broker.connect() as connection:
        for number in range(12):
            batch = wire.Batch(keys=[b"large-%d" % number], values=[b"x" * 500_000]).encode()
            assert wire.produce(connection, {(topic, 0): batch})[topic, 0].error == 0

        def start() -> int:
            return wire.list_offset(connection, topic, 0, wire.EARLIEST).offset

        await_until(lambda: start() > 0, "the log start moves", deadline_s=60, every_s=0.3)


@pytest.mark.buslane_only(reason="the passes are seen in the metrics")
@pytest.mark.parametrize("check", ["100ms", "1h"])
def test_retention_does_not_overtake_a_slow_pass(new_broker, topic, check):
    """A segment is due for retention each 0.3 s, and a pass takes several seconds. Nor does it wait for long: its turn comes after
    each pass, however rarely it looks otherwise."""
    broker = new_broker({"buslane": {"compaction.check": "200ms", "compaction.rate": "128KiB", "topics.retention_check": check}}, http=True).start()
    settings = {**COMPACTED, "cleanup_policy": "compact,delete", "segment_bytes": 65_536, "retention_bytes": 262_144}
    broker.create_topic(topic, **settings)
    with broker.connect() as connection:
        start = functools.partial(wire.list_offset, connection, topic, 0, wire.EARLIEST)
        end = time.monotonic() + 60
        for number in itertools.count():
            batch = wire.Batch(keys=[b"same", b"%d" % number], values=[b"x" * 10_000] * 2).encode()
            assert wire.produce(connection, {(topic, 0): batch})[topic, 0].error == 0
            if number > 150 and start().offset > 0 and broker.metric("buslane_compaction_passes_total") >= 3:
                break
            assert time.monotonic() < end, "passes come to their end, and retention goes on between them"
            time.sleep(0.1)
    assert "is not taken" not in broker.log_text()
    broker.stop()


def test_records_of_a_topic_that_is_only_compacted_are_not_deleted(broker, topic):
    for policy, expected in (("compact", "POLICY_VIOLATION"), ("compact,delete", "NONE")):
        name = f"{topic}-{policy.replace(',', '-and-')}"
        broker.create_topic(name, cleanup_policy=policy)
        with broker.connect() as connection:
            assert wire.produce(connection, {(name, 0): wire.Batch(keys=[b"a"], values=[b"1"]).encode()})[name, 0].error == 0
            error, _ = wire.delete_records(connection, name, 0, 1)
            assert wire.error_name(error) == expected


def test_what_was_compacted_is_there_after_a_kill_and_a_restart(new_broker, topic):
    broker = new_broker(QUICK).start()
    broker.create_topic(topic, **COMPACTED)
    ALL["java"].produce(broker.bootstrap, topic, 0, [keyed(n) for n in range(3 * KEYS)], "zstd")
    roll(broker, topic)
    expected = {n: (keyed(n).key, keyed(n).value) for n in range(2 * KEYS, 3 * KEYS)}

    def small() -> dict[int, tuple[bytes | None, bytes | None]]:
        return {offset: record for offset, record in records(broker, topic).items() if record[0] != b"large"}

    await_until(lambda: small() == expected, "older records go", deadline_s=60, every_s=0.3)
    broker.kill()
    broker.start()
    assert small() == expected
    broker.stop()


def test_committed_offsets_are_compacted_and_the_last_ones_stay(new_broker, topic):
    broker = new_broker(QUICK).start()
    broker.create_topic(topic)
    group = f"{topic}-group"
    coordinator_is_ready(broker, group)
    offsets = "__consumer_offsets"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    quick = {"segment.bytes": str(SEGMENT_BYTES), "min.cleanable.dirty.ratio": "0.001"}
    change = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in quick.items()]
    for done in admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, offsets, incremental_configs=change)]).values():
        done.result(10)
    member = Member(broker, group)
    try:
        partition = abs_hash(group) % 50

        def first() -> int | None:
            """Offset of the first batch that is there."""
            with broker.connect() as connection:
                found = wire.fetch(connection, {(offsets, partition): 0}, max_wait_ms=100).partitions[offsets, partition]
                return wire.parse_batches(found.data)[0].base_offset

        for number in range(700):
            assert member.commit(topic, number, metadata="x" * 3_900) == "NONE"
            assert number > 0 or first() == 0
        await_until(lambda: first() > 0, "older commits go", deadline_s=60, every_s=0.3)
        broker.kill()
        broker.start()
        coordinator_is_ready(broker, group)
        with broker.connect() as connection:
            asked = [{"group": group, "topics": [{"name": topic, "partitions": [0]}]}]
            (found,) = OFFSET_FETCH.ask(connection, 8, groups=asked).groups[0].topics[0].partitions
        assert (found.offset, found.metadata) == (699, "x" * 3_900)
    finally:
        member.close()
        broker.stop()


def abs_hash(text: str) -> int:
    """Java's hash of a text, without its sign, as Kafka finds a group's partition with it."""
    value = 0
    for char in text:
        value = (31 * value + ord(char)) & 0xFFFFFFFF
    return value & 0x7FFFFFFF
