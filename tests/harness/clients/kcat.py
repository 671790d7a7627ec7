"""kcat: librdkafka at the command line, in the (old) version that Debian ships."""

import itertools
import subprocess
import time

from ..records import Record
from .base import Client, Start

RECORD_END, KEY_END = b"\x1e", b"\x1f"


class KcatError(Exception):
    """kcat ended with an error; the text is what it said."""


def kcat(bootstrap: str, arguments: list[str], data: bytes = b"", deadline_s: float = 30) -> bytes:
    command = ["kcat", "-b", bootstrap, *arguments]
    done = subprocess.run(command, input=data, capture_output=True, timeout=deadline_s)
    if done.returncode:
        raise KcatError(done.stderr.decode(errors="replace"))
    return done.stdout


def settings(config: dict) -> list[str]:
    return list(itertools.chain.from_iterable(("-X", f"{name}={value}") for name, value in config.items()))


class Kcat(Client):
    name = "kcat"
    can_produce = True
    can_consume = True
    produce_errors = (KcatError,)
    # Headers stand on its command line; keys and values end at delimiters.
    sends_text_only = True
    # It has no option for a record's timestamp.
    sends_timestamps = False

    def produce(self, bootstrap, topic, partition, records, codec="none", idempotent=True, **config):
        config = {
            "compression.codec": codec,
            "enable.idempotence": str(idempotent).lower(),
            "acks": "all",
            "linger.ms": 5,
            "max.in.flight": 5 if idempotent else 1,
            "message.timeout.ms": 20000,
            **config,
        }
        # What is a flag for kcat is the same for all records of one call.
        for (keyless, valueless, headers), group in itertools.groupby(records, lambda r: (r.key is None, r.value is None, r.headers)):
            arguments = ["-P", "-t", topic, "-p", str(partition), "-D", RECORD_END.decode(), *settings(config)]
            for name, value in headers:
                arguments += ["-H", name if value is None else f"{name}={value.decode()}"]
            if valueless:
                arguments.append("-Z")
            if not keyless:
                arguments += ["-K", KEY_END.decode()]
            lines = [(b"" if keyless else record.key + KEY_END) + (record.value or b"") + RECORD_END for record in group]
            kcat(bootstrap, arguments, b"".join(lines))
        return

    def consume(self, bootstrap, topic, partition, start: Start, count, deadline_s=15.0, **config):
        offset = {"earliest": "beginning", "latest": "end"}.get(start, start)
        form = "%o %T %K %S %k%s%h" + RECORD_END.decode()
        config = {"auto.offset.reset": "error", **config}
        arguments = ["-C", "-q", "-t", topic, "-p", str(partition), "-o", str(offset), "-c", str(count), "-f", form, *settings(config)]
        # -e ends at the end of the partition, for when fewer records are there than asked; it asks again until the deadline.
        end = time.monotonic() + deadline_s
        while True:
            rows = self._parse(kcat(bootstrap, [*arguments, "-e"], deadline_s=deadline_s))
            if len(rows) >= count or time.monotonic() > end:
                return rows

    def _parse(self, out: bytes) -> list[Record]:
        records = []
        while out:
            offset, timestamp, key_size, value_size, rest = out.split(b" ", 4)
            key_size, value_size = int(key_size), int(value_size)
            key, rest = self._part(rest, key_size)
            value, rest = self._part(rest, value_size)
            headers, out = rest.split(RECORD_END, 1)
            pairs = [pair.split(b"=", 1) for pair in headers.split(b",")] if headers else []
            records.append(
                Record(
                    key,
                    value,
                    tuple((name.decode(), None if text == b"NULL" else text) for name, text in pairs),
                    int(timestamp),
                    int(offset),
                )
            )
        return records

    @staticmethod
    def _part(rest: bytes, size: int) -> tuple[bytes | None, bytes]:
        return (None, rest) if size < 0 else (rest[:size], rest[size:])
