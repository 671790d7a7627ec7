"""A small Kafka protocol encoder and connection, for what ordinary clients never send.

It is deliberately not shared with the broker: it is written from Kafka's protocol guide and checked against a real
Kafka, so that it can be wrong only in its own way. Only the request versions that the tests use are here.
"""

from __future__ import annotations

import gzip
import itertools
import socket
import struct
import time
from dataclasses import dataclass, field

PRODUCE, FETCH, LIST_OFFSETS, METADATA = 0, 1, 2, 3
API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS, DELETE_RECORDS, INIT_PRODUCER_ID, OFFSET_FOR_LEADER_EPOCH = 18, 19, 20, 21, 22, 23
DESCRIBE_CLUSTER = 60
DESCRIBE_PRODUCERS = 61

COORDINATOR_LOAD_IN_PROGRESS = 14
ERRORS = {
    0: "NONE",
    -1: "UNKNOWN_SERVER_ERROR",
    1: "OFFSET_OUT_OF_RANGE",
    2: "CORRUPT_MESSAGE",
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    4: "INVALID_FETCH_SIZE",
    5: "LEADER_NOT_AVAILABLE",
    6: "NOT_LEADER_OR_FOLLOWER",
    7: "REQUEST_TIMED_OUT",
    8: "BROKER_NOT_AVAILABLE",
    9: "REPLICA_NOT_AVAILABLE",
    10: "MESSAGE_TOO_LARGE",
    11: "STALE_CONTROLLER_EPOCH",
    12: "OFFSET_METADATA_TOO_LARGE",
    13: "NETWORK_EXCEPTION",
    14: "COORDINATOR_LOAD_IN_PROGRESS",
    15: "COORDINATOR_NOT_AVAILABLE",
    16: "NOT_COORDINATOR",
    17: "INVALID_TOPIC_EXCEPTION",
    18: "RECORD_LIST_TOO_LARGE",
    19: "NOT_ENOUGH_REPLICAS",
    20: "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    21: "INVALID_REQUIRED_ACKS",
    22: "ILLEGAL_GENERATION",
    23: "INCONSISTENT_GROUP_PROTOCOL",
    24: "INVALID_GROUP_ID",
    25: "UNKNOWN_MEMBER_ID",
    26: "INVALID_SESSION_TIMEOUT",
    27: "REBALANCE_IN_PROGRESS",
    28: "INVALID_COMMIT_OFFSET_SIZE",
    29: "TOPIC_AUTHORIZATION_FAILED",
    30: "GROUP_AUTHORIZATION_FAILED",
    31: "CLUSTER_AUTHORIZATION_FAILED",
    32: "INVALID_TIMESTAMP",
    33: "UNSUPPORTED_SASL_MECHANISM",
    34: "ILLEGAL_SASL_STATE",
    35: "UNSUPPORTED_VERSION",
    36: "TOPIC_ALREADY_EXISTS",
    37: "INVALID_PARTITIONS",
    38: "INVALID_REPLICATION_FACTOR",
    39: "INVALID_REPLICA_ASSIGNMENT",
    40: "INVALID_CONFIG",
    41: "NOT_CONTROLLER",
    42: "INVALID_REQUEST",
    43: "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    44: "POLICY_VIOLATION",
    45: "OUT_OF_ORDER_SEQUENCE_NUMBER",
    46: "DUPLICATE_SEQUENCE_NUMBER",
    47: "INVALID_PRODUCER_EPOCH",
    48: "INVALID_TXN_STATE",
    49: "INVALID_PRODUCER_ID_MAPPING",
    50: "INVALID_TRANSACTION_TIMEOUT",
    51: "CONCURRENT_TRANSACTIONS",
    52: "TRANSACTION_COORDINATOR_FENCED",
    53: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    54: "SECURITY_DISABLED",
    55: "OPERATION_NOT_ATTEMPTED",
    56: "KAFKA_STORAGE_ERROR",
    57: "LOG_DIR_NOT_FOUND",
    58: "SASL_AUTHENTICATION_FAILED",
    59: "UNKNOWN_PRODUCER_ID",
    60: "REASSIGNMENT_IN_PROGRESS",
    61: "DELEGATION_TOKEN_AUTH_DISABLED",
    62: "DELEGATION_TOKEN_NOT_FOUND",
    63: "DELEGATION_TOKEN_OWNER_MISMATCH",
    64: "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
    65: "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
    66: "DELEGATION_TOKEN_EXPIRED",
    67: "INVALID_PRINCIPAL_TYPE",
    68: "NON_EMPTY_GROUP",
    69: "GROUP_ID_NOT_FOUND",
    70: "FETCH_SESSION_ID_NOT_FOUND",
    71: "INVALID_FETCH_SESSION_EPOCH",
    72: "LISTENER_NOT_FOUND",
    73: "TOPIC_DELETION_DISABLED",
    74: "FENCED_LEADER_EPOCH",
    75: "UNKNOWN_LEADER_EPOCH",
    76: "UNSUPPORTED_COMPRESSION_TYPE",
    77: "STALE_BROKER_EPOCH",
    78: "OFFSET_NOT_AVAILABLE",
    79: "MEMBER_ID_REQUIRED",
    80: "PREFERRED_LEADER_NOT_AVAILABLE",
    81: "GROUP_MAX_SIZE_REACHED",
    82: "FENCED_INSTANCE_ID",
    83: "ELIGIBLE_LEADERS_NOT_AVAILABLE",
    84: "ELECTION_NOT_NEEDED",
    85: "NO_REASSIGNMENT_IN_PROGRESS",
    86: "GROUP_SUBSCRIBED_TO_TOPIC",
    87: "INVALID_RECORD",
    88: "UNSTABLE_OFFSET_COMMIT",
    89: "THROTTLING_QUOTA_EXCEEDED",
    90: "PRODUCER_FENCED",
    91: "RESOURCE_NOT_FOUND",
    92: "DUPLICATE_RESOURCE",
    93: "UNACCEPTABLE_CREDENTIAL",
    94: "INCONSISTENT_VOTER_SET",
    95: "INVALID_UPDATE_VERSION",
    96: "FEATURE_UPDATE_FAILED",
    97: "PRINCIPAL_DESERIALIZATION_FAILURE",
    98: "SNAPSHOT_NOT_FOUND",
    99: "POSITION_OUT_OF_RANGE",
    100: "UNKNOWN_TOPIC_ID",
    101: "DUPLICATE_BROKER_REGISTRATION",
    102: "BROKER_ID_NOT_REGISTERED",
    103: "INCONSISTENT_TOPIC_ID",
    104: "INCONSISTENT_CLUSTER_ID",
    105: "TRANSACTIONAL_ID_NOT_FOUND",
    106: "FETCH_SESSION_TOPIC_ID_ERROR",
    107: "INELIGIBLE_REPLICA",
    108: "NEW_LEADER_ELECTED",
    109: "OFFSET_MOVED_TO_TIERED_STORAGE",
    110: "FENCED_MEMBER_EPOCH",
    111: "UNRELEASED_INSTANCE_ID",
    112: "UNSUPPORTED_ASSIGNOR",
    113: "STALE_MEMBER_EPOCH",
    114: "MISMATCHED_ENDPOINT_TYPE",
    115: "UNSUPPORTED_ENDPOINT_TYPE",
    116: "UNKNOWN_CONTROLLER_ID",
    117: "UNKNOWN_SUBSCRIPTION_ID",
    118: "TELEMETRY_TOO_LARGE",
    119: "INVALID_REGISTRATION",
    120: "TRANSACTION_ABORTABLE",
    121: "INVALID_RECORD_STATE",
    122: "SHARE_SESSION_NOT_FOUND",
    123: "INVALID_SHARE_SESSION_EPOCH",
    124: "FENCED_STATE_EPOCH",
    125: "INVALID_VOTER_KEY",
    126: "DUPLICATE_VOTER",
    127: "VOTER_NOT_FOUND",
    128: "INVALID_REGULAR_EXPRESSION",
    129: "REBOOTSTRAP_REQUIRED",
    130: "STREAMS_INVALID_TOPOLOGY",
    131: "STREAMS_INVALID_TOPOLOGY_EPOCH",
    132: "STREAMS_TOPOLOGY_FENCED",
    133: "SHARE_SESSION_LIMIT_REACHED",
    134: "GROUP_DELETION_FAILED",
    135: "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED",
    136: "CONTROLLER_ID_NOT_REGISTERED",
}


