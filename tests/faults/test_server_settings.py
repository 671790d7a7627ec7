"""Every setting of the server does what docs/compatibility.md says of it, or the server does not start."""

import contextlib
import json
import re
import signal
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

from harness import document, groups, wire
from harness.broker import await_until, buslane_binary, free_port, toml
from harness.clients import ALL
from harness.offline import DataFolder
from harness.records import Record
from harness.wire import Batch

ROWS = document.table(document.SERVER)
HOUR_MS = 3_600_000
# Sources in DescribeConfigs.
BY_TOPIC, BY_SERVER, BY_DEFAULT = 1, 4, 5  # DYNAMIC_TOPIC_CONFIG, STATIC_BROKER_CONFIG, DEFAULT_CONFIG
DESCRIBE_CONFIGS, TOPIC, BROKER = 32, 2, 4


@pytest.fixture
def serve(new_broker):
    """serve(settings): a server with these keys of its configuration file."""
    started = []

    def start(settings: dict[str, object], **options):
        started.append(new_broker({"buslane": settings}, **options).start())
        return started[-1]

    yield start
    for broker in started:
        assert "panicked" not in broker.log_text()
        broker.kill()


def bounds(connection, topic: str) -> tuple[int, int]:
    return tuple(wire.list_offset(connection, topic, 0, end).offset for end in (wire.EARLIEST, wire.LATEST))


def send(connection, topic: str, **batch) -> str:
    return wire.produce(connection, {(topic, 0): Batch(**batch).encode()})[topic, 0].name


def metrics(broker) -> str:
    with urllib.request.urlopen(f"http://{broker.http}/metrics", timeout=10) as answer:
        return answer.read().decode()


def await_metric(broker, line: str, what: str) -> None:
    """Waits until /metrics has a line that starts so."""
    await_until(lambda: any(one.startswith(line) for one in metrics(broker).splitlines()), what)


def seconds_until_closed(connection) -> float:
    began = time.monotonic()
    assert connection.is_closed_by_peer(), "still open"
    return time.monotonic() - began


# ---- the document -------------------------------------------------------------------------------------------------


