"""Sends well-formed requests with as many entries as fit, from a process of its own: python -m harness.wide PORT SECONDS KIND.

Several connections at once, every second of which never reads what it is answered. Prints what became of the requests of
those that do, as "answered closed".
"""

import contextlib
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable

from . import wire
from .wire import Writer

CONNECTIONS = 8
# One that is not asked again at once: the load is there to take memory, not to occupy the machine.
PAUSE_S = 0.3

LIST_OFFSETS, OFFSET_FETCH, FIND_COORDINATOR, DESCRIBE_CONFIGS, DESCRIBE_LOG_DIRS = 2, 9, 10, 32, 35
DESCRIBE_GROUPS = 15

# The topic that there is.
TOPIC = "normal"


def array(items: int, item: Callable[[int], bytes]) -> bytes:
    return struct.pack(">i", items) + b"".join(item(i) for i in range(items))


def text(value: str) -> bytes:
    return bytes(Writer().string(value).data)


def flexible(api: int, version: int, body: bytes) -> bytes:
    head = struct.pack(">hhih", api, version, 1, 0) + b"\0"
    return struct.pack(">i", len(head) + len(body)) + head + body


def produce_to_nothing() -> bytes:
    """Six bytes a partition, without records."""
    count = 300_000
    body = Writer().compact_string(None).i16(1).i32(1000).uvarint(1 + 1).compact_string(TOPIC).uvarint(count + 1)
    body.raw(b"".join(struct.pack(">i", i) + b"\0\0" for i in range(count))).tags().tags()
    return flexible(wire.PRODUCE, 9, bytes(body.data))


def produce_smallest_batches() -> bytes:
    """As many as fit of the smallest batches, each for a partition that is there."""
    batch = wire.Batch(values=[b""]).encode()
    entry = struct.pack(">ii", 0, len(batch)) + batch
    head = Writer().string(None).i16(1).i32(1000).i32(1).string(TOPIC)
    return wire.frame(wire.PRODUCE, 8, bytes(head.data) + array(60_000, lambda _: entry), 1)


def produce_garbage_batches() -> bytes:
    """Each batch is refused with a text of its own."""
    head = Writer().string(None).i16(1).i32(1000).i32(1).string(TOPIC)
    entry = struct.pack(">ii", 0, 40) + bytes(40)
    return wire.frame(wire.PRODUCE, 8, bytes(head.data) + array(60_000, lambda _: entry), 1)


def fetch(count: int, topic: str, partition: Callable[[int], int]) -> bytes:
    head = Writer().i32(-1).i32(60_000).i32(1 << 30).i32(1 << 20).i8(0)
    entries = array(count, lambda i: struct.pack(">iqi", partition(i), 0, 1 << 20))
    return wire.frame(wire.FETCH, 4, bytes(head.data) + struct.pack(">i", 1) + text(topic) + entries, 1)


def fetch_forgets() -> bytes:
    """Partitions of a topic with a long name, to be left out of a session."""
    head = Writer().i32(-1).i32(1000).i32(1).i32(1 << 20).i8(0).i32(0).i32(-1).i32(0)
    forgotten = struct.pack(">i", 1) + text("f" * 32_000) + array(900_000, lambda i: struct.pack(">i", i))
    return wire.frame(wire.FETCH, 7, bytes(head.data) + forgotten, 1)


def find_coordinator(key: Callable[[int], bytes], count: int = 1_000_000) -> bytes:
    body = Writer().i8(0).uvarint(count + 1).raw(b"".join(key(i) for i in range(count))).tags()
    return flexible(FIND_COORDINATOR, 4, bytes(body.data))


def of_partitions(api: int, version: int, before: bytes, count: int, entry: Callable[[int], bytes], topic: str = TOPIC) -> bytes:
    return wire.frame(api, version, before + struct.pack(">i", 1) + text(topic) + array(count, entry), 1)


def list_offsets() -> bytes:
    """With a name that takes long to hash."""
    return of_partitions(LIST_OFFSETS, 1, struct.pack(">i", -1), 300_000, lambda i: struct.pack(">iq", i, -1), "l" * 30_000)


