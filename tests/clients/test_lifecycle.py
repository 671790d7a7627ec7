"""Topics deleted and made anew, and brokers stopped and killed, under running clients."""

import time

import pytest

from harness import wire
from harness.broker import await_until
from harness.clients import ALL, EARLIEST
from harness.clients.confluent import open_consumer, read
from harness.records import Record
from harness.streams import ConfluentStream, JavaStream, stored, violations

PARTITIONS = 2


def recreate(broker, topic: str) -> tuple[bytes, bytes]:
    """Deletes the topic and makes it anew; the topic ids before and after."""
    with broker.connect() as connection:
        before = wire.metadata(connection, [topic])[topic].topic_id
        assert wire.delete_topic(connection, topic) == 0
        await_until(lambda: wire.create_topic(connection, topic, PARTITIONS)[0] == 0, "the name is free again")
        await_until(lambda: wire.list_offset(connection, topic, 0, wire.LATEST).error == 0, "the new topic is led")
        return before, wire.metadata(connection, [topic])[topic].topic_id


def test_a_topic_made_anew_has_a_new_id_and_is_empty(broker, topic):
    broker.create_topic(topic, PARTITIONS)
    ALL["confluent"].produce(broker.bootstrap, topic, 0, [Record(None, b"old")])
    before, after = recreate(broker, topic)
    assert before != after and bytes(16) not in (before, after)
    with broker.connect() as connection:
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 0
    assert ALL["java"].produce(broker.bootstrap, topic, 0, [Record(None, b"new")]) == [0]
    assert [r.value for r in ALL["aiokafka"].consume(broker.bootstrap, topic, 0, EARLIEST, 1)] == [b"new"]


def test_running_consumers_find_the_topic_made_anew(broker, topic):
    """One of each kind of client that fetches by topic id, tailing while its topic is replaced."""
    broker.create_topic(topic, PARTITIONS)
    ALL["confluent"].produce(broker.bootstrap, topic, 0, [Record(None, b"old")])
    java = ALL["java"].driver
    config = {"metadata.max.age.ms": "500", "auto.offset.reset": "earliest"}
    java.ask("tail-open", bootstrap=broker.bootstrap, name=topic, topic=topic, partition=0, start="earliest", config=config)
    librdkafka = open_consumer(
        broker.bootstrap, topic, 0, EARLIEST, **{"topic.metadata.refresh.interval.ms": 500, "auto.offset.reset": "earliest"}
    )
    try:
        assert len(java.ask("tail-poll", name=topic, count=1, deadline_ms=10_000)) == 1
        assert len(read(librdkafka, 1, 10)) == 1
        recreate(broker, topic)
        ALL["confluent"].produce(broker.bootstrap, topic, 0, [Record(None, b"new-%d" % i) for i in range(5)])
        # Where they go on depends on the client (their position is 1); that they go on at all is what counts.
        assert java.ask("tail-poll", name=topic, count=1, deadline_ms=20_000)
        assert all(r.value.startswith(b"new-") for r in await_until(lambda: _read_on(librdkafka), "librdkafka reads on", 20))
    finally:
        java.ask("tail-close", name=topic)
        librdkafka.close()


def _read_on(consumer):
    try:
        return read(consumer, 1, 1)
    except Exception as failure:  # librdkafka reports the vanished topic once, then finds the new one
        assert "unknown topic" in str(failure).lower() or "UNKNOWN_TOPIC" in str(failure), failure
        return None


@pytest.mark.parametrize("producer", ["confluent", "java"])
def test_a_new_idempotent_producer_continues_the_partition(broker, topic, producer):
    """Each run of a producer gets its own identity; the second starts at sequence 0 beside the first one's state."""
    broker.create_topic(topic)
    for run in range(3):
        offsets = ALL[producer].produce(broker.bootstrap, topic, 0, [Record(None, b"%d-%d" % (run, i)) for i in range(50)], idempotent=True)
        assert offsets == list(range(run * 50, run * 50 + 50))
    with broker.connect() as connection:
        batches = wire.fetch(connection, {(topic, 0): 0}).partitions[topic, 0].batches
    assert len({b.producer_id for b in batches}) == 3


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_everything_acknowledged_is_there_once_and_in_order_after_a_restart(new_broker, topic, ending):
    """Idempotent producers of two clients run on through a SIGTERM or a kill -9 of the broker."""
    broker = new_broker().start()
    broker.create_topic(topic, PARTITIONS)
    streams = [JavaStream(broker.bootstrap, topic, PARTITIONS, "java"), ConfluentStream(broker.bootstrap, topic, PARTITIONS, "librdkafka")]
    for _ in range(2):
        await_until(lambda: streams[1].acknowledged_so_far > 200, "messages are acknowledged")
        time.sleep(0.3)
        getattr(broker, ending)()
        broker.start()
        already = streams[1].acknowledged_so_far
        await_until(lambda n=already: streams[1].acknowledged_so_far > n + 200, "messages are acknowledged again", 60)
    told = [stream.stop() for stream in streams]
    assert [t.failures for t in told] == [[], []]
    for partition in range(PARTITIONS):
        rows = stored(broker, topic, partition)
        for one in told:
            assert len(one.acknowledged[partition]) > 200
            assert violations(rows, partition, one) == []
        # Nothing failed and all was flushed: what is stored is what was acknowledged, no more.
        assert len(rows) == sum(len(one.acknowledged[partition]) for one in told)
    broker.stop()
