"""Damaged files: torn tails, flipped bits, indexes gone or wrong. Never a wrong record, never another partition harmed."""

import random
import time
from pathlib import Path

import pytest

from harness import wire
from harness.broker import await_until
from harness.wire import Batch

TOPIC = "damaged"
BATCHES, RECORDS = 30, 10
HEADER = 61


def value(number: int) -> bytes:
    return b"value-%06d" % number * 20


class Damaged:
    """A broker with two alike partitions; partition 0 gets damaged, partition 1 must not care."""

    def __init__(self, broker) -> None:
        self.broker = broker
        self.base_ms = int(time.time() * 1000) - 3_600_000
        broker.start()
        broker.create_topic(TOPIC, 2)
        with broker.connect() as connection:
            self.producer_id, _ = wire.new_producer(connection)
            for batch in range(BATCHES):
                self.produce(connection, batch)

    def produce(self, connection, batch: int) -> wire.ProduceResult:
        first = batch * RECORDS
        data = Batch(
            values=[value(n) for n in range(first, first + RECORDS)],
            timestamps=[self.base_ms + n for n in range(first, first + RECORDS)],
            producer_id=self.producer_id,
            producer_epoch=0,
            base_sequence=first,
        ).encode()
        return wire.produce(connection, {(TOPIC, 0): data, (TOPIC, 1): data})[TOPIC, 0]

    def files(self, extension: str) -> list[Path]:
        """Partition 0's files, oldest first."""
        return sorted(self.broker.data.glob(f"log/*/0/*.{extension}"))

    def batch_positions(self) -> list[tuple[int, int]]:
        """(start, end) of every batch in the last log file."""
        data = self.files("log")[-1].read_bytes()
        positions, at = [], 0
        while at + 12 <= len(data):
            end = at + 12 + int.from_bytes(data[at + 8 : at + 12], "big")
            positions.append((at, end))
            at = end
        return positions

    def restart(self) -> None:
        self.broker.start()
        with self.broker.connect() as connection:
            await_until(
                lambda: wire.list_offset(connection, TOPIC, 1, wire.LATEST).offset >= BATCHES * RECORDS, "the other partition is led"
            )

    def offline(self) -> bool:
        """Whether partition 0 is out of service, by what it answers."""
        with self.broker.connect() as connection:
            listed = wire.list_offset(connection, TOPIC, 0, wire.LATEST).error
            fetched = wire.fetch(connection, {(TOPIC, 0): 0}).partitions[TOPIC, 0].error
        assert {wire.error_name(e) for e in (listed, fetched)} <= {"NONE", "KAFKA_STORAGE_ERROR", "NOT_LEADER_OR_FOLLOWER"}
        return listed != 0 or fetched != 0

    def served(self, partition: int = 0) -> list[bytes]:
        """Every value that is served, in order; stops at an error and at a batch that a client would not take either:
        a wrong CRC, format or offset. (The CRC leaves out base offset, leader epoch and format.)"""
        values: list[bytes] = []
        with self.broker.connect() as connection:
            while True:
                found = wire.fetch(connection, {(TOPIC, partition): len(values)}, max_wait_ms=20).partitions[TOPIC, partition]
                if found.error or not found.batches:
                    return values
                for batch in found.batches:
                    if not batch.crc_is_right or batch.magic != 2 or batch.base_offset != len(values):
                        return values
                    values += batch.values

    def assert_serves(self, count: int, partition: int = 0) -> None:
        expected = [value(n) for n in range(count)]
        await_until(lambda: len(self.served(partition)) >= count, f"{count} records are served, not {len(self.served(partition))}", 5)
        assert self.served(partition) == expected

    def assert_the_other_is_well(self) -> None:
        self.assert_serves(BATCHES * RECORDS, 1)

    def assert_goes_on(self, count: int) -> None:
        """Partition 0 holds `count` records, takes more and serves them."""
        self.assert_serves(count)
        with self.broker.connect() as connection:
            result = wire.produce(connection, {(TOPIC, 0): Batch(values=[value(count)]).encode()})[TOPIC, 0]
            assert (result.name, result.base_offset) == ("NONE", count)
        self.assert_serves(count + 1)