def error_name(code: int) -> str:
    return ERRORS.get(code, f"error {code}")


# ---- primitives -------------------------------------------------------------------------------------------------


class Writer:
    """Appends protocol primitives to `data`. `compact_*` are the flexible versions' forms."""

    def __init__(self) -> None:
        self.data = bytearray()

    def _pack(self, form: str, *values) -> "Writer":
        self.data += struct.pack(form, *values)
        return self

    def i8(self, v: int) -> "Writer":
        return self._pack(">b", v)

    def i16(self, v: int) -> "Writer":
        return self._pack(">h", v)

    def i32(self, v: int) -> "Writer":
        return self._pack(">i", v)

    def u32(self, v: int) -> "Writer":
        return self._pack(">I", v)

    def i64(self, v: int) -> "Writer":
        return self._pack(">q", v)

    def f64(self, v: float) -> "Writer":
        return self._pack(">d", v)

    def raw(self, v: bytes) -> "Writer":
        self.data += v
        return self

    def string(self, v: str | None) -> "Writer":
        if v is None:
            return self.i16(-1)
        encoded = v.encode()
        return self.i16(len(encoded)).raw(encoded)

    def bytes(self, v: bytes | None) -> "Writer":
        return self.i32(-1) if v is None else self.i32(len(v)).raw(v)

    def uvarint(self, v: int) -> "Writer":
        while v >= 0x80:
            self.data.append(v & 0x7F | 0x80)
            v >>= 7
        self.data.append(v)
        return self

    def varint(self, v: int) -> "Writer":
        return self.uvarint((v << 1) ^ (v >> 63) if v < 0 else v << 1)

    def compact_string(self, v: str | None) -> "Writer":
        return self.compact_bytes(None if v is None else v.encode())

    def compact_bytes(self, v: bytes | None) -> "Writer":
        return self.uvarint(0) if v is None else self.uvarint(len(v) + 1).raw(v)

    def tags(self) -> "Writer":
        return self.uvarint(0)


