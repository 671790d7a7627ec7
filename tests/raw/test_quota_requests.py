"""Quotas set and told (KIP-546): entities, filters, keys and values, right and wrong ones."""

import contextlib

import pytest

from harness.broker import await_until
from harness.quotas import (
    ALTER,
    ANY,
    CONNECTIONS,
    DEFAULT,
    DESCRIBE,
    EXACT,
    FETCH,
    IS_DEFAULT,
    MUTATIONS,
    PRODUCE,
    TIME,
    described,
    entry,
    new_client_id,
    produced,
    set_quotas,
)
from harness.wire import error_name


@pytest.fixture
def connection(broker):
    with broker.connect() as connection:
        yield connection


def altered(connection, *entries, version: int = 1, **options) -> list[str]:
    answer = ALTER.ask(connection, version, entries=list(entries), **options)
    return [error_name(e.error) for e in answer.entries]


@pytest.mark.parametrize("version", range(2))
def test_quotas_are_set_told_changed_and_removed(broker, connection, version):
    name = new_client_id()
    parts, key = {"user": "anna", "client_id": name}, (("client-id", name), ("user", "anna"))
    all_keys = {PRODUCE: 1024.0, FETCH: 2048.0, TIME: 12.5, MUTATIONS: 0.5}
    set_quotas(broker, parts, **all_keys)
    exactly = ("client-id", EXACT, name)
    assert described(connection, exactly, version=version) == {key: all_keys}
    set_quotas(broker, parts, **{PRODUCE: 4096.0, FETCH: None, TIME: None})
    assert described(connection, exactly, version=version) == {key: {PRODUCE: 4096.0, MUTATIONS: 0.5}}
    # Removing what is not there, even what nobody knows, is no error.
    assert altered(connection, entry(parts, {FETCH: None, "nonsense": None}), version=version) == ["NONE"]
    set_quotas(broker, parts, **{PRODUCE: None, MUTATIONS: None})
    assert described(connection, exactly, version=version) == {}


def test_who_only_validates_changes_nothing(connection):
    name = new_client_id()
    assert altered(connection, entry({"client_id": name}, {PRODUCE: 1024.0}), validate_only=True) == ["NONE"]
    assert altered(connection, entry({"client_id": name}, {PRODUCE: -1.0}), validate_only=True) == ["INVALID_REQUEST"]
    assert described(connection, ("client-id", EXACT, name)) == {}


def test_filters(broker, connection):
    # A rate that holds nobody up.
    rate, name, user = {PRODUCE: 1e15}, new_client_id(), "user-of-filters"
    connections = {CONNECTIONS: 1e9}
    entities = {
        "user": {"user": user},
        "default user": {"user": DEFAULT},
        "id": {"client_id": name},
        "default id": {"client_id": DEFAULT},
        "both": {"user": user, "client_id": name},
        "user, default id": {"user": user, "client_id": DEFAULT},
        "default user, id": {"user": DEFAULT, "client_id": name},
        "ip": {"ip": "10.9.8.7"},
        "default ip": {"ip": DEFAULT},
    }
    keys = {tuple(sorted((kind.replace("_", "-"), value) for kind, value in parts.items())): known for known, parts in entities.items()}
    try:
        for parts in entities.values():
            set_quotas(broker, parts, **(connections if "ip" in parts else rate))

        def found(*components, strict=False) -> set[str]:
            return {keys[key] for key in described(connection, *components, strict=strict) if key in keys}

        assert found() == set(entities)
        assert found(("user", EXACT, user)) == {"user", "both", "user, default id"}
        assert found(("user", EXACT, user), strict=True) == {"user"}
        assert found(("user", IS_DEFAULT, None)) == {"default user", "default user, id"}
        assert found(("user", ANY, None), strict=True) == {"user", "default user"}
        assert found(("client-id", EXACT, name)) == {"id", "both", "default user, id"}
        assert found(("client-id", IS_DEFAULT, None), strict=True) == {"default id"}
        assert found(("client-id", ANY, None), ("user", EXACT, user)) == {"both", "user, default id"}
        assert found(("client-id", EXACT, name), ("user", IS_DEFAULT, None), strict=True) == {"default user, id"}
        assert found(("user", EXACT, "nobody")) == set()
        assert found(("ip", ANY, None)) == {"ip", "default ip"}
        assert found(("ip", EXACT, "10.9.8.7"), strict=True) == {"ip"}
        assert found(("ip", IS_DEFAULT, None)) == {"default ip"}
    finally:
        for parts in entities.values():
            set_quotas(broker, parts, **dict.fromkeys(connections if "ip" in parts else rate))


@pytest.mark.parametrize(
    ("components", "error"),
    [
        ([("", ANY, None)], "INVALID_REQUEST"),
        ([("group", ANY, None)], "UNSUPPORTED_VERSION"),
        ([("user", ANY, None), ("user", IS_DEFAULT, None)], "INVALID_REQUEST"),
        ([("user", EXACT, None)], "INVALID_REQUEST"),
        ([("user", IS_DEFAULT, "anna")], "INVALID_REQUEST"),
        ([("client-id", ANY, "anna")], "INVALID_REQUEST"),
        ([("client-id", 3, None)], "INVALID_REQUEST"),
        ([("ip", ANY, None), ("user", ANY, None)], "INVALID_REQUEST"),
    ],
)
def test_wrong_filters(connection, components, error):
    asked = [dict(zip(("type", "match_type", "match"), component, strict=True)) for component in components]
    for version in range(2):
        answer = DESCRIBE.ask(connection, version, components=asked)
        assert (error_name(answer.error), answer.entries) == (error, [])
        assert answer.message