@pytest.fixture
def damaged(new_broker):
    made = Damaged(new_broker())
    yield made
    assert "panicked" not in made.broker.log_text()
    made.broker.kill()


# ---- torn tails after a process crash -----------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 11, 12, 60, 61, 70, "all but one"])
def test_an_incomplete_last_batch_is_cut_and_said(damaged, kept):
    """The process died in the middle of a write: all before it is there, and the log goes on."""
    damaged.broker.kill()
    log = damaged.files("log")[-1]
    start, end = damaged.batch_positions()[-1]
    torn = log.read_bytes()[start:end]
    with open(log, "ab") as file:
        file.write(torn[: len(torn) - 1 if kept == "all but one" else kept])
    damaged.restart()
    damaged.assert_goes_on(BATCHES * RECORDS)
    damaged.assert_the_other_is_well()
    assert log.name in damaged.broker.log_text() or str(log.parent) in damaged.broker.log_text(), "a cut must be said, with its file"


@pytest.mark.parametrize("cut", [1, 100, "half"])
def test_a_shortened_file_ends_at_its_last_whole_batch(damaged, cut):
    damaged.broker.kill()
    log = damaged.files("log")[-1]
    start, end = damaged.batch_positions()[-1]
    with open(log, "r+b") as file:
        file.truncate(end - ((end - start) // 2 if cut == "half" else cut))
    damaged.restart()
    damaged.assert_goes_on((BATCHES - 1) * RECORDS)
    damaged.assert_the_other_is_well()


@pytest.mark.parametrize("tail", ["zeros", "random", "ones"])
def test_rubbish_behind_the_end_is_never_served(damaged, tail):
    """It is no incomplete batch, so the partition may also be taken out of service, by name."""
    damaged.broker.kill()
    log = damaged.files("log")[-1]
    rubbish = {"zeros": bytes(4096), "random": random.Random(3).randbytes(4096), "ones": b"\xff" * 4096}[tail]
    with open(log, "ab") as file:
        file.write(rubbish)
    damaged.restart()
    damaged.assert_the_other_is_well()
    if damaged.offline():
        assert log.name in damaged.broker.log_text()
    else:
        damaged.assert_goes_on(BATCHES * RECORDS)


# ---- flipped bits -------------------------------------------------------------------------------------------------

FIELDS = {
    "base offset": 7,
    "length, high byte": 8,
    "length, low byte": 11,
    "leader epoch": 15,
    "magic": 16,
    "crc": 17,
    "attributes": 22,
    "last offset delta": 26,
    "timestamps": 34,
    "producer id": 50,
    "count": 60,
    "first record": 62,
    "a value": 120,
}


@pytest.mark.parametrize("ending", ["kill", "stop"])
@pytest.mark.parametrize("field", FIELDS)
def test_a_flipped_bit_in_the_middle_is_found_and_harms_nobody_else(damaged, field, ending):
    getattr(damaged.broker, ending)()
    log = damaged.files("log")[-1]
    start, _ = damaged.batch_positions()[BATCHES // 2]
    data = bytearray(log.read_bytes())
    data[start + FIELDS[field]] ^= 0x04
    log.write_bytes(data)
    damaged.restart()
    damaged.assert_the_other_is_well()
    served = damaged.served()
    # A flipped leader epoch leaves the records what they are.
    good = [value(n) for n in range(BATCHES * RECORDS if field == "leader epoch" else BATCHES // 2 * RECORDS)]
    assert served == good[: len(served)], "a damaged batch was served as a good one"
    # Put right again, all is served: nothing was cut or overwritten.
    damaged.broker.kill()
    data[start + FIELDS[field]] ^= 0x04
    if log.stat().st_size >= len(data):
        log.write_bytes(data)
        damaged.restart()
        damaged.assert_serves(BATCHES * RECORDS)
    else:
        raise AssertionError("records behind the flipped bit were cut away")


def test_a_partition_that_cannot_be_served_says_file_position_and_repair(damaged):
    damaged.broker.stop()
    log = damaged.files("log")[-1]
    start, _ = damaged.batch_positions()[BATCHES // 2]
    data = bytearray(log.read_bytes())
    data[start + FIELDS["magic"]] ^= 0x04
    log.write_bytes(data)
    damaged.restart()
    with damaged.broker.connect() as connection:
        found = wire.fetch(connection, {(TOPIC, 0): BATCHES // 2 * RECORDS}).partitions[TOPIC, 0]
        assert wire.error_name(found.error) == "KAFKA_STORAGE_ERROR"
        result = wire.produce(connection, {(TOPIC, 1): Batch(values=[b"unharmed"]).encode()})[TOPIC, 1]
        assert result.name == "NONE"
    text = damaged.broker.log_text()
    assert log.name in text and str(start) in text and "buslane log verify" in text, text


def test_a_sealed_file_that_is_gone_takes_only_its_partition_offline(damaged):
    damaged.broker.stop()
    log = damaged.files("log")[0]
    log.rename(log.with_suffix(".away"))
    damaged.restart()
    damaged.assert_the_other_is_well()
    with damaged.broker.connect() as connection:
        found = wire.fetch(connection, {(TOPIC, 0): 0}).partitions[TOPIC, 0]
        assert wire.error_name(found.error) == "KAFKA_STORAGE_ERROR"
    assert log.name in damaged.broker.log_text()
    damaged.broker.kill()
    log.with_suffix(".away").rename(log)
    damaged.restart()
    damaged.assert_serves(BATCHES * RECORDS)


# ---- derived files ------------------------------------------------------------------------------------------------


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 3])


def fill_with_rubbish(path: Path) -> None:
    path.write_bytes(random.Random(5).randbytes(max(64, path.stat().st_size)))


def fill_with_ones(path: Path) -> None:
    path.write_bytes(b"\xff" * max(64, path.stat().st_size))


DAMAGES = [remove, empty, halve, fill_with_rubbish, fill_with_ones]


@pytest.mark.parametrize("ending", ["kill", "stop"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_an_index_is_rebuilt_when_it_is_missing_or_wrong(damaged, damage, ending):
    getattr(damaged.broker, ending)()
    for index in damaged.files("index"):
        damage(index)
    damaged.restart()
    damaged.assert_serves(BATCHES * RECORDS)
    with damaged.broker.connect() as connection:
        for offset in range(0, BATCHES * RECORDS, 7):
            found = wire.fetch(connection, {(TOPIC, 0): offset}).partitions[TOPIC, 0]
            assert found.batches[0].base_offset == offset // RECORDS * RECORDS
            assert wire.list_offset(connection, TOPIC, 0, damaged.base_ms + offset).offset == offset
    damaged.assert_the_other_is_well()


@pytest.mark.parametrize("ending", ["kill", "stop"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_producers_are_still_known_when_their_checkpoints_are_missing_or_wrong(damaged, damage, ending):
    """The log itself tells the last sequences; a retry after the restart must not be stored twice."""
    getattr(damaged.broker, ending)()
    for checkpoints in damaged.files("producers"):
        damage(checkpoints)
    damaged.restart()
    with damaged.broker.connect() as connection:
        again = damaged.produce(connection, BATCHES - 1)
        assert (again.name, again.base_offset) == ("NONE", (BATCHES - 1) * RECORDS)
        following = damaged.produce(connection, BATCHES)
        assert (following.name, following.base_offset) == ("NONE", BATCHES * RECORDS)
    damaged.assert_serves((BATCHES + 1) * RECORDS)


def test_a_torn_end_of_the_journal_is_dropped(damaged):
    damaged.broker.kill()
    with open(damaged.broker.data / "store.journal", "ab") as journal:
        journal.write(b"\0\0\0\x40half a record")
    damaged.restart()
    damaged.assert_goes_on(BATCHES * RECORDS)
    damaged.assert_the_other_is_well()
