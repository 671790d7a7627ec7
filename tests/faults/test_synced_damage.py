"""A bit that flips in the synced part of an open segment while the server is down. Recovery reads what lies beyond the recovery
point; what lies below it was safe on the disk, so it is no torn end. It is read first by the scrub that follows, `log verify`
tells it, and once it is known nobody is given wrong bytes, or an offset that was found by looking past them."""

import os
import time

import pytest

from harness import wire
from harness.broker import await_until
from harness.offline import DAMAGED, DataFolder, batches, flip
from harness.wire import Batch

BATCHES, RECORDS = 12, 5
BAD = 5  # the batch that is damaged

# In a batch: a record, a time that the index was made from, and what no CRC covers.
FIELDS = {"record": 75, "max timestamp": 36, "leader epoch": 15}


def value(number: int) -> bytes:
    return b"value-%06d" % number * 5


class Synced:
    """A killed broker with an open segment, all of it below the recovery point."""

    def __init__(self, broker, topic: str) -> None:
        self.broker, self.topic = broker, topic
        self.base_ms = int(time.time() * 1000) - 3_600_000
        broker.start()
        broker.create_topic(topic, 1)
        with broker.connect() as connection:
            self.producer_id, _ = wire.new_producer(connection)
            for batch in range(BATCHES):
                assert self.produce(connection, batch).base_offset == batch * RECORDS
        self.data = DataFolder(broker.data)
        (self.log,) = self.data.files("log")
        await_until(lambda: self.data.synced_position(self.log) == self.log.stat().st_size, "all of it is synced")
        self.batches = batches(self.log)
        broker.kill()

    def produce(self, connection, batch: int) -> wire.ProduceResult:
        first = batch * RECORDS
        data = Batch(
            values=[value(n) for n in range(first, first + RECORDS)],
            timestamps=[self.base_ms + n for n in range(first, first + RECORDS)],
            producer_id=self.producer_id,
            producer_epoch=0,
            base_sequence=first,
        ).encode()
        return wire.produce(connection, {(self.topic, 0): data})[self.topic, 0]

    def fetch(self, offset: int) -> wire.FetchPartition:
        with self.broker.connect() as connection:
            return wire.fetch(connection, {(self.topic, 0): offset}, max_wait_ms=20).partitions[self.topic, 0]

    def at_time(self, record: int) -> wire.ListedOffset:
        with self.broker.connect() as connection:
            return wire.list_offset(connection, self.topic, 0, self.base_ms + record)

    def start(self) -> None:
        self.broker.start()
        await_until(lambda: self.fetch(0).error == 0, "it is served")


@pytest.fixture
def synced(new_broker, topic):
    # An hour: what is found in time is found because it is looked at first.
    made = Synced(new_broker({"buslane": {"scrub.interval": "1h"}}, http=True), topic)
    yield made
    assert "panicked" not in made.broker.log_text()
    made.broker.kill()


@pytest.mark.parametrize("field", FIELDS)
def test_it_is_named_found_soon_and_not_given_to_anybody(synced, field):
    position = synced.batches[BAD].start
    flip(synced.log, position + FIELDS[field], 0x04)
    findings, _ = synced.data.findings(code=DAMAGED)
    assert [(f["file"], f["position"], f["severity"]) for f in findings] == [(str(synced.log), position, "damage")]

    synced.start()
    await_until(lambda: synced.broker.metric("buslane_scrub_damaged_segments") == 1, "it is found", 30)
    assert f"position={position}" in synced.broker.log_text()
    assert synced.log.stat().st_size == synced.batches[-1].end, "nothing was cut"

    first, end = BAD * RECORDS, (BAD + 1) * RECORDS
    refused = synced.fetch(first)
    assert (wire.error_name(refused.error), refused.data) == ("KAFKA_STORAGE_ERROR", b"")
    before = synced.fetch(0)
    assert [v for batch in before.batches for v in batch.values] == [value(n) for n in range(first)]
    assert synced.fetch(end).batches[0].values[0] == value(end)

    # By time: what lies before is found as ever, what is or may be in the damaged range is not guessed.
    assert (synced.at_time(first - 3).error, synced.at_time(first - 3).offset) == (0, first - 3)
    for record in (first, end + 2):
        assert wire.error_name(synced.at_time(record).error) == "KAFKA_STORAGE_ERROR"

    # The partition goes on, and its producer.
    with synced.broker.connect() as connection:
        again, following = synced.produce(connection, BATCHES - 1), synced.produce(connection, BATCHES)
        assert (again.name, again.base_offset) == ("NONE", (BATCHES - 1) * RECORDS)
        assert (following.name, following.base_offset) == ("NONE", BATCHES * RECORDS)
    findings, _ = synced.data.findings("--read-only", code=DAMAGED)
    assert (str(synced.log), position) in [(f["file"], f["position"]) for f in findings]

    # Whole again, and nothing else was changed.
    synced.broker.stop()
    flip(synced.log, position + FIELDS[field], 0x04)
    synced.start()
    assert (synced.at_time(first).error, synced.at_time(first).offset) == (0, first)
    assert synced.fetch(first).batches[0].values[0] == value(first)


def test_a_time_is_not_looked_up_in_wrong_bytes_that_nobody_knows_of_yet(synced):
    """The batch that an answer is taken from is read anyway, so its CRC is checked."""
    flip(synced.log, synced.batches[BAD].start + FIELDS["record"], 0x04)
    synced.start()
    assert wire.error_name(synced.at_time(BAD * RECORDS + 1).error) == "KAFKA_STORAGE_ERROR"
    assert synced.at_time(BAD * RECORDS - 1).offset == BAD * RECORDS - 1
    assert os.fspath(synced.log) in synced.broker.log_text()
