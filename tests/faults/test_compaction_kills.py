"""kill -9 in the middle of compaction: the newest value of each key stays, what was deleted stays deleted."""

import random
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from harness.broker import await_until
from harness.offline import OK, buslane

KEYS = 60
COMPACTED = 1 << 31  # in the ids of segments that compaction makes

# Slow enough that a pass takes about two seconds.
SLOW = {"buslane": {"compaction.check": "100ms", "compaction.rate": "512KiB"}}


class Compacted:
    """A compacted topic under a broker that is killed again and again, and what it must hold."""

    def __init__(self, broker, topic: str) -> None:
        self.broker, self.topic = broker, topic
        self.model: dict[bytes, tuple[int, bytes | None]] = {}
        self.random = random.Random(7)
        broker.start()
        broker.create_topic(topic, cleanup_policy="compact", segment_bytes=65_536, min_cleanable_dirty_ratio="0.01", delete_retention_ms=1_000)

    def produce(self, count: int) -> None:
        acknowledged: list[tuple[bytes, int, bytes | None]] = []

        def told(error, message) -> None:
            assert error is None, error
            acknowledged.append((message.key(), message.offset(), message.value()))

        producer = Producer({"bootstrap.servers": self.broker.bootstrap, "enable.idempotence": True, "compression.type": "lz4", "batch.size": 16_384})
        for _ in range(count):
            key = b"key-%d" % self.random.randrange(KEYS)
            value = None if self.random.random() < 0.2 else self.random.randbytes(self.random.randrange(200, 4_000))
            producer.produce(self.topic, value, key, partition=0, on_delivery=told)
        assert producer.flush(60) == 0
        for key, offset, value in sorted(acknowledged, key=lambda record: record[1]):
            self.model[key] = (offset, value)

    def files(self) -> tuple[set[str], set[str]]:
        """Names of the segments that compaction made, and of the others."""
        names = {path.name for path in Path(self.broker.data).glob("log/*/0/*.log")}
        made = {name for name in names if int(name.removesuffix(".log").split("-")[1]) & COMPACTED}
        return made, names - made

    def check(self) -> int:
        """Compares what a consumer reads up to the end; returns how many records that are."""
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": "none", "enable.partition.eof": True})
        consumer.assign([TopicPartition(self.topic, 0, 0)])
        found: dict[bytes, tuple[int, bytes | None]] = {}
        count = 0
        try:
            while True:
                message = consumer.poll(30)
                assert message is not None, "the end of the partition is told"
                if message.error() is None:
                    found[message.key()] = (message.offset(), message.value())
                    count += 1
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    break
                else:
                    raise KafkaException(message.error())
        finally:
            consumer.close()
        assert {key: record for key, record in found.items() if record[1] is not None} == {
            key: record for key, record in self.model.items() if record[1] is not None
        }
        return count


@pytest.fixture
def compacted(new_broker, topic):
    made = Compacted(new_broker(SLOW, http=True), topic)
    yield made
    assert "panicked" not in made.broker.log_text()
    made.broker.kill()


def test_a_kill_at_any_step_of_a_compaction_brings_nothing_back(compacted):
    broker = compacted.broker

    def step(number: int):
        """The moments of a pass: its first copies, more of them, its command (the files that it replaced go)."""
        made_before, old_before = compacted.files()

        def there() -> bool:
            made, old = compacted.files()
            if number < 4:
                return len(made - made_before) > number
            return bool((made_before | old_before) - (made | old))

        return there

    for number in [0, 1, 3, 4] * 2:
        compacted.produce(500)
        reached = step(number)
        await_until(reached, f"a pass comes to step {number}", deadline_s=60, every_s=0.001)
        broker.kill()
        broker.start()
        compacted.check()

    def clean() -> bool:
        return broker.metric("buslane_compaction_passes_total") > 0 and compacted.check() <= 3 * KEYS

    # Left alone it comes to its end, and what no chain knows is not among the segments.
    await_until(clean, "it is compacted", deadline_s=60, every_s=0.3)
    broker.stop()
    buslane("log", "verify", "--data", broker.data).expect(OK)
    broker.start()
    compacted.check()


def test_a_partition_that_cannot_be_compacted_is_said_and_counted_and_served_on(compacted):
    broker = compacted.broker
    made, _ = compacted.files()
    compacted.produce(40)
    logs = sorted(Path(broker.data).glob("log/*/0/*.log"))
    assert len(logs) > 1 and not made, "there is a sealed segment, and no pass yet"
    data = bytearray(logs[0].read_bytes())
    data[len(data) // 2] ^= 1
    with open(logs[0], "r+b") as file:
        file.seek(len(data) // 2)
        file.write(data[len(data) // 2 : len(data) // 2 + 1])
    await_until(lambda: broker.metric("buslane_compaction_failed_partitions") == 1, "the pass fails", deadline_s=30)
    said = [line for line in broker.log_text().splitlines() if "not compacted" in line]
    assert len(said) == 1 and logs[0].name in said[0] and "CRC" in said[0], said
    assert logs[0].exists()
    compacted.produce(20)