def number(i: int) -> bytes:
    return struct.pack(">i", i)


KINDS: dict[str, Callable[[], bytes]] = {
    "produce_to_nothing": produce_to_nothing,
    "produce_smallest_batches": produce_smallest_batches,
    "produce_garbage_batches": produce_garbage_batches,
    "fetch_of_what_is_not_there": lambda: fetch(120_000, TOPIC, lambda i: i + 1),
    "fetch_that_waits": lambda: fetch(120_000, TOPIC, lambda _: 0),
    "fetch_that_waits_too_wide": lambda: fetch(250_000, TOPIC, lambda _: 0),
    "fetch_that_waits_for_many": lambda: fetch(4_000, "wide", lambda i: i),
    "fetch_forgets": fetch_forgets,
    "find_coordinator_without_names": lambda: find_coordinator(lambda _: b"\1"),
    "find_coordinator": lambda: find_coordinator(lambda i: b"\x05%04x" % i, 60_000),
    "list_offsets": list_offsets,
    "describe_log_dirs": lambda: of_partitions(DESCRIBE_LOG_DIRS, 1, b"", 900_000, number, "wide"),
    "describe_log_dirs_topics": lambda: wire.frame(
        DESCRIBE_LOG_DIRS, 1, array(50_000, lambda _: text("wide") + struct.pack(">ii", 1, 3_999)), 1
    ),
    "delete_topics": lambda: wire.frame(wire.DELETE_TOPICS, 1, array(500_000, lambda _: text("n")) + number(1000), 1),
    "delete_topics_different": lambda: wire.frame(wire.DELETE_TOPICS, 1, array(100_000, lambda i: text(f"{i:x}")) + number(1000), 1),
    "offset_fetch": lambda: of_partitions(OFFSET_FETCH, 1, text("wide"), 120_000, number),
    "offset_fetch_too_wide": lambda: of_partitions(OFFSET_FETCH, 1, text("wide"), 900_000, number),
    "metadata": lambda: wire.frame(wire.METADATA, 1, array(500_000, lambda _: text(TOPIC)), 1),
    "metadata_different": lambda: wire.frame(wire.METADATA, 1, array(120_000, lambda i: text(f"{i:x}")), 1),
    "metadata_all": lambda: wire.frame(wire.METADATA, 1, number(-1), 1),
    "describe_configs": lambda: wire.frame(
        DESCRIBE_CONFIGS, 1, array(100_000, lambda _: b"\2" + text(TOPIC) + number(-1)) + b"\1", 1
    ),
    "describe_configs_of_the_broker": lambda: wire.frame(
        DESCRIBE_CONFIGS, 1, array(5_000, lambda i: b"\4" + text("0" * (i % 200) + str(i)) + number(-1)) + b"\1", 1
    ),
    "describe_groups": lambda: wire.frame(DESCRIBE_GROUPS, 0, array(300_000, lambda _: text("g")), 1),
}


def speak(port: int, request: bytes, end: float, reads: bool, counts: dict[str, int]) -> None:
    while (left := end - time.monotonic()) > 0:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.settimeout(min(left, 30))
            if not reads:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(request)
                time.sleep(min(left, 3))
                continue
            while time.monotonic() < end:
                try:
                    connection.sendall(request)
                    missing = struct.unpack(">i", receive(connection, 4))[0]
                    while missing:
                        missing -= len(receive(connection, min(missing, 1 << 16)))
                    counts["answered"] += 1
                except (ConnectionError, BrokenPipeError):
                    counts["closed"] += 1
                    break
                finally:
                    time.sleep(PAUSE_S)
        time.sleep(0.01)


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data


def main(port: int, seconds: float, kind: str) -> None:
    request = KINDS[kind]()
    print("ready", flush=True)
    end = time.monotonic() + seconds
    counts = {"answered": 0, "closed": 0}
    speakers = [
        threading.Thread(target=speak, args=(port, request, end, i % 2 == 0, counts)) for i in range(CONNECTIONS)
    ]
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join()
    print(counts["answered"], counts["closed"])


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
