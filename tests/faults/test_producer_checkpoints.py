"""Idempotent producers whose last batch lies in an earlier segment are known after a restart, whatever became of the newest
segment's `.producers` file: the predecessors' checkpoints and the batches after them say the same."""

import os
import random
from pathlib import Path

import pytest

from harness import wire
from harness.broker import await_until
from harness.offline import flip
from harness.wire import Batch

RECORDS = 5
OUT_OF_ORDER = ("OUT_OF_ORDER_SEQUENCE_NUMBER", -1)


class Producers:
    """A broker with a partition of several segments. The `quiet` producer wrote to the first ones only, the `busy` one to
    all; each batch is remembered as (producer, sequence) -> base offset."""

    def __init__(self, broker, topic: str) -> None:
        self.broker, self.topic = broker, topic
        self.stored: dict[tuple[str, int], int] = {}
        broker.start()
        broker.create_topic(topic, 1, segment_bytes=1024)
        with broker.connect() as connection:
            self.ids = {name: wire.new_producer(connection)[0] for name in ("quiet", "busy")}
        for batch in range(12):
            for name in ("quiet", "busy") if batch < 4 else ("busy",):
                result, offset = self.send(name, batch * RECORDS)
                assert result == "NONE"
                self.stored[name, batch * RECORDS] = offset
        await_until(lambda: len(self.files("log")) > 3, "several segments")
        newest = self.base_of(self.files("log")[-2])
        assert all(offset < newest for (name, _), offset in self.stored.items() if name == "quiet"), "it wrote before the last two"
        assert self.base_of(self.files("log")[-1]) in self.stored.values(), "the last one has a batch"

    def send(self, name: str, sequence: int) -> tuple[str, int]:
        """The answer to a batch with this first sequence."""
        values = [b"%s %06d" % (name.encode(), n) * 2 for n in range(sequence, sequence + RECORDS)]
        batch = Batch(values=values, producer_id=self.ids[name], producer_epoch=0, base_sequence=sequence, timestamp=1_700_000_000_000)
        with self.broker.connect() as connection:
            result = wire.produce(connection, {(self.topic, 0): batch.encode()})[self.topic, 0]
            return result.name, result.base_offset

    def log_end(self) -> int:
        with self.broker.connect() as connection:
            listed = wire.list_offset(connection, self.topic, 0, wire.LATEST)
            return listed.offset if listed.error == 0 else -1

    def files(self, extension: str) -> list[Path]:
        return sorted(self.broker.data.glob(f"log/*/0/*.{extension}"))

    @staticmethod
    def base_of(file: Path) -> int:
        return int(file.name.split("-")[0])

    def last(self, name: str) -> int:
        """Sequence of its newest batch."""
        return max(sequence for who, sequence in self.stored if who == name)

    def assert_known(self) -> None:
        """Newest batches are duplicates, gaps are refused, and nothing of it is stored."""
        end = max(self.stored.values()) + RECORDS
        await_until(lambda: self.log_end() == end, f"the log ends at {end}, not {self.log_end()}")
        for name in self.ids:
            last = self.last(name)
            for sequence in (last - RECORDS, last):
                assert self.send(name, sequence) == ("NONE", self.stored[name, sequence]), f"a duplicate of the {name} producer's"
            assert self.send(name, last + 2 * RECORDS) == OUT_OF_ORDER, f"a gap in the {name} producer's batches"
        assert self.log_end() == end

    def assert_goes_on(self) -> None:
        for name in self.ids:
            following = self.last(name) + RECORDS
            end = self.log_end()
            assert self.send(name, following) == ("NONE", end)
            self.stored[name, following] = end


@pytest.fixture
def producers(new_broker, topic):
    made = Producers(new_broker(), topic)
    yield made
    assert "panicked" not in made.broker.log_text()
    made.broker.kill()


def remove(file: Path) -> None:
    file.unlink()


def empty(file: Path) -> None:
    file.write_bytes(b"")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def truncate_in_the_first_head(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:11])


def flip_a_bit_of_each_frame(file: Path) -> None:
    data, at = file.read_bytes(), 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "big")
        flip(file, at + random.Random(at).randrange(8, 20 + length), 0x10)
        at += 20 + length


def flip_the_first_bit(file: Path) -> None:
    flip(file, 0, 0x80)


DAMAGES = [remove, empty, truncate, truncate_in_the_first_head, flip_a_bit_of_each_frame, flip_the_first_bit]


@pytest.mark.parametrize("ending", ["kill", "stop"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_retry_after_a_restart_is_stored_once_without_the_last_segments_checkpoints(producers, damage, ending):
    getattr(producers.broker, ending)()
    damage(producers.files("producers")[-1])
    producers.broker.start()
    producers.assert_known()
    producers.assert_goes_on()
    # What was loaded is the base of the checkpoints that follow.
    producers.broker.stop()
    producers.broker.start()
    producers.assert_known()


def test_a_restart_does_not_begin_a_producers_expiry_anew(producers):
    """What is replayed from batches is as old as the file, not as the start, and not as the client's timestamps (years)."""
    producers.broker.kill()
    for file in producers.files("producers"):
        file.unlink()
    busy_since = producers.base_of(producers.files("log")[2])
    for file in producers.files("log"):
        if producers.base_of(file) < busy_since:
            days_ago = file.stat().st_mtime - 2 * 86_400
            os.utime(file, (days_ago, days_ago))
    assert producers.stored["quiet", producers.last("quiet")] < busy_since
    producers.broker.start()
    end = max(producers.stored.values()) + RECORDS
    await_until(lambda: producers.log_end() == end, "it is served")
    busy = producers.last("busy")
    assert producers.send("busy", busy) == ("NONE", producers.stored["busy", busy])
    assert producers.send("busy", busy + 2 * RECORDS) == OUT_OF_ORDER
    assert producers.send("quiet", 777) == ("NONE", end), "it expired, and starts anywhere"


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_a_retry_after_a_restart_is_stored_once_without_any_checkpoint(producers, ending):
    getattr(producers.broker, ending)()
    for file in producers.files("producers"):
        file.unlink()
    producers.broker.start()
    producers.assert_known()
    producers.assert_goes_on()