class Reader:
    """Reads protocol primitives from `data`; raises struct.error or IndexError where it is short."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def _unpack(self, form: str):
        value = struct.unpack_from(form, self.data, self.at)[0]
        self.at += struct.calcsize(form)
        return value

    def i8(self) -> int:
        return self._unpack(">b")

    def i16(self) -> int:
        return self._unpack(">h")

    def i32(self) -> int:
        return self._unpack(">i")

    def i64(self) -> int:
        return self._unpack(">q")

    def f64(self) -> float:
        return self._unpack(">d")

    def raw(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise IndexError(f"{size} bytes wanted at {self.at}, {len(self.data) - self.at} there")
        self.at += size
        return self.data[self.at - size : self.at]

    def string(self) -> str | None:
        size = self.i16()
        return None if size < 0 else self.raw(size).decode()

    def bytes(self) -> bytes | None:
        size = self.i32()
        return None if size < 0 else self.raw(size)

    def uvarint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def varint(self) -> int:
        value = self.uvarint()
        return (value >> 1) ^ -(value & 1)

    def compact_bytes(self) -> bytes | None:
        size = self.uvarint()
        return None if size == 0 else self.raw(size - 1)

    def compact_string(self) -> str | None:
        data = self.compact_bytes()
        return None if data is None else data.decode()

    def tags(self) -> None:
        for _ in range(self.uvarint()):
            self.uvarint()
            self.raw(self.uvarint())

    def array(self, item) -> list:
        return [item() for _ in range(max(0, self.i32()))]

    def compact_array(self, item) -> list:
        return [item() for _ in range(max(0, self.uvarint() - 1))]

    def done(self) -> None:
        assert self.at == len(self.data), f"{len(self.data) - self.at} bytes left over in a response"


# ---- record batches ---------------------------------------------------------------------------------------------

_CRC32C_TABLE = []
for _n in range(256):
    _c = _n
    for _ in range(8):
        _c = (_c >> 1) ^ (0x82F63B78 if _c & 1 else 0)
    _CRC32C_TABLE.append(_c)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC32C_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


NO_COMPRESSION, GZIP, SNAPPY, LZ4, ZSTD = range(5)
LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 0x08, 0x10, 0x20


@dataclass
class Batch:
    """A record batch (format v2) whose every header field can be told to lie.

    `values` become records at consecutive offsets, `timestamp` is each one's. A field left None is computed truthfully.
    """

    values: list[bytes] = field(default_factory=lambda: [b"x"])
    timestamp: int = field(default_factory=lambda: int(time.time() * 1000))
    producer_id: int = -1
    producer_epoch: int = -1
    base_sequence: int = -1
    base_offset: int = 0
    leader_epoch: int = -1
    magic: int = 2
    attributes: int = 0
    crc: int | None = None
    batch_length: int | None = None
    last_offset_delta: int | None = None
    max_timestamp: int | None = None
    record_count: int | None = None
    records: bytes | None = None
    timestamps: list[int] | None = None
    keys: list[bytes | None] | None = None

    def encode_records(self) -> bytes:
        out = Writer()
        timestamps = self.timestamps or [self.timestamp] * len(self.values)
        for delta, value in enumerate(self.values):
            body = Writer().i8(0).varint(timestamps[delta] - timestamps[0]).varint(delta)
            key = self.keys[delta] if self.keys else None
            if key is None:
                body.varint(-1)
            else:
                body.varint(len(key)).raw(key)
            body.varint(len(value)).raw(value).varint(0)
            out.varint(len(body.data)).raw(bytes(body.data))
        return bytes(out.data)

    def encode(self) -> bytes:
        records = self.encode_records() if self.records is None else self.records
        if self.attributes & 7 == GZIP and self.records is None:
            records = gzip.compress(records)
        timestamps = self.timestamps or [self.timestamp]
        tail = Writer()
        tail.i16(self.attributes)
        tail.i32(len(self.values) - 1 if self.last_offset_delta is None else self.last_offset_delta)
        tail.i64(timestamps[0]).i64(max(timestamps) if self.max_timestamp is None else self.max_timestamp)
        tail.i64(self.producer_id).i16(self.producer_epoch).i32(self.base_sequence)
        tail.i32(len(self.values) if self.record_count is None else self.record_count).raw(records)
        crc = crc32c(bytes(tail.data)) if self.crc is None else self.crc
        length = len(tail.data) + 9 if self.batch_length is None else self.batch_length
        head = Writer().i64(self.base_offset).i32(length).i32(self.leader_epoch).i8(self.magic).u32(crc)
        return bytes(head.data + tail.data)


def old_message_set(magic: int, value: bytes = b"old") -> bytes:
    """One message in the formats before 2.1 (magic 0 or 1), correct by its own rules."""
    import zlib

    body = Writer().i8(magic).i8(0)
    if magic == 1:
        body.i64(int(time.time() * 1000))
    body.bytes(None).bytes(value)
    message = Writer().u32(zlib.crc32(bytes(body.data))).raw(bytes(body.data))
    return bytes(Writer().i64(0).bytes(bytes(message.data)).data)


@dataclass
class StoredBatch:
    """The header of a batch as fetched, with its records' values when they are not compressed and the CRC is right."""

    base_offset: int
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int
    crc_is_right: bool
    values: list[bytes | None]

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta


