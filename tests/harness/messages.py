"""Requests and responses in every version, as Kafka's own definitions of them say (they are inside its client library).

Messages are dicts with the definitions' field names, their first letter small: {"groupId": "g", "topics": [{"name": "t"}]}.
"""

import functools
import json
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

from . import wire
from .cache import CHECKOUT
from .wire import Connection, Reader, Writer

UNLIMITED = 32767


@functools.cache
def _library() -> Path:
    """Apache Kafka's jars, fetched by scripts/apache-kafka where they are not there yet."""
    script = CHECKOUT / "scripts" / "apache-kafka"
    done = subprocess.run([script, "library"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


@dataclass(frozen=True)
class Versions:
    """Versions from `first` to `last`, both included; none where `last` is less."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str | None) -> "Versions":
        if text in (None, "none"):
            return cls(0, -1)
        if text.endswith("+"):
            return cls(int(text[:-1]), UNLIMITED)
        first, _, last = text.partition("-")
        return cls(int(first), int(last or first))

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last


class Field:
    def __init__(self, definition: dict, structs: dict[str, list["Field"]]) -> None:
        self.name = definition["name"][0].lower() + definition["name"][1:]
        self.versions = Versions.parse(definition["versions"])
        self.nullable = Versions.parse(definition.get("nullableVersions"))
        self.tagged = Versions.parse(definition.get("taggedVersions"))
        self.tag = definition.get("tag")
        self.is_array = definition["type"].startswith("[]")
        self.kind = definition["type"].removeprefix("[]")
        # None for primitive kinds.
        self.fields = [Field(one, structs) for one in definition["fields"]] if "fields" in definition else structs.get(self.kind)
        self._default = definition.get("default")

    def default(self):
        if self._default == "null":
            return None
        if self.is_array:
            return []
        if self.fields is not None:
            return {}
        if self.kind == "string":
            return self._default or ""
        if self.kind in ("bytes", "records"):
            return b""
        if self.kind == "uuid":
            return bytes(16)
        if self.kind == "bool":
            return self._default in (True, "true")
        return float(self._default or 0) if self.kind == "float64" else int(str(self._default or 0), 0)


# The methods of Writer and Reader, for plain and for flexible versions.
SIMPLE = {"int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint32": "u32"}
TEXTS = {"string": ("string", "compact_string"), "bytes": ("bytes", "compact_bytes"), "records": ("bytes", "compact_bytes")}


def _write_one(out: Writer, field: Field, value, version: int, flexible: bool) -> None:
    if field.fields is not None:
        _write_fields(out, field.fields, value, version, flexible)
    elif field.kind in TEXTS:
        getattr(out, TEXTS[field.kind][flexible])(value)
    elif field.kind == "uuid":
        out.raw(value)
    elif field.kind == "bool":
        out.i8(1 if value else 0)
    elif field.kind == "uint16":
        out._pack(">H", value)
    elif field.kind == "float64":
        out._pack(">d", value)
    else:
        getattr(out, SIMPLE[field.kind])(value)


def _write(out: Writer, field: Field, value, version: int, flexible: bool) -> None:
    if field.is_array:
        if value is None:
            out.uvarint(0) if flexible else out.i32(-1)
            return
        out.uvarint(len(value) + 1) if flexible else out.i32(len(value))
        for one in value:
            _write_one(out, field, one, version, flexible)
        return
    if field.fields is not None and field.nullable.last >= 0 and version in field.nullable:
        out.i8(-1 if value is None else 1)
        if value is None:
            return
    _write_one(out, field, value, version, flexible)


def _write_fields(out: Writer, fields: list[Field], values: dict, version: int, flexible: bool) -> None:
    unknown = values.keys() - {field.name for field in fields}
    assert not unknown, f"no such fields: {unknown}; there are {[field.name for field in fields]}"
    tagged = []
    for field in fields:
        if version not in field.versions:
            continue
        value = values[field.name] if field.name in values else field.default()
        if version in field.tagged:
            if field.name in values and value != field.default():
                tagged.append((field, value))
        else:
            _write(out, field, value, version, flexible)
    if flexible:
        out.uvarint(len(tagged))
        for field, value in sorted(tagged, key=lambda one: one[0].tag):
            body = Writer()
            _write(body, field, value, version, flexible)
            out.uvarint(field.tag).uvarint(len(body.data)).raw(bytes(body.data))


def _read_one(source: Reader, field: Field, version: int, flexible: bool):
    if field.fields is not None:
        return _read_fields(source, field.fields, version, flexible)
    if field.kind in TEXTS:
        return getattr(source, TEXTS[field.kind][flexible])()
    if field.kind == "uuid":
        return source.raw(16)
    if field.kind == "bool":
        return bool(source.i8())
    if field.kind == "uint16":
        return source._unpack(">H")
    if field.kind == "uint32":
        return source._unpack(">I")
    if field.kind == "float64":
        return source._unpack(">d")
    return getattr(source, SIMPLE[field.kind])()


def _read(source: Reader, field: Field, version: int, flexible: bool):
    if field.is_array:
        size = source.uvarint() - 1 if flexible else source.i32()
        return None if size < 0 else [_read_one(source, field, version, flexible) for _ in range(size)]
    if field.fields is not None and version in field.nullable and source.i8() < 0:
        return None
    return _read_one(source, field, version, flexible)


def _read_fields(source: Reader, fields: list[Field], version: int, flexible: bool) -> dict:
    found, tagged = {}, {}
    for field in fields:
        if version not in field.versions:
            continue
        if version in field.tagged:
            tagged[field.tag] = field
        else:
            found[field.name] = _read(source, field, version, flexible)
    if flexible:
        for _ in range(source.uvarint()):
            field, size = tagged[source.uvarint()], source.uvarint()
            end = source.at + size
            found[field.name] = _read(source, field, version, flexible)
            assert source.at == end, f"{field.name}: {end - source.at} bytes left over"
    return found


class Message:
    """A request or a response; absent tagged fields are absent from what is read."""

    def __init__(self, definition: dict) -> None:
        structs: dict[str, list[Field]] = {}
        for one in definition.get("commonStructs", []):
            structs[one["name"]] = [Field(field, structs) for field in one["fields"]]
        self.key = definition["apiKey"]
        self.valid = Versions.parse(definition["validVersions"])
        self.flexible = Versions.parse(definition["flexibleVersions"])
        self.fields = [Field(field, structs) for field in definition["fields"]]

    def encode(self, version: int, values: dict) -> bytes:
        out = Writer()
        _write_fields(out, self.fields, values, version, version in self.flexible)
        return bytes(out.data)

    def decode(self, version: int, source: Reader) -> dict:
        found = _read_fields(source, self.fields, version, version in self.flexible)
        source.done()
        return found


@functools.cache
def message(name: str) -> Message:
    """The message of this name: "FetchRequest"."""
    jars = list((_library() / "lib").glob("kafka-clients-*.jar"))
    assert len(jars) == 1, f"{len(jars)} client libraries in {_library()}"
    with zipfile.ZipFile(jars[0]) as jar:
        text = jar.read(f"common/message/{name}.json").decode()
    # The definitions have comments, which stand on lines of their own or behind a field.
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("//")]
    return Message(json.loads("\n".join(lines)))


class Api:
    """A kind of request with its answer: Api("Fetch")."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.request, self.response = message(name + "Request"), message(name + "Response")
        self.key = self.request.key
        first_flexible = self.request.flexible.first if self.request.flexible.last >= 0 else wire.NEVER_FLEXIBLE
        assert wire.FIRST_FLEXIBLE.setdefault(self.key, first_flexible) == first_flexible, f"{name} is flexible from {first_flexible}"

    def send(self, connection: Connection, version: int, values: dict) -> int:
        """Sends without waiting; returns the correlation id."""
        return connection.send(self.key, version, self.request.encode(version, values))

    def receive(self, connection: Connection, version: int, correlation_id: int) -> dict:
        return self.response.decode(version, connection.answer(self.key, version, correlation_id))

    def ask(self, connection: Connection, version: int, values: dict) -> dict:
        return self.receive(connection, version, self.send(connection, version, values))
