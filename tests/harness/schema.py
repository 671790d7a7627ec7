"""Requests and responses described by their fields, for those that are asked in many versions.

A message is a list of fields, each with the versions it is in; `Api.ask` encodes keyword arguments and answers with an
object that has the response's fields as attributes. Like wire.py it is written from Kafka's protocol guide.
"""

from dataclasses import dataclass
from types import SimpleNamespace

from .wire import Connection, Reader, Writer

LATEST = 99


@dataclass(frozen=True)
class Field:
    """`kind` is one of KINDS, a list of fields (an array of structures), ("array", kind), or a structure that is read only:
    ("struct", fields), ("nullable", fields)."""

    name: str
    kind: object
    since: int = 0
    until: int = LATEST
    default: object = None

    def is_in(self, version: int) -> bool:
        return self.since <= version <= self.until


# A name, what is sent when the caller gives nothing, and the methods of Writer and Reader: older versions', flexible versions'.
KINDS = {
    "bool": (False, "i8", "i8"),
    "i8": (0, "i8", "i8"),
    "i16": (0, "i16", "i16"),
    "i32": (0, "i32", "i32"),
    "i64": (0, "i64", "i64"),
    "f64": (0.0, "f64", "f64"),
    "string": ("", "string", "compact_string"),
    "nullable": (None, "string", "compact_string"),
    "bytes": (b"", "bytes", "compact_bytes"),
}


def write(out: Writer, fields: list[Field], values: dict, version: int, flexible: bool) -> None:
    unknown = values.keys() - {field.name for field in fields}
    assert not unknown, f"no such fields: {unknown}"
    for field in fields:
        if field.is_in(version):
            given = values[field.name] if field.name in values else field.default
            _write_value(out, field.kind, given, version, flexible)
    if flexible:
        out.tags()


def _write_value(out: Writer, kind, value, version: int, flexible: bool) -> None:
    if isinstance(kind, str):
        if kind == "uuid":
            out.raw(value or bytes(16))
            return
        absent, plain, compact = KINDS[kind]
        getattr(out, compact if flexible else plain)(absent if value is None else value)
        return
    if value is None:
        out.uvarint(0) if flexible else out.i32(-1)
        return
    out.uvarint(len(value) + 1) if flexible else out.i32(len(value))
    for one in value:
        if isinstance(kind, tuple):
            _write_value(out, kind[1], one, version, flexible)
        else:
            write(out, kind, one, version, flexible)


def read(source: Reader, fields: list[Field], version: int, flexible: bool) -> SimpleNamespace:
    found = SimpleNamespace()
    for field in fields:
        if field.is_in(version):
            setattr(found, field.name, _read_value(source, field.kind, version, flexible))
    if flexible:
        source.tags()
    return found


def _read_value(source: Reader, kind, version: int, flexible: bool):
    if kind == "uuid":
        return source.raw(16)
    if isinstance(kind, str):
        _, plain, compact = KINDS[kind]
        value = getattr(source, compact if flexible else plain)()
        return bool(value) if kind == "bool" else value

    if isinstance(kind, tuple) and kind[0] in ("struct", "nullable"):
        if kind[0] == "nullable" and source.i8() < 0:
            return None
        return read(source, kind[1], version, flexible)

    def item():
        return _read_value(source, kind[1], version, flexible) if isinstance(kind, tuple) else read(source, kind, version, flexible)

    return source.compact_array(item) if flexible else source.array(item)


@dataclass
class Pending:
    """A request under way on a connection of its own pace; `result` waits for the answer."""

    api: "Api"
    version: int
    connection: Connection
    correlation_id: int

    def result(self, timeout_s: float | None = None) -> SimpleNamespace:
        if timeout_s is not None:
            self.connection.socket.settimeout(timeout_s)
        reader = self.connection.answer(self.api.key, self.version, self.correlation_id)
        found = read(reader, self.api.response, self.version, self.version >= self.api.flexible)
        reader.done()
        return found


@dataclass(frozen=True)
class Api:
    key: int
    flexible: int
    request: list[Field]
    response: list[Field]

    def body(self, version: int, **values) -> bytes:
        out = Writer()
        write(out, self.request, values, version, version >= self.flexible)
        return bytes(out.data)

    def send(self, connection: Connection, version: int, **values) -> Pending:
        return Pending(self, version, connection, connection.send(self.key, version, self.body(version, **values)))

    def ask(self, connection: Connection, version: int, **values) -> SimpleNamespace:
        return self.send(connection, version, **values).result()
