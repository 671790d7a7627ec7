"""Fetches that wait, and whose turn it is in a session."""

import time

import pytest

from harness import wire
from harness.broker import await_until
from harness.wire import Batch, Writer

LONG_MS = 2**31 - 1


def empty_fetch_13(session: tuple[int, int]) -> bytes:
    """The body of a Fetch, version 13, that names nothing."""
    body = Writer().i32(-1).i32(0).i32(1).i32(1 << 20).i8(0).i32(session[0]).i32(session[1])
    return bytes(body.uvarint(1).uvarint(1).compact_string("").tags().data)


def test_a_session_by_names_is_not_continued_by_ids(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        session = wire.fetch(connection, {(topic, 0): 0}, session=(0, 0)).session_id
        assert session > 0
        answer = connection.request(wire.FETCH, 13, empty_fetch_13((session, 1)))
        answer.i32()
        assert wire.error_name(answer.i16()) == "FETCH_SESSION_TOPIC_ID_ERROR"


def test_partitions_with_records_take_turns_though_idle_ones_lie_between(broker, topic):
    """Each answer has room for one batch. Full partitions: 2, 5 and 8 of ten."""
    broker.create_topic(topic, 10)
    full = [2, 5, 8]
    with broker.connect() as connection:
        for _ in range(12):
            for p in full:
                wire.produce(connection, {(topic, p): Batch(values=[b"x" * 10_000]).encode()})
        at = {(topic, p): 0 for p in range(10)}
        session = wire.fetch(connection, at, session=(0, 0), max_bytes=1).session_id
        assert session > 0
        served = []
        for epoch in range(1, 10):
            # The consumer goes on behind what it got, and names that partition only.
            found = wire.fetch(connection, {}, session=(session, epoch), max_bytes=1)
            served.append([p for (_, p), data in found.partitions.items() if data.data])
        assert all(len(one) == 1 for one in served), served
        for turn in range(0, 9, 3):
            assert sorted(p for one in served[turn : turn + 3] for p in one) == full, served


@pytest.mark.buslane_only(reason="Kafka closes the connections of fetches that wait")
def test_a_stop_answers_fetches_that_wait_and_waits_for_none(new_broker, topic):
    broker = new_broker(http=True).start()
    broker.create_topic(topic)
    with broker.connect() as connection:
        received = broker.metric("buslane_request_bytes_total", listener="kafka")
        correlation_id = connection.send(wire.FETCH, 11, wire.fetch_body({(topic, 0): 0}, max_wait_ms=LONG_MS))
        await_until(lambda: broker.metric("buslane_request_bytes_total", listener="kafka") > received, "the fetch is read")
        began = time.monotonic()
        broker.stop()
        assert time.monotonic() - began < 5
        answered, payload = connection.receive()
    assert answered == correlation_id
    found = wire.parse_fetch(wire.Reader(payload))
    assert found.error == 0 and found.partitions[topic, 0].data == b""