def parse_batches(data: bytes) -> list[StoredBatch]:
    """Whole batches in `data`; a cut last one is left out, as clients do, and so is all from an impossible length on."""
    batches = []
    at = 0
    while at + 61 <= len(data):
        length = int.from_bytes(data[at + 8 : at + 12], "big", signed=True)
        if length < 49 or at + 12 + length > len(data):
            break
        reader = Reader(data[at : at + 12 + length])
        base_offset, length = reader.i64(), reader.i32()
        leader_epoch, magic = reader.i32(), reader.i8()
        crc = reader._unpack(">I")
        crc_is_right = crc32c(reader.data[21:]) == crc
        attributes, last_delta = reader.i16(), reader.i32()
        base_timestamp, max_timestamp = reader.i64(), reader.i64()
        producer_id, producer_epoch, base_sequence, count = reader.i64(), reader.i16(), reader.i32(), reader.i32()
        values = []
        if attributes & 7 == 0 and magic == 2 and crc_is_right:
            for _ in range(count):
                reader.varint(), reader.i8(), reader.varint(), reader.varint()
                key_size = reader.varint()
                reader.raw(max(0, key_size))
                value_size = reader.varint()
                values.append(None if value_size < 0 else reader.raw(value_size))
                for _ in range(reader.varint()):
                    reader.raw(reader.varint())
                    reader.raw(max(0, reader.varint()))
        batches.append(
            StoredBatch(
                base_offset,
                length,
                leader_epoch,
                magic,
                crc,
                attributes,
                last_delta,
                base_timestamp,
                max_timestamp,
                producer_id,
                producer_epoch,
                base_sequence,
                count,
                crc_is_right,
                values,
            )
        )
        at += 12 + length
    return batches


