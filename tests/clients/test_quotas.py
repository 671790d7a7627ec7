"""Client quotas: clients held at a rate, who is told and for how long, which quota counts, changes under running clients."""

import contextlib
import threading
import time

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from harness import wire
from harness.broker import await_until
from harness.clients.confluent import open_consumer
from harness.quotas import (
    ALTER,
    CONNECTIONS,
    DEFAULT,
    FETCH,
    MUTATIONS,
    PRODUCE,
    TIME,
    asked_metadata,
    entry,
    fetched,
    new_client_id,
    produced,
    set_quotas,
)
from harness.schema import Api
from harness.schema import Field as F
from harness.tools import tool
from harness.wire import error_name

# Ten seconds' worth are free after a pause: the windows over which both brokers take the rate.
FREE_S = 10
USER = "ANONYMOUS"


@contextlib.contextmanager
def quotas(broker, parts: dict, **values: float):
    """Quotas of an entity, for a while."""
    set_quotas(broker, parts, **values)
    try:
        yield
    finally:
        set_quotas(broker, parts, **dict.fromkeys(values))


def answered_after_s(connection) -> float:
    """When a request is answered that is sent now."""
    begun = time.monotonic()
    connection.socket.settimeout(30)
    asked_metadata(connection)
    return time.monotonic() - begun


def test_a_producer_is_told_and_not_read_meanwhile_and_others_go_on(broker, topic):
    broker.create_topic(topic)
    rate, name = 50_000, new_client_id()
    with quotas(broker, {"client_id": name}, **{PRODUCE: rate}):
        with broker.connect(client_id=name) as held, broker.connect(client_id=name + "-other") as other:
            # Kafka's broker follows a moment after the quota is told: a byte is free of it, and known then.
            assert produced(held, topic, FREE_S * rate - 20_000) == 0
            begun = time.monotonic()
            told_ms = produced(held, topic, 120_000)
            assert time.monotonic() - begun < 1, "the answer does not wait"
            # 2 s above the limit, of which a little has passed.
            assert 1_500 <= told_ms <= 2_500, told_ms
            assert produced(other, topic, 500_000) == 0 and answered_after_s(other) < 1
            waited = answered_after_s(held) * 1000
            assert told_ms - 400 <= waited <= told_ms + 1_000, (told_ms, waited)
            assert answered_after_s(held) < 1, "and then no more"


def test_a_producer_that_wants_no_answers_is_not_read_either(broker, topic):
    broker.create_topic(topic)
    rate, name = 50_000, new_client_id()
    with quotas(broker, {"client_id": name}, **{PRODUCE: rate}):
        with broker.connect(client_id=name) as held:
            for size in FREE_S * rate, 100_000:
                held.send(wire.PRODUCE, 8, wire.produce_body({(topic, 0): wire.Batch([bytes(size)]).encode()}, acks=0))
            waited = answered_after_s(held)
            assert 1.5 <= waited <= 3.5, waited
            assert answered_after_s(held) < 1


