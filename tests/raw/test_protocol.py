"""Versions, order and silence: what holds for every request on a connection."""

import struct

import pytest

from harness import wire
from harness.broker import await_until
from harness.wire import Batch, ConnectionClosed, frame


def answer_to(broker, data: bytes) -> bytes | None:
    """The response to raw bytes, without its correlation id, or None where the connection was closed instead."""
    with broker.connect(timeout=5) as connection:
        try:
            connection.send_bytes(data)
            return connection.receive()[1]
        except ConnectionClosed:
            return None


# ---- ApiVersions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_api_versions_are_told_in_every_version(broker, version):
    with broker.connect() as connection:
        served = wire.api_versions(connection, version)
    assert served[wire.API_VERSIONS] == (0, 5)


def test_the_table_suits_old_and_new_clients(broker):
    """The reasons stand in docs/compatibility.md; each of these broke a client somewhere."""
    with broker.connect() as connection:
        served = wire.api_versions(connection)
    # librdkafka up to 2.11.0 stops compressing unless Produce starts at 0; message format v2 needs 3, zstd 7.
    assert served[wire.PRODUCE][0] == 0 and served[wire.PRODUCE][1] >= 9
    assert served[wire.FETCH][0] == 4 and served[wire.FETCH][1] >= 12
    assert served[wire.LIST_OFFSETS][1] >= 7
    assert served[wire.METADATA][0] == 0 and served[wire.METADATA][1] >= 12
    assert served[wire.OFFSET_FOR_LEADER_EPOCH][0] <= 2
    for key in (wire.CREATE_TOPICS, wire.DELETE_TOPICS, wire.DELETE_RECORDS, wire.INIT_PRODUCER_ID, wire.DESCRIBE_CLUSTER, 32, 37):
        assert key in served


@pytest.mark.parametrize("version", [6, 99, 32767, -1])
def test_an_unknown_api_versions_version_is_answered_in_version_0_with_the_way_back(broker, version):
    payload = answer_to(broker, frame(wire.API_VERSIONS, version, b"", 7))
    reader = wire.Reader(payload)
    assert wire.error_name(reader.i16()) == "UNSUPPORTED_VERSION"
    rows = reader.array(lambda: (reader.i16(), reader.i16(), reader.i16()))
    reader.done()
    assert (wire.API_VERSIONS, 0, 5) in rows


def api_versions_5(broker, cluster_id: str | None, node_id: int) -> int:
    """The error of ApiVersions v5 with these expectations (KIP-1242)."""
    body = wire.Writer().compact_string("raw").compact_string("1").compact_string(cluster_id).i32(node_id).tags()
    with broker.connect() as connection:
        return connection.request(wire.API_VERSIONS, 5, bytes(body.data)).i16()


def test_a_client_that_reached_another_cluster_or_node_is_sent_back_to_its_bootstrap(broker):
    with broker.connect() as connection:
        body = wire.Writer().uvarint(1).i8(0).i8(0).i8(0).tags()
        reader = connection.request(wire.METADATA, 10, bytes(body.data))
        reader.i32()
        ((node_id, *_),) = reader.compact_array(
            lambda: (reader.i32(), reader.compact_string(), reader.i32(), reader.compact_string(), reader.tags())
        )
        cluster_id = reader.compact_string()
    assert api_versions_5(broker, None, -1) == 0
    assert api_versions_5(broker, cluster_id, node_id) == 0
    assert wire.error_name(api_versions_5(broker, "AAAAAAAAAAAAAAAAAAAAAA", node_id)) == "REBOOTSTRAP_REQUIRED"
    assert wire.error_name(api_versions_5(broker, cluster_id, node_id + 1)) == "REBOOTSTRAP_REQUIRED"


# ---- versions of the others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "version"),
    [(wire.PRODUCE, 2), (wire.PRODUCE, 99), (wire.FETCH, 3), (wire.METADATA, 99), (wire.METADATA, -1), (999, 0), (-1, 0), (4, 0)],
)
def test_a_version_or_key_that_is_not_served_closes_the_connection(broker, api, version):
    assert answer_to(broker, frame(api, version, b"\0" * 40, 7)) is None