# ---- the connection ---------------------------------------------------------------------------------------------


class ConnectionClosed(Exception):
    """The broker closed (or reset) the connection instead of answering."""


NEVER_FLEXIBLE = 32767

# The first version of each request whose header and body are flexible (KIP-482); harness/groups.py adds its own.
FIRST_FLEXIBLE = {
    PRODUCE: 9,
    FETCH: 12,
    LIST_OFFSETS: 6,
    METADATA: 9,
    API_VERSIONS: 3,
    CREATE_TOPICS: 5,
    DELETE_TOPICS: 4,
    DELETE_RECORDS: 2,
    INIT_PRODUCER_ID: 2,
    OFFSET_FOR_LEADER_EPOCH: 4,
    DESCRIBE_CLUSTER: 0,
    DESCRIBE_PRODUCERS: 0,
}


def frame(api: int, version: int, body: bytes, correlation_id: int, client_id: str | None = "raw") -> bytes:
    """A whole request with its size in front."""
    head = Writer().i16(api).i16(version).i32(correlation_id).string(client_id)
    if version >= FIRST_FLEXIBLE.get(api, NEVER_FLEXIBLE):
        head.tags()
    return bytes(Writer().i32(len(head.data) + len(body)).raw(bytes(head.data)).raw(body).data)


