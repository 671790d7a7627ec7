"""Records as every client sees them, and the data that the tests send."""

import base64
import random
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Record:
    """One record. `timestamp` in ms; `offset` and `timestamp_type` are known only on the way back."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int | None = None
    offset: int | None = field(default=None, compare=False)
    timestamp_type: str | None = field(default=None, compare=False)

    def to_json(self) -> dict:
        return {
            "key": _to_base64(self.key),
            "value": _to_base64(self.value),
            "headers": [[name, _to_base64(value)] for name, value in self.headers],
            "timestamp": self.timestamp,
        }

    @staticmethod
    def from_json(row: dict) -> "Record":
        return Record(
            key=_from_base64(row["key"]),
            value=_from_base64(row["value"]),
            headers=tuple((name, _from_base64(value)) for name, value in row["headers"]),
            timestamp=row["timestamp"],
            offset=row["offset"],
            timestamp_type=row.get("timestamp_type"),
        )


def _to_base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _from_base64(value: str | None) -> bytes | None:
    return None if value is None else base64.b64decode(value)


# An hour before the broker's clock is well within every timestamp check; a test run never crosses it.
def sample(now_ms: int, *, text_only: bool = False, null_headers: bool = True) -> list[Record]:
    """Records with everything that a record can carry, timestamps out of order, and enough bulk for several batches.

    `text_only`: no binary parts. `null_headers`: one record has a header whose value is null.
    """
    base = now_ms - 3_600_000
    records = [
        Record(b"key-0", b"value-0", (), base),
        Record(None, b"no key", (), base + 5),
        Record(b"tombstone", None, (), base + 3),
        Record(b"empty value", b"", (), base + 3),
        Record(b"", b"empty key", (), base + 4),
        Record(b"headers", b"several", (("a", b"1"), ("b", "größer".encode())), base + 9),
        Record("schlüssel".encode(), "naïve ☃ 中文".encode(), (), base + 1),
    ]
    if not text_only:
        # kcat, as a consumer, ends a header's text at a zero byte and marks the parts with the other three.
        header = bytes(byte for byte in range(256) if byte not in b"\0,=\x1e")
        records.append(Record(bytes(range(256)), bytes(reversed(range(256))), (("binary", header),), base + 7))
    records += [
        Record(b"repeated", b"header keys", (("trace", b"1"), ("trace", b"2"), ("other", b"x")), base + 8),
        Record(b"empty header", b"value", (("empty", b""),), base + 8),
    ]
    if null_headers:
        records.append(Record(b"null header", b"value", (("flag", None),), base + 8))
    generator = random.Random(7)
    for i in range(60):
        # What every codec makes smaller: some clients send as it is what does not become so.
        value = 2 * bytes(generator.choices(b"abcdefgh \t,;=%", k=generator.randrange(200, 600)))
        records.append(Record(b"bulk-%d" % (i % 5), value, (), base + 20 + generator.randrange(1000)))
    return records
