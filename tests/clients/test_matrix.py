"""Every producer's records, read by every consumer: each codec, idempotent or not. One produce serves all consumers."""

import time

import pytest

from harness import clients, wire
from harness.clients import ALL, CODECS, CONSUMERS, EARLIEST, PRODUCERS
from harness.records import Record, sample

PARTITION = 1
CODEC_BITS = {"none": wire.NO_COMPRESSION, "gzip": wire.GZIP, "snappy": wire.SNAPPY, "lz4": wire.LZ4, "zstd": wire.ZSTD}


class Produced:
    """What one producer sent to one topic, once."""

    def __init__(self, broker, producer: clients.Client, codec: str, idempotent: bool) -> None:
        self.topic = f"matrix-{producer.name}-{codec}-{'idempotent' if idempotent else 'plain'}"
        self.codec = codec
        self.idempotent = idempotent
        self.sent_at_ms = int(time.time() * 1000)
        broker.create_topic(self.topic, 2)
        self.records = sample(self.sent_at_ms, text_only=producer.sends_text_only, null_headers=producer.sends_null_headers)
        if not producer.sends_timestamps:
            self.records = [Record(r.key, r.value, r.headers) for r in self.records]
        self.offsets = producer.produce(broker.bootstrap, self.topic, PARTITION, self.records, codec, idempotent)


_produced: dict[tuple, Produced] = {}


@pytest.fixture
def produced(broker, producer, codec, idempotent) -> Produced:
    key = producer, codec, idempotent
    if key not in _produced:
        _produced[key] = Produced(broker, ALL[producer], codec, idempotent)
    return _produced[key]


every_producer = [
    pytest.mark.parametrize("idempotent", [False, True], ids=["plain", "idempotent"]),
    pytest.mark.parametrize("codec", CODECS),
    pytest.mark.parametrize("producer", PRODUCERS),
]


def each_producer(test):
    for mark in every_producer:
        test = mark(test)
    return test


@each_producer
def test_acknowledged_offsets_are_the_stored_ones_and_batches_stay_as_sent(broker, produced):
    """The offsets told to the producer count from 0, and the batches on the wire carry its codec and identity, CRC intact."""
    if produced.offsets is not None:
        assert produced.offsets == list(range(len(produced.records)))
    batches = []
    with broker.connect() as connection:
        while sum(b.record_count for b in batches) < len(produced.records):
            offset = batches[-1].last_offset + 1 if batches else 0
            found = wire.fetch(connection, {(produced.topic, PARTITION): offset}).partitions[produced.topic, PARTITION]
            assert found.error == 0 and found.batches
            batches += found.batches
    assert len(batches) > 1, "one batch alone proves little: the sample is meant to make several"
    for batch in batches:
        assert batch.crc_is_right
        # librdkafka and franz-go leave a batch as it is where compressing does not make it smaller.
        assert batch.attributes & 7 in (CODEC_BITS[produced.codec], wire.NO_COMPRESSION)
        assert (batch.producer_id >= 0) == produced.idempotent
    assert max(batches, key=lambda b: b.record_count).attributes & 7 == CODEC_BITS[produced.codec]
    assert [b.base_offset for b in batches[1:]] == [b.last_offset + 1 for b in batches[:-1]]
    assert batches[0].base_offset == 0


@pytest.mark.parametrize("consumer", CONSUMERS)
@each_producer
def test_every_record_comes_back_as_it_was_sent(broker, produced, consumer):
    received = ALL[consumer].consume(broker.bootstrap, produced.topic, PARTITION, EARLIEST, len(produced.records))
    assert [r.offset for r in received] == list(range(len(produced.records)))
    sent = produced.records
    if sent[0].timestamp is None:
        now_ms = int(time.time() * 1000)
        assert all(produced.sent_at_ms - 1000 <= r.timestamp <= now_ms + 1000 for r in received)
        received = [Record(r.key, r.value, r.headers) for r in received]
    assert sent == received
