"""The idempotent producer's sequence rules, batch by batch (KIP-98, and the last five batches of KIP-360's broker)."""

import pytest

from harness import wire
from harness.broker import await_until
from harness.wire import Batch


@pytest.fixture
def send(broker, topic):
    """send(sequence, count, epoch): (error name, base offset) of a batch of one producer."""
    broker.create_topic(topic)
    with broker.connect() as connection:
        producer_id, epoch = wire.new_producer(connection)
        assert producer_id >= 0

        def send(sequence: int, count: int = 1, epoch: int = epoch, producer_id: int = producer_id) -> tuple[str, int]:
            batch = Batch(values=[b"v"] * count, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)
            result = wire.produce(connection, {(topic, 0): batch.encode()})[topic, 0]
            return result.name, result.base_offset

        send.producer_id = producer_id
        send.log_end = lambda: wire.list_offset(connection, topic, 0, wire.LATEST).offset
        yield send


OUT_OF_ORDER = ("OUT_OF_ORDER_SEQUENCE_NUMBER", -1)


def test_a_duplicate_is_answered_with_its_first_offset_and_stored_once(send):
    assert send(0, 2) == ("NONE", 0)
    assert send(0, 2) == ("NONE", 0)
    assert send(2) == ("NONE", 2)
    assert send(0, 2) == ("NONE", 0)
    assert send(2) == ("NONE", 2)
    assert send.log_end() == 3


def test_the_last_five_batches_are_remembered(send):
    for sequence in range(7):
        assert send(sequence) == ("NONE", sequence)
    for sequence in range(2, 7):
        assert send(sequence) == ("NONE", sequence)
    for forgotten in (0, 1):
        assert send(forgotten) == OUT_OF_ORDER
    assert send.log_end() == 7


def test_a_gap_is_refused_and_the_producer_may_go_on(send):
    assert send(0) == ("NONE", 0)
    assert send(2) == OUT_OF_ORDER
    assert send(1) == ("NONE", 1)
    assert send(2) == ("NONE", 2)


def test_an_overlap_is_no_duplicate(send):
    assert send(0, 4) == ("NONE", 0)
    for sequence, count in [(0, 3), (1, 3), (3, 2), (2, 1)]:
        assert send(sequence, count) == OUT_OF_ORDER
    assert send(4) == ("NONE", 4)


def test_a_new_epoch_starts_at_zero_and_fences_the_old(send):
    assert send(0, 3) == ("NONE", 0)
    assert send(3, epoch=1) == OUT_OF_ORDER
    assert send(0, epoch=1) == ("NONE", 3)
    assert send(3, epoch=0) == ("INVALID_PRODUCER_EPOCH", -1)
    assert send(0, 3, epoch=0) == ("INVALID_PRODUCER_EPOCH", -1)
    assert send(1, epoch=1) == ("NONE", 4)


def test_an_unknown_producer_may_start_anywhere(send):
    """Its state may have expired; refusing would end a healthy producer."""
    assert send(1000, producer_id=send.producer_id + 1_000_000) == ("NONE", 0)
    assert send(1001, producer_id=send.producer_id + 1_000_000) == ("NONE", 1)


def test_sequences_wrap_around_to_zero(send):
    other = send.producer_id + 2_000_000
    assert send(2**31 - 2, 3, producer_id=other) == ("NONE", 0)  # 2147483646, 2147483647, 0
    assert send(1, producer_id=other) == ("NONE", 3)
    assert send(2**31 - 2, 3, producer_id=other) == ("NONE", 0)


def test_producers_do_not_disturb_each_other(send):
    first, second = send.producer_id, send.producer_id + 3_000_000
    assert send(0, producer_id=first) == ("NONE", 0)
    assert send(0, producer_id=second) == ("NONE", 1)
    assert send(1, producer_id=first) == ("NONE", 2)
    assert send(5, producer_id=second) == OUT_OF_ORDER
    assert send(2, producer_id=first) == ("NONE", 3)


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_sequences_survive_the_broker(new_broker, topic, ending):
    """After a clean stop and after a kill -9: duplicates are still known, gaps still refused."""
    broker = new_broker().start()
    broker.create_topic(topic)

    def send(connection, sequence):
        batch = Batch(producer_id=producer_id, producer_epoch=0, base_sequence=sequence).encode()
        result = wire.produce(connection, {(topic, 0): batch})[topic, 0]
        return result.name, result.base_offset

    with broker.connect() as connection:
        producer_id, _ = wire.new_producer(connection)
        for sequence in range(6):
            assert send(connection, sequence) == ("NONE", sequence)
    getattr(broker, ending)()
    broker.start()
    with broker.connect() as connection:
        await_until(lambda: wire.list_offset(connection, topic, 0, wire.LATEST).error == 0, "the partition is led again")
        assert send(connection, 5) == ("NONE", 5)
        assert send(connection, 7) == OUT_OF_ORDER
        assert send(connection, 6) == ("NONE", 6)
        other, _ = wire.new_producer(connection)
        assert other > producer_id
    broker.stop()