@pytest.mark.parametrize(
    ("parts", "values"),
    [
        ({}, {PRODUCE: 1024.0}),
        ({"group": "g"}, {PRODUCE: 1024.0}),
        ({"client_id": ""}, {PRODUCE: 1024.0}),
        ({"user": ""}, {PRODUCE: 1024.0}),
        ({"client_id": "c", "ip": "127.0.0.1"}, {PRODUCE: 1024.0}),
        ({"client_id": "c"}, {"nonsense": 1.0}),
        ({"client_id": "c"}, {CONNECTIONS: 1.0}),
        ({"ip": "127.0.0.1"}, {PRODUCE: 1.0}),
        ({"ip": "127.0.0.1"}, {CONNECTIONS: 0.0}),
        ({"ip": "127.0.0.1"}, {CONNECTIONS: 1.5}),
        ({"ip": "127.0.0.1"}, {CONNECTIONS: 3e9}),
        ({"ip": "no address"}, {CONNECTIONS: 1.0}),
        ({"client_id": "c"}, {PRODUCE: 0.0}),
        ({"client_id": "c"}, {FETCH: -1.0}),
        ({"client_id": "c"}, {PRODUCE: 1024.5}),
        ({"client_id": "c"}, {FETCH: 1e19}),
        ({"client_id": "c"}, {TIME: -0.5}),
        ({"client_id": "c"}, {MUTATIONS: 0.0}),
    ],
    ids=str,
)
def test_wrong_entities_keys_and_values(connection, parts, values):
    good = new_client_id()
    entries = entry(parts, values), entry({"client_id": good}, {PRODUCE: 1e15})
    for version in range(2):
        answer = ALTER.ask(connection, version, entries=list(entries), validate_only=True)
        told = {tuple((part.type, part.name) for part in e.entity): (error_name(e.error), e.message) for e in answer.entries}
        # The others are as good as without it.
        assert told.pop((("client-id", good),))[0] == "NONE"
        ((error, message),) = told.values()
        assert error == "INVALID_REQUEST" and message, told


def test_a_key_or_an_entity_that_stands_there_twice_is_refused(connection):
    name = new_client_id()
    twice = entry({"client_id": name}, {PRODUCE: 1e15})
    twice["ops"] *= 2
    assert altered(connection, twice, validate_only=True) == ["INVALID_REQUEST"]
    once = entry({"client_id": name}, {PRODUCE: 1e15})
    assert altered(connection, once, once, validate_only=True) == ["INVALID_REQUEST"], "told once"


@pytest.mark.buslane_only("Kafka's brokers look the name up")
def test_an_address_is_no_name(connection):
    answer = ALTER.ask(connection, 1, entries=[entry({"ip": "localhost"}, {CONNECTIONS: 10.0})])
    assert (error_name(answer.entries[0].error), "localhost" in answer.entries[0].message) == ("INVALID_REQUEST", True)


@pytest.mark.buslane_only("Kafka takes names as long as the protocol does")
def test_names_are_bounded(broker, connection):
    assert altered(connection, entry({"user": "n" * 1025}, {PRODUCE: 1e15}), validate_only=True) == ["INVALID_REQUEST"]
    assert altered(connection, entry({"user": "n" * 1024}, {PRODUCE: 1e15}), validate_only=True) == ["NONE"]


@pytest.mark.buslane_only("Kafka has no such bound")
def test_entities_are_bounded_and_told_all_at_once_within_bounds_of_memory(new_broker):
    broker = new_broker({"buslane": {"limits.memory": "64MiB", "limits.request_max": "8MiB"}}).start()
    with broker.connect(60) as connection:
        names = [f"{number:06}" + "n" * 1000 for number in range(10_000)]
        for at in range(0, len(names), 2_000):
            entries = [entry({"client_id": name}, {PRODUCE: 1e15}) for name in names[at : at + 2_000]]
            assert set(altered(connection, *entries)) == {"NONE"}
        assert altered(connection, entry({"client_id": "one more"}, {PRODUCE: 1e15})) == ["INVALID_REQUEST"]
        assert altered(connection, entry({"client_id": names[7]}, {PRODUCE: 2e15})) == ["NONE"], "it is there already"
        assert len(described(connection)) == len(names)
    before = broker.memory_kib()
    with contextlib.ExitStack() as open_connections:
        # Nobody reads what is told.
        for _ in range(20):
            DESCRIBE.send(open_connections.enter_context(broker.connect()), 1, components=[])
        with broker.connect(60) as connection:
            assert altered(connection, entry({"client_id": names[7]}, {PRODUCE: None})) == ["NONE"]
            assert broker.memory_kib() - before < (64 + 100) * 1024
    broker.stop()
    broker.start()
    with broker.connect(60) as connection:
        assert len(described(connection)) == len(names) - 1
    broker.stop()


def test_quotas_outlive_the_broker_and_hold_from_its_start_on(new_broker):
    broker = new_broker().start()
    broker.create_topic("t")
    set_quotas(broker, {"user": DEFAULT, "client_id": "c"}, **{PRODUCE: 1024.0, TIME: 2.5})
    set_quotas(broker, {"client_id": DEFAULT}, **{FETCH: 77.0})
    broker.stop()
    broker.start()
    with broker.connect() as connection:
        expected = {(("client-id", "c"), ("user", DEFAULT)): {PRODUCE: 1024.0, TIME: 2.5}, (("client-id", DEFAULT),): {FETCH: 77.0}}
        assert described(connection) == expected
    with broker.connect(client_id="c") as connection:
        await_until(lambda: produced(connection, "t", 11_000) > 0, "the quota is in force")
    broker.stop()
