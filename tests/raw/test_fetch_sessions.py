"""Incremental fetch sessions (KIP-227): full fetches without a session, sessions opened, continued, misused and flooded."""

import pytest

from harness import wire
from harness.wire import Batch

BATCH = Batch(values=[b"a", b"b"]).encode()


@pytest.fixture
def filled(broker, topic):
    """A topic with two records in each of three partitions, and a connection."""
    broker.create_topic(topic, 3)
    with broker.connect() as connection:
        wire.produce(connection, {(topic, p): BATCH for p in range(3)})
        yield topic, connection


def ask(connection, session, offsets=None, **options):
    return wire.fetch(connection, offsets or {}, session=session, max_wait_ms=50, **options)


def test_a_full_fetch_without_a_session_opens_none(filled):
    topic, connection = filled
    found = ask(connection, (0, -1), {(topic, p): 0 for p in range(3)})
    assert found.session_id == 0 and len(found.partitions) == 3
    empty = ask(connection, (0, -1), {(topic, p): 2 for p in range(3)})
    assert empty.session_id == 0 and len(empty.partitions) == 3, "a full response names every partition, empty or not"


def test_a_session_answers_only_what_changed(filled):
    topic, connection = filled
    opened = ask(connection, (0, 0), {(topic, p): 0 for p in range(3)})
    session = opened.session_id
    assert session > 0 and len(opened.partitions) == 3
    # The consumer has moved to the ends: Kafka tells them once, as nothing is cached of them.
    ask(connection, (session, 1), {(topic, p): 2 for p in range(3)})
    assert ask(connection, (session, 2)).partitions == {}
    wire.produce(connection, {(topic, 1): BATCH})
    changed = ask(connection, (session, 3))
    assert list(changed.partitions) == [(topic, 1)] and len(changed.partitions[topic, 1].batches) == 1
    # Not moved on, so it comes again; moved on, it is quiet.
    assert list(ask(connection, (session, 4)).partitions) == [(topic, 1)]
    assert ask(connection, (session, 5), {(topic, 1): 4}).partitions == {}
    assert changed.session_id == session


def test_a_waiting_session_wakes_for_any_of_its_partitions(broker, filled):
    topic, connection = filled
    session = ask(connection, (0, 0), {(topic, p): 2 for p in range(3)}).session_id
    ask(connection, (session, 1))
    connection.send(wire.FETCH, 11, wire.fetch_body({}, session=(session, 2), max_wait_ms=9_000))
    with broker.connect() as other:
        wire.produce(other, {(topic, 2): BATCH})
    _, payload = connection.receive()
    assert list(wire.parse_fetch(wire.Reader(payload)).partitions) == [(topic, 2)]


def test_forgotten_partitions_are_left_out_and_added_ones_come_in(filled):
    topic, connection = filled
    session = ask(connection, (0, 0), {(topic, 0): 2, (topic, 1): 2}).session_id
    ask(connection, (session, 1), {(topic, 2): 2}, forgotten={topic: [0]})
    wire.produce(connection, {(topic, p): BATCH for p in range(3)})
    assert sorted(ask(connection, (session, 2)).partitions) == [(topic, 1), (topic, 2)]


def test_errors_are_part_of_a_session(filled):
    topic, connection = filled
    session = ask(connection, (0, 0), {(topic, 0): 2, (topic, 1): 50}).session_id
    assert session > 0
    for epoch in (1, 2):
        found = ask(connection, (session, epoch)).partitions
        assert {where: wire.error_name(p.error) for where, p in found.items()} == {(topic, 1): "OFFSET_OUT_OF_RANGE"}


def test_a_wrong_epoch_or_id_is_refused_and_a_closed_session_is_gone(filled):
    topic, connection = filled
    session = ask(connection, (0, 0), {(topic, 0): 0}).session_id
    assert wire.error_name(ask(connection, (session, 7)).error) == "INVALID_FETCH_SESSION_EPOCH"
    assert wire.error_name(ask(connection, (session + 1, 1)).error) == "FETCH_SESSION_ID_NOT_FOUND"
    assert ask(connection, (session, 1)).error == 0
    closing = ask(connection, (session, -1), {(topic, 0): 0})
    assert closing.error == 0 and closing.session_id == 0 and len(closing.partitions) == 1
    assert wire.error_name(ask(connection, (session, 2)).error) == "FETCH_SESSION_ID_NOT_FOUND"


def test_a_session_may_be_replaced_by_a_new_one(filled):
    topic, connection = filled
    first = ask(connection, (0, 0), {(topic, 0): 0}).session_id
    second = ask(connection, (first, 0), {(topic, 1): 0})
    assert second.error == 0 and second.session_id not in (0, first) and list(second.partitions) == [(topic, 1)]
    assert wire.error_name(ask(connection, (first, 1)).error) == "FETCH_SESSION_ID_NOT_FOUND"


def test_a_client_that_opens_a_session_with_each_fetch_is_served_and_grows_nothing(new_broker, topic):
    """Some clients do. The cache is bounded; whoever gets no place is answered in full, with session 0."""
    broker = new_broker().start()
    broker.create_topic(topic, 3)
    with broker.connect() as connection:
        wire.produce(connection, {(topic, p): BATCH for p in range(3)})

        def flood(times: int) -> None:
            for _ in range(times):
                found = ask(connection, (0, 0), {(topic, p): 0 for p in range(3)})
                assert found.error == 0 and len(found.partitions) == 3

        flood(1_500)
        before = broker.memory_kib()
        flood(3_000)
        grown = broker.memory_kib() - before
    assert grown < 32 * 1024, f"{grown} KiB more after 3,000 further sessions"
    broker.stop()
