"""Client quotas over the raw protocol: the requests, and shorthands for what tests set and see."""

import itertools
import struct

from . import wire
from .broker import Broker, await_until
from .schema import Api
from .schema import Field as F

ENTITY = F("entity", [F("type", "string"), F("name", "nullable")])

DESCRIBE = Api(
    48,
    flexible=1,
    request=[F("components", [F("type", "string"), F("match_type", "i8"), F("match", "nullable")]), F("strict", "bool")],
    response=[
        F("throttle_time_ms", "i32"),
        F("error", "i16"),
        F("message", "nullable"),
        F("entries", [ENTITY, F("values", [F("key", "string"), F("value", "f64")])]),
    ],
)

ALTER = Api(
    49,
    flexible=1,
    request=[F("entries", [ENTITY, F("ops", [F("key", "string"), F("value", "f64"), F("remove", "bool")])]), F("validate_only", "bool")],
    response=[F("throttle_time_ms", "i32"), F("entries", [F("error", "i16"), F("message", "nullable"), ENTITY])],
)

wire.FIRST_FLEXIBLE.update({api.key: api.flexible for api in (DESCRIBE, ALTER)})

# The name of an entity that is the default one, and what one is matched by.
DEFAULT = None
EXACT, IS_DEFAULT, ANY = 0, 1, 2

PRODUCE, FETCH, TIME, MUTATIONS = "producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"
CONNECTIONS = "connection_creation_rate"

_client_ids = itertools.count(1)


def new_client_id() -> str:
    """One that nobody used before."""
    return f"client-{next(_client_ids)}"


def entity(**parts: str | None) -> list[dict]:
    """`user`, `client_id` or `ip`; None is the default one."""
    return [{"type": kind.replace("_", "-"), "name": name} for kind, name in parts.items()]


def entry(parts: dict[str, str | None], values: dict[str, float | None]) -> dict:
    """Quotas of an entity; None removes one."""
    ops = [{"key": key, "value": value or 0.0, "remove": value is None} for key, value in values.items()]
    return {"entity": entity(**parts), "ops": ops}


def described(connection: wire.Connection, *components: tuple, strict: bool = False, version: int = 1) -> dict:
    """Quotas by entity, each a tuple of (type, name)."""
    asked = [dict(zip(("type", "match_type", "match"), component, strict=True)) for component in components]
    answer = DESCRIBE.ask(connection, version, components=asked, strict=strict)
    assert answer.error == 0, (wire.error_name(answer.error), answer.message)
    return {tuple(sorted((part.type, part.name) for part in e.entity)): {v.key: v.value for v in e.values} for e in answer.entries}


def set_quotas(broker: Broker, parts: dict[str, str | None], **values: float | None) -> None:
    """Sets or removes quotas of an entity, and waits until that is told. Kafka's broker follows a moment later."""
    with broker.connect() as connection:
        answer = ALTER.ask(connection, 1, entries=[entry(parts, values)])
        assert [e.error for e in answer.entries] == [0], answer.entries
        key = tuple(sorted((part["type"], part["name"]) for part in entity(**parts)))

        def is_told() -> bool:
            now = described(connection).get(key, {})
            return all(now.get(name) == value for name, value in values.items())

        await_until(is_told, f"the quotas of {parts} are {values}")


def produced(connection: wire.Connection, topic: str, size: int, acks: int = 1) -> int:
    """Produces a record of so many bytes, and returns the throttle time in milliseconds."""
    body = wire.produce_body({(topic, 0): wire.Batch([bytes(size)]).encode()}, acks)
    reader = connection.request(wire.PRODUCE, 8, body)
    results = wire.parse_produce(reader)
    assert [result.name for result in results.values()] == ["NONE"]
    return struct.unpack(">i", reader.data[-4:])[0]


def fetched(connection: wire.Connection, topic: str, offset: int = 0, **options) -> tuple[int, wire.FetchResult]:
    """The throttle time in milliseconds, and what was fetched."""
    reader = connection.request(wire.FETCH, 11, wire.fetch_body({(topic, 0): offset}, **options))
    (throttle_ms,) = struct.unpack(">i", reader.data[reader.at : reader.at + 4])
    return throttle_ms, wire.parse_fetch(reader)


def asked_metadata(connection: wire.Connection) -> int:
    """Asks for the metadata of no topic, and returns the throttle time in milliseconds."""
    return connection.request(wire.METADATA, 10, bytes(wire.Writer().uvarint(1).i8(0).i8(0).i8(0).tags().data)).i32()