def test_a_consumer_gets_as_much_as_it_may_and_then_nothing_for_a_while(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        for _ in range(30):
            produced(connection, topic, 10_000)
    rate, name = 20_000, new_client_id()
    with quotas(broker, {"client_id": name}, **{FETCH: rate}), broker.connect(client_id=name) as held:
        throttle_ms, found = fetched(held, topic, partition_max_bytes=155_000)
        offset = len(found.partitions[topic, 0].batches)
        assert (throttle_ms, offset) == (0, 15)
        throttle_ms, found = fetched(held, topic, offset, partition_max_bytes=105_000)
        # 250,000 where 200,000 are free.
        assert 1_500 <= throttle_ms <= 3_000 and found.error == 0 and found.partitions == {}, (throttle_ms, found)
        waited = answered_after_s(held) * 1000
        assert throttle_ms - 400 <= waited <= throttle_ms + 1_000, (throttle_ms, waited)
        # What was not sent does not count: a little less than that is free.
        throttle_ms, found = fetched(held, topic, offset, max_bytes=10, partition_max_bytes=10)
        assert (throttle_ms, len(found.partitions[topic, 0].batches)) == (0, 1)
    with quotas(broker, {"client_id": name + "-greedy"}, **{FETCH: rate}), broker.connect(client_id=name + "-greedy") as greedy:
        # At most what may be used in ten seconds, however much is asked for. Kafka fills that up with a part of a batch,
        # which with what stands around the records is a little too much: a moment later it is not.
        throttle_ms, found = fetched(greedy, topic, partition_max_bytes=1_000_000)
        got = sum(len(partition.data) for partition in found.partitions.values())
        assert (throttle_ms == 0 and 190_000 < got <= FREE_S * rate) or (throttle_ms < 500 and got == 0), (throttle_ms, got)


def test_a_throttled_fetch_leaves_its_session_as_it_was(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        for _ in range(12):
            produced(connection, topic, 10_000)
    name = new_client_id()
    with quotas(broker, {"client_id": name}, **{FETCH: 6_000}), broker.connect(client_id=name) as held:
        held.socket.settimeout(30)
        _, found = fetched(held, topic, session=(0, 0), partition_max_bytes=45_000)
        session = found.session_id
        read = len(found.partitions[topic, 0].batches)
        assert session != 0 and read == 4
        throttle_ms, found = fetched(held, topic, read, session=(session, 1), partition_max_bytes=45_000)
        assert throttle_ms > 0 and (found.error, found.session_id, found.partitions) == (0, session, {})
        throttle_ms, found = fetched(held, topic, read, session=(session, 2), partition_max_bytes=10)
        assert throttle_ms == 0 and [b.base_offset for b in found.partitions[topic, 0].batches] == [read]
        # A client that asks for a new session cannot take it from an empty answer, and asks again.
        throttle_ms, found = fetched(held, topic, read, session=(0, 0), partition_max_bytes=45_000)
        assert throttle_ms > 0 and (found.error, found.session_id, found.partitions) == (0, 0, {})


@pytest.mark.buslane_only("a consumer of Kafka's gets nothing then, for ever")
def test_a_batch_above_the_quota_comes_and_is_paid_for(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        produced(connection, topic, 100_000)
    name = new_client_id()
    with quotas(broker, {"client_id": name}, **{FETCH: 8_000}), broker.connect(client_id=name) as held:
        throttle_ms, found = fetched(held, topic)
        assert len(found.partitions[topic, 0].data) > 100_000
        assert 2_000 <= throttle_ms <= 3_000, throttle_ms


def test_time_spent_on_requests_is_limited(broker):
    name = new_client_id()
    with quotas(broker, {"client_id": name}, **{TIME: 0.01}), broker.connect(client_id=name) as held:
        told = []
        begun = time.monotonic()
        while time.monotonic() - begun < 3:
            told.append(asked_metadata(held))
        # A tenth of a millisecond a second: after what is free, a request or two a second.
        assert max(told) > 0 and all(0 <= ms <= 1_000 for ms in told), told
        throttled = sum(1 for ms in told if ms)
        assert 2 <= throttled <= len(told) < 2_000, (throttled, len(told))
        with broker.connect(client_id=name + "-other") as other:
            assert asked_metadata(other) == 0


CREATE_TOPICS = Api(
    19,
    flexible=5,
    request=[
        F("topics", [F("name", "string"), F("partitions", "i32"), F("replicas", "i16", default=1), F("assignments", []), F("configs", [])]),
        F("timeout_ms", "i32", default=10_000),
        F("validate_only", "bool"),
    ],
    response=[
        F("throttle_time_ms", "i32"),
        F(
            "topics",
            [
                F("name", "string"),
                F("topic_id", "uuid", since=7),
                F("error", "i16"),
                F("message", "nullable"),
                F("partitions", "i32", since=5),
                F("replicas", "i16", since=5),
                F(
                    "configs",
                    [F("name", "string"), F("value", "nullable"), F("read_only", "bool"), F("source", "i8"), F("sensitive", "bool")],
                    since=5,
                ),
            ],
        ),
    ],
)
CREATE_PARTITIONS = Api(
    37,
    flexible=2,
    request=[
        F("topics", [F("name", "string"), F("count", "i32"), F("assignments", [])]),
        F("timeout_ms", "i32", default=10_000),
        F("validate_only", "bool"),
    ],
    response=[F("throttle_time_ms", "i32"), F("topics", [F("name", "string"), F("error", "i16"), F("message", "nullable")])],
)
DELETE_TOPICS = Api(
    20,
    flexible=4,
    request=[F("names", ("array", "string")), F("timeout_ms", "i32", default=10_000)],
    response=[F("throttle_time_ms", "i32"), F("topics", [F("name", "string"), F("error", "i16"), F("message", "nullable", since=5)])],
)

wire.FIRST_FLEXIBLE[CREATE_PARTITIONS.key] = CREATE_PARTITIONS.flexible


def test_partitions_created_and_deleted_are_limited(broker, topic):
    name = new_client_id()
    with quotas(broker, {"client_id": name}, **{MUTATIONS: 1.0}), broker.connect(client_id=name) as held:

        def created(version: int, *names: str, **options):
            asked = [{"name": one, "partitions": 8, "assignments": [], "configs": []} for one in names]
            answer = CREATE_TOPICS.ask(held, version, topics=asked, **options)
            return answer.throttle_time_ms, [error_name(found.error) for found in answer.topics]

        held.socket.settimeout(60)
        # Eleven are free after a pause; the topic that goes beyond that comes, the next one does not.
        throttle_ms, errors = created(7, topic + "-1", topic + "-2", topic + "-3")
        assert errors == ["NONE", "NONE", "THROTTLING_QUOTA_EXCEEDED"] and 4_000 <= throttle_ms <= 5_000, (throttle_ms, errors)
        assert created(7, topic + "-4")[1] == ["NONE"], "the connection was not read until there was something again"
        throttle_ms, errors = created(5, topic + "-5", validate_only=True)
        assert errors == ["NONE"] and throttle_ms > 0, "what is only validated counts, too"
        answer = DELETE_TOPICS.ask(held, 4, names=[topic + "-1"])
        assert error_name(answer.topics[0].error) == "NONE" and answer.throttle_time_ms > 0


@pytest.mark.parametrize(("api", "version", "strict"), [("add", 2, False), ("add", 3, True), ("delete", 4, False), ("delete", 5, True)])
def test_versions_that_know_the_error_are_refused_and_older_ones_held_up(broker, topic, api, version, strict):
    """Of one request for 8 partitions of each of three topics: 11 are free, the topic that goes beyond that is served (KIP-599)."""
    name, topics = new_client_id(), [f"{topic}-{number}" for number in range(3)]
    for one in topics:
        broker.create_topic(one, 2 if api == "add" else 8)
    with quotas(broker, {"client_id": name}, **{MUTATIONS: 1.0}), broker.connect(client_id=name) as held:
        held.socket.settimeout(60)
        if api == "add":
            asked = [{"name": one, "count": 10, "assignments": None} for one in topics]
            answer = CREATE_PARTITIONS.ask(held, version, topics=asked)
        else:
            answer = DELETE_TOPICS.ask(held, version, names=topics)
        errors = [error_name(found.error) for found in sorted(answer.topics, key=lambda found: found.name)]
        assert sorted(errors) == ["NONE", "NONE", "THROTTLING_QUOTA_EXCEEDED" if strict else "NONE"] == errors, errors
        owed_s = 16 - 11 if strict else 24 - 11
        assert (owed_s - 1) * 1000 <= answer.throttle_time_ms <= owed_s * 1000, answer.throttle_time_ms


def test_connections_from_an_address_are_limited(new_broker):
    broker = new_broker().start()
    with broker.connect() as connection, contextlib.ExitStack() as made:
        # Kafka's broker follows a moment later, and the shared one is others' too.
        set_quotas(broker, {"ip": "127.0.0.1"}, **{CONNECTIONS: 3})

        def is_served() -> bool:
            try:
                asked_metadata(made.enter_context(broker.connect()))
            except wire.ConnectionClosed:
                return False
            return True

        begun = time.monotonic()
        served = [is_served() for _ in range(60)]
        passed = time.monotonic() - begun
        # Ten seconds' worth are free; then each one too many is held for a third of a second, and after that there is one.
        assert served[0] and not all(served), served
        assert sum(served) <= 3 * (FREE_S + passed) + 3 and passed >= 2, (served, passed)
        # Whoever is there goes on, and may change it.
        removal = entry({"ip": "127.0.0.1"}, {CONNECTIONS: None})
        assert [e.error for e in ALTER.ask(connection, 1, entries=[removal]).entries] == [0]
        await_until(is_served, "a new connection is served")
        await_until(lambda: all(is_served() for _ in range(20)), "all are")
    broker.stop()


def test_the_most_specific_quota_counts(new_broker):
    broker = new_broker().start()
    broker.create_topic("t")
    size = 1_000_000
    # What each level's rate makes a client wait that produced nothing before, in seconds: its number, from the most specific on.
    levels = [
        {"user": USER, "client_id": "c1"},
        {"user": USER, "client_id": DEFAULT},
        {"user": USER},
        {"user": DEFAULT, "client_id": "c4"},
        {"user": DEFAULT, "client_id": DEFAULT},
        {"user": DEFAULT},
        {"client_id": "c7"},
        {"client_id": DEFAULT},
    ]
    wait_s = [5 * (number + 1) for number in range(8)]
    for parts, seconds in zip(levels, wait_s, strict=True):
        set_quotas(broker, parts, **{PRODUCE: round(size / (FREE_S + seconds))})

    def told_s(client_id: str | None) -> float:
        with broker.connect(client_id=client_id) as connection:
            return produced(connection, "t", size) / 1000

    def is_level(number: int | None, client_id: str | None = None) -> bool:
        """Kafka's broker follows a moment after quotas are told, so what has no meter of its own yet is asked first."""
        told = told_s(new_client_id() if client_id is None else client_id)
        expected = 0 if number is None else wait_s[number - 1]
        # A user's quota is used up by all its client ids together: what was sent before under it counts as well.
        shared = number in (3, 6)
        assert told >= 0
        return abs(told - expected) < 1 or (shared and told > expected and abs((told + FREE_S) % (expected + FREE_S)) < 1.5)

    def remove(*numbers: int) -> None:
        for number in numbers:
            set_quotas(broker, levels[number - 1], **{PRODUCE: None})

    await_until(lambda: is_level(2), "the user's default client id", every_s=0.2)
    assert is_level(1, "c1")
    remove(1, 2)
    await_until(lambda: is_level(3), "the user", every_s=0.2)
    remove(3)
    await_until(lambda: is_level(5), "the default user's default client id", every_s=0.2)
    assert is_level(4, "c4")
    remove(4, 5)
    await_until(lambda: is_level(6), "the default user", every_s=0.2)
    remove(6)
    await_until(lambda: is_level(8), "the default client id", every_s=0.2)
    assert is_level(7, "c7")
    # A client without an id is in no quota of client ids.
    assert told_s("") == 0 and told_s(None) == 0
    remove(7, 8)
    await_until(lambda: is_level(None), "nobody has a quota", every_s=0.2)
    broker.stop()


def test_a_change_holds_for_running_clients(broker, topic):
    broker.create_topic(topic)
    name = new_client_id()
    with broker.connect(client_id=name) as held:
        assert produced(held, topic, 500_000) == 0
        set_quotas(broker, {"client_id": name}, **{PRODUCE: 50_000})
        # What was used before it had a quota counts in Kafka while any quota was ever set, here it does not.
        await_until(lambda: produced(held, topic, 200_000) > 0, "the quota is in force")
        set_quotas(broker, {"client_id": name}, **{PRODUCE: 10_000_000})
        held.socket.settimeout(60)
        await_until(lambda: produced(held, topic, 1_000) == 0, "the higher quota is in force")
        set_quotas(broker, {"client_id": name}, **{PRODUCE: None})
        await_until(lambda: produced(held, topic, 500_000) == 0, "there is none")


def test_librdkafka_is_held_at_its_rates(broker, topic):
    """A producer and a consumer as fast as they can, each with a quota: the bytes that went over the time that passed."""
    broker.create_topic(topic)
    source = topic + "-source"
    broker.create_topic(source)
    with broker.connect() as connection:
        for _ in range(60):
            produced(connection, source, 100_000)
    rate, seconds = 100_000, 25
    throttled: dict[str, list[float]] = {"producer": [], "consumer": []}
    done: dict[str, int] = {"producer": 0, "consumer": 0}
    names = {"producer": new_client_id(), "consumer": new_client_id()}

    def config(who: str) -> dict:
        seen = throttled[who]
        # Twenty records of 1 KiB in a request, so that a rate shows.
        return {"client.id": names[who], "throttle_cb": lambda event: seen.append(event.throttle_time)}

    def produce(until: float) -> None:
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": broker.bootstrap,
                "batch.size": 20_000,
                "queue.buffering.max.messages": 200,
                "linger.ms": 5,
                **config("producer"),
            }
        )

        def delivered(error, message):
            if error is None:
                done["producer"] += len(message.value())

        while time.monotonic() < until:
            try:
                producer.produce(topic, bytes(1_000), on_delivery=delivered)
            except BufferError:
                producer.poll(0.05)
            producer.poll(0)
        producer.purge()
        producer.flush(10)

    def consume(until: float) -> None:
        fetch = {"fetch.message.max.bytes": 110_000, "queued.max.messages.kbytes": 1_000_000}
        consumer = open_consumer(broker.bootstrap, source, 0, 0, **fetch, **config("consumer"))
        while time.monotonic() < until:
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                done["consumer"] += len(message.value())
        consumer.close()

    with (
        quotas(broker, {"client_id": names["producer"]}, **{PRODUCE: rate}),
        quotas(broker, {"client_id": names["consumer"]}, **{FETCH: rate}),
    ):
        begun = time.monotonic()
        threads = [threading.Thread(target=run, args=(begun + seconds,)) for run in (produce, consume)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        passed = time.monotonic() - begun
    for who, transferred in done.items():
        # Ten seconds' worth are free at the start.
        expected = rate * (min(passed, seconds) + FREE_S)
        assert 0.6 * expected <= transferred <= 1.3 * expected, (who, transferred, expected)
        assert any(0 < held_s <= 60 for held_s in throttled[who]), (who, throttled[who])


def test_kafkas_tool_sets_shows_and_removes_quotas(broker):
    at, name = ("--bootstrap-server", broker.bootstrap), new_client_id()
    client = ("--entity-type", "clients", "--entity-name", name)
    both = ("--entity-type", "users", "--entity-name", "anna", "--entity-type", "clients", "--entity-default")
    tool("configs", *at, *client, "--alter", "--add-config", "producer_byte_rate=123456,request_percentage=250.5")
    told = tool("configs", *at, *client, "--describe")
    assert f"client-id '{name}'" in told and "producer_byte_rate=123456.0" in told and "request_percentage=250.5" in told, told
    tool("configs", *at, *both, "--alter", "--add-config", "consumer_byte_rate=2048")
    told = tool("configs", *at, *both, "--describe")
    assert "user-principal 'anna'" in told and "the default client-id" in told and "consumer_byte_rate=2048.0" in told, told
    tool("configs", *at, *client, "--alter", "--delete-config", "producer_byte_rate")
    told = tool("configs", *at, *client, "--describe")
    assert "producer_byte_rate" not in told and "request_percentage=250.5" in told, told
    address = ("--entity-type", "ips", "--entity-name", "10.9.8.6")
    tool("configs", *at, *address, "--alter", "--add-config", "connection_creation_rate=50")
    assert "connection_creation_rate=50.0" in tool("configs", *at, *address, "--describe")
    tool("configs", *at, *address, "--alter", "--delete-config", "connection_creation_rate")
    refused = tool("configs", *at, *client, "--alter", "--add-config", "producer_byte_rate=-5", fails=True)
    assert "must be greater than 0" in refused, refused
    tool("configs", *at, *client, "--alter", "--delete-config", "request_percentage")
    tool("configs", *at, *both, "--alter", "--delete-config", "consumer_byte_rate")
    assert "rate" not in tool("configs", *at, *both, "--describe")


def test_an_admin_client_waits_and_gets_its_topics(broker, topic):
    name = new_client_id()
    with quotas(broker, {"client_id": name}, **{MUTATIONS: 2.0}):
        admin = AdminClient({"bootstrap.servers": broker.bootstrap, "client.id": name})
        topics = [f"{topic}-{number}" for number in range(3)]
        for one in topics:
            (future,) = admin.create_topics([NewTopic(one, 12, 1)], operation_timeout=30, request_timeout=30).values()
            future.result(40)
        (future,) = admin.delete_topics(topics[:1], operation_timeout=30, request_timeout=30).values()
        future.result(40)


@pytest.mark.buslane_only("the metrics are ours")
def test_metrics_tell_who_is_held_up(new_broker):
    broker = new_broker(http=True).start()
    broker.create_topic("t")
    labels = {"quota": PRODUCE}
    assert broker.metric("buslane_quota_throttled_requests_total", **labels) == 0
    set_quotas(broker, {"client_id": "c"}, **{PRODUCE: 10_000})
    with broker.connect(client_id="c") as held:
        told_ms = produced(held, "t", 500_000)
    assert broker.metric("buslane_quota_throttled_requests_total", **labels) == 1
    assert broker.metric("buslane_quota_throttle_seconds_total", **labels) == told_ms / 1000
    assert broker.metric("buslane_quota_throttled_requests_total", quota=FETCH) == 0
    assert broker.metric("buslane_quota_meters") == 1
    set_quotas(broker, {"client_id": "c"}, **{PRODUCE: None})
    assert broker.metric("buslane_quota_meters") == 0
    broker.stop()