# ---- order and silence --------------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(broker, topic):
    broker.create_topic(topic, 4)
    with broker.connect(timeout=30) as connection:
        asked = []
        for i in range(60):
            match i % 4:
                case 0:
                    asked.append(connection.send(wire.PRODUCE, 8, wire.produce_body({(topic, i % 3): Batch(values=[b"%d" % i]).encode()})))
                case 1:
                    asked.append(connection.send(wire.API_VERSIONS, 0, b""))
                case 2:
                    # Waits for nothing that comes: those behind it have to wait too.
                    asked.append(connection.send(wire.FETCH, 11, wire.fetch_body({(topic, 3): 0}, max_wait_ms=20)))
                case 3:
                    asked.append(connection.send(wire.METADATA, 1, bytes(wire.Writer().i32(1).string(topic).data)))
        assert [connection.receive()[0] for _ in asked] == asked


def test_pipelined_batches_of_one_producer_are_stored_in_order(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        producer_id, epoch = wire.new_producer(connection)
        for i in range(200):
            batch = Batch(values=[b"%d" % i], producer_id=producer_id, producer_epoch=epoch, base_sequence=i).encode()
            connection.send(wire.PRODUCE, 8, wire.produce_body({(topic, 0): batch}))
        for i in range(200):
            result = wire.parse_produce(wire.Reader(connection.receive()[1]))[topic, 0]
            assert (result.name, result.base_offset) == ("NONE", i)


def test_acks_0_is_never_answered_and_an_error_closes_the_connection(broker, topic):
    """Silence would keep the client at a broker that takes nothing; a closed connection makes it ask for metadata again."""
    broker.create_topic(topic)
    good, bad = Batch(values=[b"kept"]).encode(), Batch(crc=1).encode()
    with broker.connect() as connection:
        connection.send(wire.PRODUCE, 8, wire.produce_body({(topic, 0): good}, acks=0))
        last = connection.send(wire.API_VERSIONS, 0, b"")
        assert connection.receive()[0] == last, "something answered a produce request with acks=0"
        await_until(lambda: wire.list_offset(connection, topic, 0, wire.LATEST).offset == 1, "the acks=0 batch is stored")
    for wrong in ({(topic, 0): bad}, {(topic, 99): good}, {(topic + "-unknown", 0): good}):
        with broker.connect() as connection:
            connection.send(wire.PRODUCE, 8, wire.produce_body(wrong, acks=0))
            with pytest.raises(ConnectionClosed):
                connection.receive()
    with broker.connect() as connection:
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 1


def test_a_request_in_many_small_pieces_is_answered(broker):
    data = frame(wire.METADATA, 1, struct.pack(">i", -1), 7)
    with broker.connect() as connection:
        for i in range(len(data)):
            connection.send_bytes(data[i : i + 1])
        assert connection.receive()[0] == 7


def test_a_response_larger_than_the_socket_buffers_arrives_whole_at_a_slow_reader(broker, topic):
    broker.create_topic(topic, max_message_bytes=9_000_000)
    value = bytes(range(256)) * 32_000
    with broker.connect(timeout=60) as connection:
        # The tests' CRC is a slow one: it is computed once here and checked by comparing the bytes.
        wire.produce(connection, {(topic, 0): Batch(values=[value]).encode()})
        connection.send(wire.FETCH, 11, wire.fetch_body({(topic, 0): 0}))
        connection.socket.settimeout(20)
        size = struct.unpack(">i", connection.socket.recv(4))[0]
        payload = bytearray()
        while len(payload) < size:
            payload += connection.socket.recv(min(50_000, size - len(payload)))
        found = wire.parse_fetch(wire.Reader(bytes(payload[4:])))
        assert value in found.partitions[topic, 0].data


def test_bytes_behind_a_request_are_ignored(broker):
    """librdkafka 2.16 sends three of them in Metadata v13; Apache Kafka never looks."""
    data = frame(wire.METADATA, 1, struct.pack(">i", 0) + b"and more", 7)
    assert answer_to(broker, data) is not None