class Connection:
    """One TCP connection. Every wait ends after `timeout` seconds with TimeoutError."""

    def __init__(self, address: tuple[str, int], timeout: float = 10.0, client_id: str | None = "raw") -> None:
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._correlation_ids = itertools.count(1)
        self.client_id = client_id

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send_bytes(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ConnectionClosed(str(error)) from error

    def send(self, api: int, version: int, body: bytes) -> int:
        """Sends a request without waiting; returns its correlation id."""
        correlation_id = next(self._correlation_ids)
        self.send_bytes(frame(api, version, body, correlation_id, self.client_id))
        return correlation_id

    def receive(self) -> tuple[int, bytes]:
        """The next response: correlation id, and what follows it."""
        payload = self._receive_exactly(struct.unpack(">i", self._receive_exactly(4))[0])
        return struct.unpack_from(">i", payload)[0], payload[4:]

    def request(self, api: int, version: int, body: bytes) -> Reader:
        """Sends and waits; the reader stands after the response header."""
        return self.answer(api, version, self.send(api, version, body))

    def answer(self, api: int, version: int, expected: int) -> Reader:
        """Waits for the answer to the request with this correlation id."""
        correlation_id, payload = self.receive()
        assert correlation_id == expected, f"asked {expected}, answered {correlation_id}"
        reader = Reader(payload)
        # ApiVersions' response header has no tags in any version, so that an old client can read error 35.
        if api != API_VERSIONS and version >= FIRST_FLEXIBLE.get(api, NEVER_FLEXIBLE):
            reader.tags()
        return reader

    def is_closed_by_peer(self) -> bool:
        """Waits for the peer's end of the connection: True when it comes, False when nothing comes in time."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def _receive_exactly(self, size: int) -> bytes:
        out = bytearray()
        while len(out) < size:
            try:
                part = self.socket.recv(size - len(out))
            except ConnectionResetError as error:
                raise ConnectionClosed(str(error)) from error
            if not part:
                raise ConnectionClosed(f"closed after {len(out)} of {size} bytes")
            out += part
        return bytes(out)


# ---- requests ---------------------------------------------------------------------------------------------------


def api_versions(connection: Connection, version: int = 0) -> dict[int, tuple[int, int]]:
    """Each advertised key with its lowest and highest version."""
    body = Writer()
    if version >= 3:
        body.compact_string("raw").compact_string("1").tags()
    reader = connection.request(API_VERSIONS, version, bytes(body.data))
    error = reader.i16()
    assert error == 0, error_name(error)
    if version >= 3:
        rows = reader.compact_array(lambda: (reader.i16(), reader.i16(), reader.i16(), reader.tags()))
    else:
        rows = reader.array(lambda: (reader.i16(), reader.i16(), reader.i16()))
    return {row[0]: (row[1], row[2]) for row in rows}


@dataclass
class TopicMetadata:
    error: int
    name: str
    topic_id: bytes
    partitions: dict[int, tuple[int, int, int]]  # index: (error, leader, leader epoch)
    is_internal: bool = False


def metadata(connection: Connection, topics: list[str] | None, auto_create: bool = False) -> dict[str, TopicMetadata]:
    """Metadata v10, the first with topic ids."""
    body = Writer()
    if topics is None:
        body.uvarint(0)
    else:
        body.uvarint(len(topics) + 1)
        for topic in topics:
            body.raw(bytes(16)).compact_string(topic).tags()
    body.i8(1 if auto_create else 0).i8(0).i8(0).tags()
    reader = connection.request(METADATA, 10, bytes(body.data))
    reader.i32()  # throttle time
    reader.compact_array(lambda: (reader.i32(), reader.compact_string(), reader.i32(), reader.compact_string(), reader.tags()))
    reader.compact_string(), reader.i32()  # cluster id, controller

    def partition():
        error, index, leader, epoch = reader.i16(), reader.i32(), reader.i32(), reader.i32()
        for _ in range(3):  # replicas, in-sync, offline
            reader.compact_array(reader.i32)
        reader.tags()
        return index, (error, leader, epoch)

    def topic():
        error, name, topic_id, internal = reader.i16(), reader.compact_string(), reader.raw(16), reader.i8()
        partitions = dict(reader.compact_array(partition))
        reader.i32(), reader.tags()
        return TopicMetadata(error, name, topic_id, partitions, bool(internal))

    found = reader.compact_array(topic)
    return {t.name: t for t in found}


def produce_body(
    batches: dict[tuple[str, int], bytes], acks: int = -1, timeout_ms: int = 5000, transactional_id: str | None = None
) -> bytes:
    """A Produce request's body, versions 3 to 8."""
    by_topic: dict[str, list[tuple[int, bytes]]] = {}
    for (topic, partition), data in batches.items():
        by_topic.setdefault(topic, []).append((partition, data))
    body = Writer().string(transactional_id).i16(acks).i32(timeout_ms).i32(len(by_topic))
    for topic, partitions in by_topic.items():
        body.string(topic).i32(len(partitions))
        for partition, data in partitions:
            body.i32(partition).bytes(data)
    return bytes(body.data)


@dataclass
class ProduceResult:
    error: int
    base_offset: int
    log_append_time: int
    log_start_offset: int
    record_errors: list[int]
    message: str | None

    @property
    def name(self) -> str:
        return error_name(self.error)


def parse_produce(reader: Reader) -> dict[tuple[str, int], ProduceResult]:
    """A Produce response, version 8."""
    results = {}
    for _ in range(reader.i32()):
        topic = reader.string()
        for _ in range(reader.i32()):
            partition, error, base_offset, append_time, log_start = reader.i32(), reader.i16(), reader.i64(), reader.i64(), reader.i64()
            record_errors = [row[0] for row in reader.array(lambda: (reader.i32(), reader.string()))]
            results[topic, partition] = ProduceResult(error, base_offset, append_time, log_start, record_errors, reader.string())
    reader.i32()
    reader.done()
    return results


def produce(
    connection: Connection, batches: dict[tuple[str, int], bytes], acks: int = -1, **options
) -> dict[tuple[str, int], ProduceResult]:
    return parse_produce(connection.request(PRODUCE, 8, produce_body(batches, acks, **options)))


@dataclass
class FetchPartition:
    error: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    data: bytes

    @property
    def batches(self) -> list[StoredBatch]:
        return parse_batches(self.data)


@dataclass
class FetchResult:
    error: int
    session_id: int
    partitions: dict[tuple[str, int], FetchPartition]


def fetch_body(
    offsets: dict[tuple[str, int], int],
    *,
    max_wait_ms: int = 100,
    min_bytes: int = 1,
    max_bytes: int = 50 << 20,
    partition_max_bytes: int = 1 << 20,
    session: tuple[int, int] = (0, -1),
    forgotten: dict[str, list[int]] | None = None,
    leader_epoch: int = -1,
    isolation: int = 0,
) -> bytes:
    """A Fetch request's body, version 11. `session` is (id, epoch)."""
    by_topic: dict[str, list[tuple[int, int]]] = {}
    for (topic, partition), offset in offsets.items():
        by_topic.setdefault(topic, []).append((partition, offset))
    body = Writer().i32(-1).i32(max_wait_ms).i32(min_bytes).i32(max_bytes).i8(isolation).i32(session[0]).i32(session[1])
    body.i32(len(by_topic))
    for topic, partitions in by_topic.items():
        body.string(topic).i32(len(partitions))
        for partition, offset in partitions:
            body.i32(partition).i32(leader_epoch).i64(offset).i64(-1).i32(partition_max_bytes)
    body.i32(len(forgotten or {}))
    for topic, partitions in (forgotten or {}).items():
        body.string(topic).i32(len(partitions))
        for partition in partitions:
            body.i32(partition)
    body.string("")  # rack
    return bytes(body.data)


def parse_fetch(reader: Reader) -> FetchResult:
    """A Fetch response, version 11."""
    reader.i32()
    error, session_id = reader.i16(), reader.i32()
    partitions = {}
    for _ in range(reader.i32()):
        topic = reader.string()
        for _ in range(reader.i32()):
            index, code, high_watermark, last_stable, log_start = reader.i32(), reader.i16(), reader.i64(), reader.i64(), reader.i64()
            reader.array(lambda: (reader.i64(), reader.i64()))  # aborted transactions
            reader.i32()  # preferred read replica
            partitions[topic, index] = FetchPartition(code, high_watermark, last_stable, log_start, reader.bytes() or b"")
    reader.done()
    return FetchResult(error, session_id, partitions)


def fetch(connection: Connection, offsets: dict[tuple[str, int], int], **options) -> FetchResult:
    return parse_fetch(connection.request(FETCH, 11, fetch_body(offsets, **options)))


EARLIEST, LATEST, MAX_TIMESTAMP = -2, -1, -3


@dataclass
class ListedOffset:
    error: int
    timestamp: int
    offset: int
    leader_epoch: int


def list_offset(connection: Connection, topic: str, partition: int, timestamp: int, leader_epoch: int = -1) -> ListedOffset:
    """ListOffsets v5, or v7 for MAX_TIMESTAMP (KIP-734), for one partition."""
    if timestamp == MAX_TIMESTAMP:
        body = Writer().i32(-1).i8(0).uvarint(2).compact_string(topic).uvarint(2)
        body.i32(partition).i32(leader_epoch).i64(timestamp).tags().tags().tags()
        reader = connection.request(LIST_OFFSETS, 7, bytes(body.data))
        reader.i32(), reader.uvarint(), reader.compact_string(), reader.uvarint()
    else:
        body = Writer().i32(-1).i8(0).i32(1).string(topic).i32(1).i32(partition).i32(leader_epoch).i64(timestamp)
        reader = connection.request(LIST_OFFSETS, 5, bytes(body.data))
        reader.i32(), reader.i32(), reader.string(), reader.i32()
    reader.i32()
    return ListedOffset(reader.i16(), reader.i64(), reader.i64(), reader.i32())


def init_producer_id(connection: Connection, transactional_id: str | None = None, timeout_ms: int = 60_000) -> tuple[int, int, int]:
    """InitProducerId v1: (error, producer id, producer epoch)."""
    reader = connection.request(INIT_PRODUCER_ID, 1, bytes(Writer().string(transactional_id).i32(timeout_ms).data))
    reader.i32()
    return reader.i16(), reader.i64(), reader.i16()


def new_producer(connection: Connection) -> tuple[int, int]:
    """A producer id and epoch for an idempotent producer; asks again while the broker says that it is not ready for it."""
    end = time.monotonic() + 10
    while True:
        error, producer_id, epoch = init_producer_id(connection)
        if error == 0:
            return producer_id, epoch
        assert error == COORDINATOR_LOAD_IN_PROGRESS and time.monotonic() < end, error_name(error)
        time.sleep(0.05)


def create_topic(connection: Connection, topic: str, partitions: int = 1, config: dict[str, str] | None = None) -> tuple[int, str | None]:
    """CreateTopics v4: (error, message)."""
    body = Writer().i32(1).string(topic).i32(partitions).i16(1).i32(0).i32(len(config or {}))
    for name, value in (config or {}).items():
        body.string(name).string(value)
    reader = connection.request(CREATE_TOPICS, 4, bytes(body.i32(15_000).i8(0).data))
    reader.i32(), reader.i32(), reader.string()
    return reader.i16(), reader.string()


def delete_topic(connection: Connection, topic: str) -> int:
    """DeleteTopics v3: the error."""
    reader = connection.request(DELETE_TOPICS, 3, bytes(Writer().i32(1).string(topic).i32(15_000).data))
    reader.i32(), reader.i32(), reader.string()
    return reader.i16()


def delete_records(connection: Connection, topic: str, partition: int, before: int) -> tuple[int, int]:
    """DeleteRecords v1: (error, low watermark). `before` -1 means the high watermark."""
    body = Writer().i32(1).string(topic).i32(1).i32(partition).i64(before).i32(15_000)
    reader = connection.request(DELETE_RECORDS, 1, bytes(body.data))
    reader.i32(), reader.i32(), reader.string(), reader.i32(), reader.i32()
    low = reader.i64()
    return reader.i16(), low


def offset_for_leader_epoch(
    connection: Connection, topic: str, partition: int, leader_epoch: int, current_epoch: int = -1
) -> tuple[int, int, int]:
    """OffsetForLeaderEpoch v3: (error, leader epoch, end offset)."""
    body = Writer().i32(-1).i32(1).string(topic).i32(1).i32(partition).i32(current_epoch).i32(leader_epoch)
    reader = connection.request(OFFSET_FOR_LEADER_EPOCH, 3, bytes(body.data))
    reader.i32(), reader.i32(), reader.string(), reader.i32()
    error, _partition = reader.i16(), reader.i32()
    return error, reader.i32(), reader.i64()