def run_server(*arguments: object) -> subprocess.CompletedProcess:
    command = [str(buslane_binary()), "server", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_the_document_tells_every_setting_as_the_default_configuration_does():
    told = [(row["setting"], row["default"], row["Kafka's name"], row["meaning"]) for row in ROWS]
    shown, section, about = [], "", ""
    for line in run_server("--default-config").stdout.splitlines():
        if found := re.fullmatch(r"\[(\w+)\]", line):
            section = found[1]
        elif found := re.fullmatch(r"# (.*?)(?: \(Kafka: (\S+)\))?", line):
            about, kafka = found[1], found[2] or ""
        elif found := re.fullmatch(r"(\w+) = (.*)", line):
            shown.append((f"{section}.{found[1]}", found[2], kafka, about))
    assert told == shown


def refusals(tmp_path, settings: dict[str, object]) -> dict[str, str]:
    """What the server says of each key of a file that is wrong in all of them."""
    config = tmp_path / "buslane.toml"
    config.write_text(toml(settings))
    done = run_server("--config", config)
    assert (done.returncode, "panicked" in done.stderr) == (2, False), done.stderr
    said = dict(re.findall(rf"^{re.escape(str(config))}:\d+: (?:unknown key )?([\w.]+)[:;] (.*)$", done.stderr, re.MULTILINE))
    assert len(said) == len(done.stderr.splitlines()) - 1, done.stderr
    return said


def literal(text: str) -> object:
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def test_the_document_tells_what_each_setting_takes_as_a_refusal_does(tmp_path):
    takes = {row["setting"]: row["takes"] for row in ROWS}
    bounded = {name: found.groups() for name, text in takes.items() if (found := re.fullmatch(r"(\S+) to (\S+)", text))}
    assert len(bounded) > 15
    # Of no type that a setting has.
    said = refusals(tmp_path, dict.fromkeys(takes, []))
    assert said.keys() == takes.keys()
    assert {n: s for n, s in said.items() if n not in bounded} == {
        n: f"this array is not {t}" for n, t in takes.items() if n not in bounded
    }
    # Just beyond the bounds.
    beyond = {name: literal(re.sub(r"\d+", lambda n: str(int(n[0]) + 1), high)) for name, (_, high) in bounded.items()}
    below = {
        name: literal(re.sub(r"\d+", lambda n: str(int(n[0]) - 1), low)) for name, (low, _) in bounded.items() if not low.startswith("0")
    }
    for wrong in (beyond, below):
        assert refusals(tmp_path, wrong) == {name: f"must be from {bounded[name][0]} to {bounded[name][1]}" for name in wrong}
    # At the bounds nothing is wrong but the key that keeps the server from starting.
    for side in (0, 1):
        right = {name: literal(bound[side]) for name, bound in bounded.items()}
        assert refusals(tmp_path, {**right, "topics.no_such_key_at_all": 1}).keys() == {"topics.no_such_key_at_all"}


def test_a_client_is_told_the_settings_that_kafka_has_too(serve):
    """DescribeConfigs of the broker: by Kafka's name and in its unit, with who set it."""
    broker = serve(
        {
            "limits.memory": "512MiB",
            "limits.request_max": "2MiB",
            "limits.connections": 77,
            "limits.connections_per_address": 55,
            "limits.idle": "3m",
            "topics.auto_create": False,
            "topics.partitions": 3,
            "topics.retention": "2h",
            "topics.retention_bytes": "3GiB",
            "topics.segment_bytes": "5MiB",
            "topics.segment_age": "6h",
            "topics.producer_expiry": "2d",
            "topics.fetch_max": "7MiB",
            "groups.offsets_retention": "2h",
            "groups.consumer_assignors": ["range", "uniform"],
            "groups.consumer_migration": "upgrade",
        }
    )
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    (node,) = admin.list_topics(timeout=10).brokers
    (future,) = admin.describe_configs([ConfigResource("broker", str(node))]).values()
    told = future.result(10)
    assert {row["Kafka's name"] for row in ROWS if row["Kafka's name"]} - told.keys() == set()
    expected = {
        "queued.max.request.bytes": 512 << 20,
        "socket.request.max.bytes": 2 << 20,
        "max.connections": 77,
        "max.connections.per.ip": 55,
        "connections.max.idle.ms": 180_000,
        "auto.create.topics.enable": "false",
        "num.partitions": 3,
        "log.retention.ms": 2 * HOUR_MS,
        "log.retention.bytes": 3 << 30,
        "log.segment.bytes": 5 << 20,
        "log.roll.ms": 6 * HOUR_MS,
        "log.retention.check.interval.ms": 500,
        "producer.id.expiration.ms": 48 * HOUR_MS,
        "fetch.max.bytes": 7 << 20,
        "offsets.retention.minutes": 120,
        "group.consumer.assignors": "range,uniform",
        "group.consumer.migration.policy": "upgrade",
        "group.consumer.session.timeout.ms": 10_000,
        "listeners": f"PLAINTEXT://{broker.bootstrap}",
        "log.dirs": str(broker.data),
    }
    assert {name: (told[name].value, told[name].source) for name in expected} == {n: (str(v), BY_SERVER) for n, v in expected.items()}
    assert told["default.replication.factor"].value == "1" and told["default.replication.factor"].source != BY_SERVER


def described(connection, kind: int, name: str) -> dict[str, tuple[str, str, list[tuple[str, str]]]]:
    """DescribeConfigs v1: value, who set it, and the values behind it with theirs, strongest first."""
    who = {BY_TOPIC: "topic", BY_SERVER: "set", BY_DEFAULT: "default"}
    body = wire.Writer().i32(1).i8(kind).string(name).i32(-1).i8(1)
    reader = connection.request(DESCRIBE_CONFIGS, 1, bytes(body.data))
    reader.i32(), reader.i32()
    assert (reader.i16(), reader.string(), reader.i8(), reader.string()) == (0, "", kind, name)

    def synonym() -> tuple[str, str]:
        reader.string()
        return reader.string(), who[reader.i8()]

    def entry():
        name, value, _read_only, source, _sensitive = reader.string(), reader.string(), reader.i8(), reader.i8(), reader.i8()
        return name, (value, who[source], reader.array(synonym))

    return dict(reader.array(entry))


def test_a_client_is_told_who_set_what(serve):
    """Where a value comes from and the values behind it agree, of the broker's own settings and of the topics' defaults."""
    broker = serve({"server.node_id": 6, "topics.partitions": 3, "topics.segment_age": "6h"})
    with broker.connect() as connection:
        told = described(connection, BROKER, "6")
        broker.create_topic("t", 1)
        topic = described(connection, TOPIC, "t")
    assert told["node.id"] == ("6", "set", [("6", "set")])
    for name, value, default in [("num.partitions", "3", "4"), ("log.roll.ms", str(6 * HOUR_MS), str(168 * HOUR_MS))]:
        assert told[name] == (value, "set", [(value, "set"), (default, "default")])
    for name, default in [("log.retention.ms", str(168 * HOUR_MS)), ("log.segment.bytes", str(1 << 30)), ("max.connections", "16384")]:
        assert told[name] == (default, "default", [(default, "default")])
    # All others too: the first of the values behind a value is the value.
    assert {name: first for name, (value, source, [first, *_]) in told.items() if first != (value, source)} == {}
    assert told["advertised.listeners"][:2] == (f"PLAINTEXT://{broker.bootstrap}", "default")

    assert topic["segment.ms"] == (str(6 * HOUR_MS), "set", [(str(6 * HOUR_MS), "set"), (str(168 * HOUR_MS), "default")])
    assert topic["retention.ms"] == (str(168 * HOUR_MS), "default", [(str(168 * HOUR_MS), "default")])

    # A number that was drawn is told as it is.
    drawn = serve({})
    with drawn.connect() as connection:
        told = described(connection, BROKER, "1")
    (node,) = AdminClient({"bootstrap.servers": drawn.bootstrap}).list_topics(timeout=10).brokers
    assert told["node.id"] == (str(node), "default", [(str(node), "default")])


# ---- [server] and [http] ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def started(tmp_path, settings: dict[str, object]):
    """A server with a file and no flags; yields what it says of itself."""
    config = tmp_path / "buslane.toml"
    config.write_text(toml(settings))
    command = [str(buslane_binary()), "server", "--json", "--config", str(config)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_file_alone_says_where_a_server_is_and_who(tmp_path):
    listen, http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    settings = {
        "server.data": str(tmp_path / "elsewhere"),
        "server.listen": listen,
        "server.advertise": "localhost:19092",
        "server.node_id": 7,
        "http.listen": http,
    }
    with started(tmp_path, settings) as said:
        assert (said["kafka"], said["http"], said["node_id"]) == (listen, http, 7)
        assert (tmp_path / "elsewhere" / "store.journal").exists()
        with urllib.request.urlopen(f"http://{http}/healthz", timeout=10) as answer:
            assert answer.status == 200
        metadata = AdminClient({"bootstrap.servers": listen}).list_topics(timeout=10)
        (node,) = metadata.brokers.values()
        assert (node.id, node.host, node.port, metadata.controller_id) == (7, "localhost", 19092, 7)
    with started(tmp_path, {**settings, "http.enabled": False}) as said:
        assert (said["kafka"], said["http"]) == (listen, None)
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(f"http://{http}/healthz", timeout=10)


def test_listening_to_other_machines_must_be_said_to_be_insecure(tmp_path):
    # An address that no machine has (RFC 5737): once the setting lets it pass, the system refuses it.
    settings = {"server.data": str(tmp_path / "data"), "server.listen": "192.0.2.1:19092", "http.enabled": False}
    config = tmp_path / "buslane.toml"
    config.write_text(toml(settings))
    refused = run_server("--config", config)
    assert refused.returncode == 2 and "server.insecure_listen = true" in refused.stderr, refused.stderr
    config.write_text(toml({**settings, "server.insecure_listen": True}))
    passed = run_server("--config", config)
    assert passed.returncode == 1 and "cannot listen on 192.0.2.1:19092" in passed.stderr, passed.stderr


def test_a_shutdown_waits_for_requests_as_long_as_it_is_told(serve):
    broker = serve({"server.shutdown_deadline": "1s", "groups.initial_rebalance_delay": "1h"}, http=True)
    groups.coordinator_is_ready(broker, "waited-for")
    with broker.connect(timeout=30) as connection:
        # A first member waits for others; a fetch would be ended by the stop.
        groups.JOIN.send(connection, 3, group="waited-for", member_id="", protocols=[{"name": "range", "metadata": b""}])
        await_metric(broker, 'buslane_requests_total{listener="kafka",api="JoinGroup"', "the request is in flight")
        began = time.monotonic()
        broker.stop()
        assert 0.9 < time.monotonic() - began < 5


# ---- [limits] -----------------------------------------------------------------------------------------------------


def test_memory_is_the_budget_that_is_told(serve):
    broker = serve({"limits.memory": "300MiB"}, http=True)
    assert f'buslane_memory_budget_bytes{{listener="kafka"}} {300 << 20}\n' in metrics(broker)


def test_a_request_is_as_long_as_it_may_be_and_no_longer(serve):
    broker = serve({"limits.request_max": "64KiB"})
    broker.create_topic("short")
    body = wire.produce_body({("short", 0): Batch(values=[b"v" * 60_000]).encode()})
    padding = (64 << 10) - (len(wire.frame(wire.PRODUCE, 8, body, 1)) - 4)
    with broker.connect() as connection:
        fits = wire.produce_body({("short", 0): Batch(values=[b"v" * (60_000 + padding)]).encode()})
        assert len(wire.frame(wire.PRODUCE, 8, fits, 1)) - 4 == 64 << 10
        assert wire.parse_produce(connection.request(wire.PRODUCE, 8, fits))["short", 0].name == "NONE"
        connection.send_bytes(struct.pack(">i", (64 << 10) + 1))
        assert seconds_until_closed(connection) < 5
    assert broker.answers()


def is_closed_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_connections_are_limited_in_all_and_by_address(serve):
    broker = serve({"limits.connections": 5, "limits.connections_per_address": 3}, http=True)
    await_metric(broker, 'buslane_connections{listener="kafka"} 0', "the harness' own connections are gone")
    with contextlib.ExitStack() as held:

        def connect(source: str) -> socket.socket:
            return held.enter_context(socket.create_connection(broker.address, 5, source_address=(source, 0)))

        three = [connect("127.0.0.2") for _ in range(3)]
        assert is_closed_within(connect("127.0.0.2"), 5), "a fourth from the same address"
        two = [connect("127.0.0.3") for _ in range(2)]
        assert is_closed_within(connect("127.0.0.4"), 5), "a sixth in all"
        # Taken connections stay open and silent; the refused ones are closed by now.
        assert not any(is_closed_within(one, 0.1) for one in three + two)
        three[0].close()
        await_until(lambda: not is_closed_within(connect("127.0.0.4"), 0.3), "one that ends makes room")
        for limit in ("connections", "connections_per_address"):
            await_metric(broker, f'buslane_connections_rejected_total{{listener="kafka",limit="{limit}"}} ', "refusals are counted")


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(serve):
    broker = serve({"limits.idle": "1s"})
    with broker.connect() as idle, broker.connect() as busy:
        wire.api_versions(idle)
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            wire.api_versions(busy)
            time.sleep(0.05)
        took = seconds_until_closed(idle)
        assert took < 3
        wire.api_versions(busy)
    with broker.connect() as connection:
        wire.api_versions(connection)
        assert 0.8 < seconds_until_closed(connection) < 4


def test_a_request_must_arrive_in_time_or_at_the_lowest_rate(serve):
    broker = serve({"limits.read_timeout": "500ms", "limits.rate_min": "100B"})
    request = wire.frame(wire.API_VERSIONS, 0, b"", 1)
    with broker.connect() as half:
        half.send_bytes(request[:-1])
        assert 0.4 < seconds_until_closed(half) < 3
    # 400 bytes a second is enough for as long as it takes; a tenth of the lowest rate is not.
    long = wire.frame(wire.API_VERSIONS, 0, bytes(800), 2)
    with broker.connect() as steady:
        for at in range(0, len(long), 40):
            steady.send_bytes(long[at : at + 40])
            time.sleep(0.1)
        assert steady.receive()[0] == 2
    with broker.connect() as dribbling:
        began = time.monotonic()
        with pytest.raises((wire.ConnectionClosed, AssertionError, OSError)):
            while time.monotonic() - began < 10:
                dribbling.send_bytes(long[:1])
                long = long[1:]
                time.sleep(0.1)
            raise TimeoutError("still open")
        assert time.monotonic() - began < 5


def test_responses_must_be_taken_in_time(serve):
    broker = serve({"limits.write_timeout": "500ms", "limits.rate_min": "1GiB"}, http=True)
    broker.create_topic("large")
    batch = Batch(values=[b"v" * 900_000]).encode()
    with broker.connect() as connection:
        for _ in range(25):
            assert wire.produce(connection, {("large", 0): batch})["large", 0].error == 0
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(broker.address)
    fetch = wire.fetch_body({("large", 0): 0}, partition_max_bytes=50 << 20)
    slow.sendall(wire.frame(wire.FETCH, 11, fetch, 1))

    await_metric(
        broker, 'buslane_connections_closed_total{listener="kafka",reason="slow_reader"} 1', "a client that takes nothing is closed"
    )
    slow.close()


@pytest.mark.parametrize("side_by_side", [1, 2])
def test_requests_of_one_connection_are_served_side_by_side_up_to_the_limit(serve, side_by_side):
    broker = serve({"limits.requests_in_flight": side_by_side})
    broker.create_topic("quiet")
    broker.create_topic("written")
    with broker.connect() as connection, broker.connect() as other:
        began = time.monotonic()
        fetch = connection.send(wire.FETCH, 11, wire.fetch_body({("quiet", 0): 0}, max_wait_ms=700))
        produce = connection.send(wire.PRODUCE, 8, wire.produce_body({("written", 0): Batch().encode()}))
        await_until(lambda: bounds(other, "written")[1] == 1, "it is written")
        waited = time.monotonic() - began
        assert (waited > 0.6) == (side_by_side == 1), waited
        assert [connection.receive()[0] for _ in range(2)] == [fetch, produce]


# ---- [topics] -----------------------------------------------------------------------------------------------------


def test_topics_are_not_created_by_asking_where_that_is_off(serve):
    broker = serve({"topics.auto_create": False})
    with broker.connect() as connection:
        for _ in range(3):
            answered = wire.metadata(connection, ["asked-for"], auto_create=True)["asked-for"]
            assert wire.error_name(answered.error) == "UNKNOWN_TOPIC_OR_PARTITION"
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        quickly = {"topic.metadata.propagation.max.ms": 200, "topic.metadata.refresh.fast.interval.ms": 50}
        ALL["confluent"].produce(broker.bootstrap, "asked-for", 0, [Record(None, b"x")], **quickly)
    assert "UNKNOWN" in refused.value.args[0].name()
    with broker.connect() as connection:
        assert wire.metadata(connection, None) == {}
    broker.create_topic("asked-for")
    ALL["confluent"].produce(broker.bootstrap, "asked-for", 0, [Record(None, b"x")])


def test_new_topics_have_the_partitions_and_copies_that_the_server_says(serve):
    broker = serve({"topics.partitions": 7, "topics.replication": 1})
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    (future,) = admin.create_topics([NewTopic("made")]).values()
    future.result(10)
    with broker.connect() as connection:
        wire.metadata(connection, ["asked-for"], auto_create=True)
        await_until(lambda: len(wire.metadata(connection, ["asked-for"])["asked-for"].partitions) == 7, "seven partitions")
    for topic in ("made", "asked-for"):
        partitions = admin.list_topics(topic, timeout=10).topics[topic].partitions
        assert [len(p.replicas) for p in partitions.values()] == [1] * 7


def test_retention_and_age_are_the_servers_unless_the_topic_has_its_own(serve):
    """A second for the segment's age, a look five times a second, and no append to help: by default none of it would happen."""
    broker = serve({"topics.retention": "1h", "topics.segment_age": "1s", "topics.retention_check": "200ms"})
    broker.create_topic("servers")
    broker.create_topic("own-retention", retention_ms=3 * HOUR_MS)
    broker.create_topic("own-age", segment_ms=HOUR_MS)
    old = {"timestamp": int(time.time() * 1000) - 2 * HOUR_MS}
    with broker.connect() as connection:
        for topic in ("own-retention", "own-age", "servers"):
            assert send(connection, topic, **old) == "NONE"
        await_until(lambda: bounds(connection, "servers") == (1, 1), "the old record goes", 10)
        assert send(connection, "servers", **old) == "NONE"
        await_until(lambda: bounds(connection, "servers") == (2, 2), "the next one too", 10)
        assert [bounds(connection, topic) for topic in ("own-retention", "own-age")] == [(0, 1)] * 2


def test_sizes_are_the_servers_unless_the_topic_has_its_own(serve):
    broker = serve({"topics.segment_bytes": "1MiB", "topics.retention_bytes": "1MiB"})
    broker.create_topic("servers")
    broker.create_topic("own-retention", retention_bytes=-1)
    broker.create_topic("own-segments", segment_bytes=100 << 20)
    batch = Batch(values=[b"v" * 300_000]).encode()
    with broker.connect() as connection:
        for _ in range(9):
            for topic in ("own-retention", "own-segments", "servers"):
                assert wire.produce(connection, {(topic, 0): batch})[topic, 0].error == 0
        # Three batches a segment; what remains has at least a mebibyte.
        await_until(lambda: bounds(connection, "servers") == (3, 9), "the oldest segment goes", 10)
        assert [bounds(connection, topic) for topic in ("own-retention", "own-segments")] == [(0, 9)] * 2


def test_a_segment_that_nobody_writes_to_is_sealed(serve):
    broker = serve({"topics.segment_idle": "1s"})
    broker.create_topic("quiet", retention_ms=HOUR_MS)
    with broker.connect() as connection:
        began = time.monotonic()
        assert send(connection, "quiet", timestamp=int(time.time() * 1000) - 2 * HOUR_MS) == "NONE"
        await_until(lambda: bounds(connection, "quiet") == (1, 1), "a segment that is sealed may go", 10)
        assert time.monotonic() - began > 0.9
    broker.kill()
    assert DataFolder(broker.data).files("log") == []


def test_a_silent_producer_is_forgotten(serve):
    broker = serve({"topics.producer_expiry": "1s"})
    broker.create_topic("numbered")
    with broker.connect() as connection:
        producer_id, epoch = wire.new_producer(connection)

        def numbered(sequence: int) -> str:
            return send(connection, "numbered", producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)

        assert [numbered(sequence) for sequence in (0, 1, 77)] == ["NONE", "NONE", "OUT_OF_ORDER_SEQUENCE_NUMBER"]
        began = time.monotonic()
        await_until(lambda: numbered(77) == "NONE", "it may start anywhere", 10)
        assert time.monotonic() - began > 0.7


def test_a_fetch_brings_as_much_as_the_server_allows(serve):
    broker = serve({"topics.fetch_max": "10KiB"})
    broker.create_topic("fetched")
    batch = Batch(values=[b"v" * 2_900]).encode()
    with broker.connect() as connection:
        for _ in range(9):
            assert wire.produce(connection, {("fetched", 0): batch})["fetched", 0].error == 0
        assert wire.produce(connection, {("fetched", 0): Batch(values=[b"v" * 20_000]).encode()})["fetched", 0].error == 0
        found = wire.fetch(connection, {("fetched", 0): 0}, max_bytes=50 << 20).partitions["fetched", 0]
        assert [b.base_offset for b in found.batches] == [0, 1, 2]
        # A batch that alone is larger comes whole, else nobody could go past it (KIP-74).
        found = wire.fetch(connection, {("fetched", 0): 9}, max_bytes=50 << 20).partitions["fetched", 0]
        assert [b.base_offset for b in found.batches] == [9]
