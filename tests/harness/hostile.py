"""Sends nonsense to a broker for a bounded time, from a process of its own: python -m harness.hostile PORT SECONDS SEED.

Prints how many connections it made. Same seed, same bytes.
"""

import random
import socket
import struct
import sys
import time

from . import groups, quotas, wire

CONNECTIONS_AT_ONCE = 40
PAUSE_S = 0.002  # between connections: the load is there to confuse, not to occupy the machine


def requests(generator: random.Random) -> list[bytes]:
    """Well-formed requests, to be damaged."""
    batch = wire.Batch(values=[generator.randbytes(50) for _ in range(3)]).encode()
    topic = "hostile"
    return [
        wire.frame(wire.API_VERSIONS, 3, bytes(wire.Writer().compact_string("a").compact_string("1").tags().data), 1),
        wire.frame(wire.METADATA, 1, struct.pack(">i", 0), 1),
        wire.frame(wire.PRODUCE, 8, wire.produce_body({(topic, 0): batch, (topic, 1): batch}), 1),
        wire.frame(wire.FETCH, 11, wire.fetch_body({(topic, 0): 0, (topic, 1): 5}), 1),
        wire.frame(wire.LIST_OFFSETS, 5, bytes(wire.Writer().i32(-1).i8(0).i32(1).string(topic).i32(1).i32(0).i32(-1).i64(-1).data), 1),
        wire.frame(wire.INIT_PRODUCER_ID, 1, bytes(wire.Writer().string(None).i32(1000).data), 1),
        wire.frame(
            wire.CREATE_TOPICS, 4, bytes(wire.Writer().i32(1).string("x" * 300).i32(1).i16(1).i32(0).i32(0).i32(1000).i8(1).data), 1
        ),
        wire.frame(wire.DELETE_RECORDS, 1, bytes(wire.Writer().i32(1).string(topic).i32(1).i32(0).i64(-1).i32(1000).data), 1),
        wire.frame(wire.OFFSET_FOR_LEADER_EPOCH, 3, bytes(wire.Writer().i32(-1).i32(1).string(topic).i32(1).i32(0).i32(-1).i32(0).data), 1),
        *group_requests(topic),
        *quota_requests(),
    ]


def group_requests(topic: str) -> list[bytes]:
    group = {"group": "hostile"}
    member = {**group, "member_id": "m", "generation": 1}
    subscribed = [{"name": "range", "metadata": groups.subscription([topic])}]
    partitions = [{"index": 0, "offset": 1, "metadata": "text"}]
    return [
        wire.frame(api.key, version, api.body(version, **fields), 1)
        for api, version, fields in [
            (groups.FIND_COORDINATOR, 4, {"keys": ["hostile", "other"]}),
            (groups.JOIN, 3, {**group, "protocols": subscribed}),
            (groups.JOIN, 9, {**group, "protocols": subscribed, "instance_id": "i", "reason": "why"}),
            (groups.SYNC, 5, {**member, "assignments": [{"member_id": "m", "assignment": groups.assignment({topic: [0]})}]}),
            (groups.HEARTBEAT, 4, member),
            (groups.LEAVE, 5, {**group, "members": [{"member_id": "m", "instance_id": "i", "reason": "why"}]}),
            (groups.OFFSET_COMMIT, 9, {**member, "topics": [{"name": topic, "partitions": partitions}]}),
            (groups.OFFSET_FETCH, 9, {"groups": [{**group, "topics": [{"name": topic, "partitions": [0, 1]}]}]}),
            (groups.DESCRIBE_GROUPS, 5, {"groups": ["hostile", "other"]}),
            (groups.LIST_GROUPS, 5, {"states": ["Stable"], "types": ["classic"]}),
            (groups.DELETE_GROUPS, 2, {"groups": ["hostile"]}),
            (groups.OFFSET_DELETE, 0, {**group, "topics": [{"name": topic, "partitions": [{"index": 0}]}]}),
        ]
    ]


def quota_requests() -> list[bytes]:
    # Of nobody who is there, whatever becomes of the values.
    entry = quotas.entry({"user": "anna", "client_id": "hostile"}, {quotas.PRODUCE: 1e15, quotas.TIME: None})
    component = {"type": "user", "match_type": quotas.EXACT, "match": "anna"}
    return [
        wire.frame(quotas.ALTER.key, 1, quotas.ALTER.body(1, entries=[entry], validate_only=True), 1),
        wire.frame(quotas.DESCRIBE.key, 0, quotas.DESCRIBE.body(0, components=[component]), 1),
    ]


def random_bytes(g: random.Random) -> bytes:
    return g.randbytes(g.randrange(1, 2000))


def framed_random_bytes(g: random.Random) -> bytes:
    body = g.randbytes(g.randrange(1, 2000))
    return struct.pack(">i", len(body)) + body


def known_key_random_body(g: random.Random) -> bytes:
    return wire.frame(g.randrange(0, 95), g.randrange(-1, 20), g.randbytes(g.randrange(0, 300)), g.randrange(2**31))


def damaged_request(g: random.Random) -> bytes:
    data = bytearray(g.choice(requests(g)))
    for _ in range(g.randrange(1, 6)):
        data[g.randrange(4, len(data))] = g.randrange(256)
    return bytes(data)


def huge_counts(g: random.Random) -> bytes:
    """A request in which some four bytes became a huge or negative count."""
    data = bytearray(g.choice(requests(g)))
    at = g.randrange(8, len(data) - 4)
    data[at : at + 4] = struct.pack(">i", g.choice([2**31 - 1, 10**9, -1, -(2**31), 10**6]))
    return bytes(data)


def huge_compact_counts(g: random.Random) -> bytes:
    return wire.frame(
        g.choice([wire.METADATA, wire.PRODUCE, wire.FETCH, wire.CREATE_TOPICS]),
        g.randrange(9, 14),
        b"\xff\xff\xff\xff\x0f" * g.randrange(1, 20),
        1,
    )


def cut_request(g: random.Random) -> bytes:
    data = g.choice(requests(g))
    return data[: g.randrange(1, len(data))]


def announced_and_not_sent(g: random.Random) -> bytes:
    return struct.pack(">i", g.choice([99 << 20, 50 << 20, 1 << 20])) + g.randbytes(g.randrange(0, 500))


def bad_length(g: random.Random) -> bytes:
    return struct.pack(">i", g.choice([-1, -(2**31), 0, 1, 3, 2**31 - 1, 2**30])) + g.randbytes(50)


def http(_: random.Random) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def tls(g: random.Random) -> bytes:
    return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + g.randbytes(100)


KINDS = [
    random_bytes,
    framed_random_bytes,
    known_key_random_body,
    damaged_request,
    damaged_request,
    huge_counts,
    huge_compact_counts,
    cut_request,
    announced_and_not_sent,
    bad_length,
    http,
    tls,
]


def main(port: int, seconds: float, seed: int) -> None:
    generator = random.Random(seed)
    end = time.monotonic() + seconds
    held: list[socket.socket] = []
    made = 0
    while time.monotonic() < end:
        try:
            connection = socket.create_connection(("127.0.0.1", port), 5)
            connection.setblocking(False)
            made += 1
            connection.send(generator.choice(KINDS)(generator))
            held.append(connection)
        except OSError:
            pass  # closed on us: as it should be
        if len(held) > CONNECTIONS_AT_ONCE:
            held.pop(generator.randrange(len(held))).close()
        time.sleep(PAUSE_S)
    for connection in held:
        connection.close()
    print(made)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
