"""The background scrub: what a disk spoils in a sealed segment is found, said once, and not served as if it were good."""

import os
from pathlib import Path

import pytest

from harness import wire
from harness.broker import await_until
from harness.clients import ALL
from harness.records import Record
from harness.wire import Batch

RECORDS = 40
CLIENT = ALL["confluent"]


def value(number: int) -> bytes:
    return b"value-%06d" % number * 5


class Scrubbed:
    """A running broker that scrubs each second; a topic of one partition with sealed segments, a record in each batch."""

    def __init__(self, broker, topic: str) -> None:
        self.broker, self.topic = broker, topic
        broker.start()
        broker.create_topic(topic, 1, segment_bytes=1024)
        self.produce(0, RECORDS)
        self.log = await_until(lambda: len(self.logs()) > 2 and self.logs()[1], "a segment is sealed")
        self.base = int(self.log.name.split("-")[0])
        self.end = int(self.logs()[2].name.split("-")[0])
        assert self.end - self.base > 5

    def produce(self, first: int, count: int) -> None:
        records = [Record(key=None, value=value(n)) for n in range(first, first + count)]
        told = CLIENT.produce(self.broker.bootstrap, self.topic, 0, records, **{"batch.num.messages": 1})
        assert told == list(range(first, first + count))

    def logs(self) -> list[Path]:
        return sorted(self.broker.data.glob("log/*/0/*.log"))

    def start_of(self, batch: int) -> int:
        """Where the batch with this offset starts in the second segment's log."""
        data, at = self.log.read_bytes(), 0
        for _ in range(batch - self.base):
            at += 12 + int.from_bytes(data[at + 8 : at + 12], "big")
        return at

    def flip(self, position: int, bits: int) -> None:
        """In place, under the running server; done twice, it is as before."""
        file = os.open(self.log, os.O_RDWR)
        try:
            os.pwrite(file, bytes([os.pread(file, 1, position)[0] ^ bits]), position)
        finally:
            os.close(file)

    def fetch(self, offset: int) -> wire.FetchPartition:
        with self.broker.connect() as connection:
            return wire.fetch(connection, {(self.topic, 0): offset}, max_wait_ms=20).partitions[self.topic, 0]

    def await_damage(self, count: int) -> None:
        await_until(lambda: self.broker.metric("buslane_scrub_damaged_segments") == count, f"{count} segments are damaged")

    def said(self) -> list[str]:
        """Lines of the log that tell of damage found."""
        return [line for line in self.broker.log_text().splitlines() if "ERROR" in line and "a sealed segment is damaged" in line]


@pytest.fixture
def scrubbed(new_broker, topic):
    made = Scrubbed(new_broker({"buslane": {"scrub.interval": "1s"}}, http=True), topic)
    yield made
    assert "panicked" not in made.broker.log_text()
    made.broker.kill()


# In a batch: what no CRC covers, then what it does.
FIELDS = {"base offset": 7, "length": 11, "leader epoch, first byte": 12, "leader epoch, last byte": 15, "crc": 17, "timestamp": 34, "record": 75}


@pytest.mark.parametrize("field", FIELDS)
def test_a_flipped_bit_is_found_said_once_and_refused(scrubbed, field):
    before = scrubbed.broker.metric("buslane_scrub_segments_total")
    await_until(lambda: scrubbed.broker.metric("buslane_scrub_segments_total") > before, "sound segments are scrubbed")
    assert scrubbed.broker.metric("buslane_scrub_bytes_total") > 0
    assert scrubbed.broker.metric("buslane_scrub_damaged_segments") == 0

    bad = scrubbed.base + 3
    position = scrubbed.start_of(bad)
    scrubbed.flip(position + FIELDS[field], 0x04)
    scrubbed.await_damage(1)

    # What is known to be false is not served; what lies before it is, and so is what lies in other segments.
    refused = scrubbed.fetch(bad)
    assert (wire.error_name(refused.error), refused.data) == ("KAFKA_STORAGE_ERROR", b"")
    for offset in (scrubbed.base, bad - 1):
        found = scrubbed.fetch(offset)
        assert found.error == 0
        assert [v for batch in found.batches for v in batch.values] == [value(n) for n in range(offset, bad)]
    if field not in ("base offset", "length"):
        # The batch still has its place, so only its own offsets are lost.
        found = scrubbed.fetch(bad + 1)
        assert found.error == 0 and found.batches[0].base_offset == bad + 1
    scrubbed.produce(RECORDS, 5)
    read = CLIENT.consume(scrubbed.broker.bootstrap, scrubbed.topic, 0, scrubbed.end, RECORDS + 5 - scrubbed.end)
    assert [record.value for record in read] == [value(n) for n in range(scrubbed.end, RECORDS + 5)]

    # Said once, though found in each round, with all that a person needs.
    scrubs = scrubbed.broker.metric("buslane_scrub_segments_total")
    rounds = 2 * (len(scrubbed.logs()) + 1)
    await_until(lambda: scrubbed.broker.metric("buslane_scrub_segments_total") > scrubs + rounds, "two more rounds")
    assert len(scrubbed.said()) == 1, scrubbed.said()
    for part in (str(scrubbed.log), f"position={position}", f"base_offset={bad}", "end_offset=", "buslane log verify --data"):
        assert part in scrubbed.said()[0]

    # Whole again, all is served.
    scrubbed.flip(position + FIELDS[field], 0x04)
    scrubbed.await_damage(0)
    read = CLIENT.consume(scrubbed.broker.bootstrap, scrubbed.topic, 0, 0, RECORDS)
    assert [record.value for record in read] == [value(n) for n in range(RECORDS)]


def test_damage_done_while_the_server_was_down_is_found_and_goes_with_a_restored_file(scrubbed):
    scrubbed.broker.stop()
    good = scrubbed.log.read_bytes()
    bad = scrubbed.base + 2
    position = scrubbed.start_of(bad)
    scrubbed.flip(position + 70, 0x10)
    scrubbed.broker.start()
    scrubbed.await_damage(1)
    assert wire.error_name(scrubbed.fetch(bad).error) == "KAFKA_STORAGE_ERROR"
    scrubbed.broker.stop()
    scrubbed.log.write_bytes(good)
    scrubbed.broker.start()
    await_until(lambda: scrubbed.broker.metric("buslane_scrub_segments_total") > 2 * len(scrubbed.logs()), "two rounds")
    assert scrubbed.broker.metric("buslane_scrub_damaged_segments") == 0
    assert scrubbed.fetch(bad).batches[0].values == [value(bad)]


def test_a_lost_file_is_found_and_other_segments_are_served(scrubbed):
    scrubbed.log.unlink()
    scrubbed.await_damage(1)
    assert wire.error_name(scrubbed.fetch(scrubbed.base).error) == "KAFKA_STORAGE_ERROR"
    assert "it is missing" in scrubbed.said()[0]
    with scrubbed.broker.connect() as connection:
        result = wire.produce(connection, {(scrubbed.topic, 0): Batch(values=[b"goes on"]).encode()})[scrubbed.topic, 0]
        assert result.name == "NONE"
    assert scrubbed.fetch(scrubbed.end).batches[0].base_offset == scrubbed.end
