"""Every setting of a topic does what docs/compatibility.md says of it, or is refused. The document's tables drive it."""

import re
import signal
import subprocess
import time

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from harness import document, wire
from harness.broker import await_until
from harness.clients import ALL, EARLIEST
from harness.records import Record
from harness.wire import Batch

WAIT_S = 20
HOUR_MS = 3_600_000
LONG_MAX = 2**63 - 1
HONOURED, FIXED = document.table(document.TOPIC_HONOURED), document.table(document.TOPIC_FIXED)


@pytest.fixture
def admin(broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


def wait(futures: dict):
    (future,) = futures.values()
    return future.result(WAIT_S)


def refusal(futures: dict) -> tuple[str, str]:
    """Name and text of the error of something that must be refused."""
    with pytest.raises(confluent_kafka.KafkaException) as raised:
        wait(futures)
    return raised.value.args[0].name(), raised.value.args[0].str()


def create(admin: AdminClient, topic: str, **config: str) -> dict:
    return admin.create_topics([NewTopic(topic, 1, 1, config=config)])


def alter(admin: AdminClient, topic: str, name: str, value: str) -> dict:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    return admin.incremental_alter_configs([ConfigResource("topic", topic, incremental_configs=[entry])])


def settings_of(admin: AdminClient, topic: str) -> dict[str, ConfigEntry]:
    return wait(admin.describe_configs([ConfigResource("topic", topic)]))


def bounds(connection, topic: str) -> tuple[int, int]:
    return tuple(wire.list_offset(connection, topic, 0, end).offset for end in (wire.EARLIEST, wire.LATEST))


def send(connection, topic: str, acks: int = -1, **batch) -> str:
    """Kafka's name of what a produce request is answered."""
    return wire.produce(connection, {(topic, 0): Batch(**batch).encode()}, acks=acks)[topic, 0].name


# ---- the document -------------------------------------------------------------------------------------------------


def test_the_document_names_every_setting_with_its_default(admin, kind, broker, topic):
    broker.create_topic(topic)
    told = {row["setting"]: row.get("default", row.get("value")).replace("empty", "") for row in HONOURED + FIXED}
    assert len(told) == len(HONOURED) + len(FIXED), "a setting stands there twice"
    if kind == "kafka":
        told = {name: default for name, default in told.items() if not name.startswith("buslane.")}
        # The tests' own pulse, see SETTINGS in conftest.py.
        told["file.delete.delay.ms"] = "500"
    assert {name: entry.value for name, entry in settings_of(admin, topic).items()} == told


@pytest.mark.parametrize("heading", [document.TOPIC_HONOURED, document.SERVER, "Clients"])
def test_each_row_names_a_test_that_exists(heading):
    rows = document.table(heading)
    assert len(rows) >= 3
    for row in rows:
        links = document.links(row["test"])
        assert links, f"{heading}: no test in {row}"
        missing = [str(link) for link in links if not link.is_there()]
        assert not missing, f"{heading}: {missing} of {row}"


def test_the_settings_with_one_value_name_their_test():
    links = document.links(document.section(document.TOPIC_FIXED))
    assert [link.function for link in links] == ["test_another_value_is_refused_with_the_reason_and_the_one_is_taken"]
    assert all(link.is_there() for link in links)


# ---- known, with one value ----------------------------------------------------------------------------------------

# What Apache Kafka would take instead. Numbers and truth values need no entry.
OTHERS = {
    "compression.type": ["uncompressed", "gzip", "snappy", "lz4", "zstd"],
    "follower.replication.throttled.replicas": ["*", "0:1"],
    "leader.replication.throttled.replicas": ["*", "0:1"],
}


def others(name: str, value: str) -> list[str]:
    if name in OTHERS:
        return OTHERS[name]
    if value in ("true", "false"):
        return ["false" if value == "true" else "true"]
    if "." in value:
        return [str(float(value) / 2)]
    return [str(int(value) - 1), "1"]


@pytest.mark.buslane_only(reason="Apache Kafka serves what is refused here")
@pytest.mark.parametrize("row", FIXED, ids=[row["setting"] for row in FIXED])
def test_another_value_is_refused_with_the_reason_and_the_one_is_taken(admin, topic, row):
    name, only = row["setting"], row["value"].replace("empty", "")
    for value in others(name, only):
        code, text = refusal(create(admin, topic, **{name: value}))
        assert code == "INVALID_CONFIG", (value, text)
        for part in (f"'{name}'", f"'{only}'", row["why"]):
            assert part in text, text
    wait(create(admin, topic, **{name: only}))
    assert settings_of(admin, topic)[name].value == only
    for value in others(name, only):
        code, text = refusal(alter(admin, topic, name, value))
        assert (code, row["why"] in text) == ("INVALID_CONFIG", True), text
    wait(alter(admin, topic, name, only))
    assert settings_of(admin, topic)[name].value == only


# ---- honoured: bounds ---------------------------------------------------------------------------------------------


def values(takes: str) -> tuple[list[str], list[str]]:
    """The utmost values that a setting takes, and the ones just beyond, from the document's words."""
    if found := re.fullmatch(r"(-?\d+) to (-?\d+)", takes):
        low, high = int(found[1]), int(found[2])
    elif found := re.fullmatch(r"(-?\d+) or more", takes):
        low, high = int(found[1]), LONG_MAX
    else:
        words = re.findall(r"`(\w+)`", takes)
        assert len(words) > 1, takes
        return words, [words[0].swapcase(), "", "1"]
    return [str(low), str(high)], [str(low - 1), str(high + 1), "", "x", "1.5", f"{low} ms"]


# With the utmost values a record is stored like any other, but for these.
STORED_NOT = {
    ("cleanup.policy", "compact"): "INVALID_RECORD",  # it has no key
    ("max.message.bytes", "61"): "MESSAGE_TOO_LARGE",
    ("message.timestamp.before.max.ms", "0"): "INVALID_TIMESTAMP",
}


@pytest.mark.buslane_only(reason="the bounds are Buslane's: it takes smaller segments than Apache Kafka since KIP-1030, and larger numbers")
@pytest.mark.parametrize("row", HONOURED, ids=[row["setting"] for row in HONOURED])
def test_the_utmost_values_work_and_those_beyond_are_refused(admin, broker, topic, row):
    name = row["setting"]
    right, wrong = values(row["takes"])
    for value in wrong:
        code, text = refusal(create(admin, topic, **{name: value}))
        assert (code, f"'{name}'" in text) == ("INVALID_CONFIG", True), (value, text)
        assert right[0] in text and right[-1] in text, f"what would be right? {text}"
    with broker.connect() as connection:
        for number, value in enumerate(right):
            made = f"{topic}-{number}"
            broker.create_topic(made, **{name: value})
            assert settings_of(admin, made)[name].value == value
            expected = STORED_NOT.get((name, value), "NONE")
            assert send(connection, made, timestamp=int(time.time() * 1000) - 5) == expected, value
            assert bounds(connection, made)[1] == (expected == "NONE")


# ---- honoured: what they do ---------------------------------------------------------------------------------------


def test_the_default_limit_of_a_batch_is_one_mebibyte_and_twelve(broker, topic):
    broker.create_topic(topic)
    value = b"v" * (1_048_588 - len(Batch(values=[b"v" * 1_000_000]).encode()) + 1_000_000)
    with broker.connect() as connection:
        assert len(Batch(values=[value]).encode()) == 1_048_588
        assert send(connection, topic, values=[value + b"v"]) == "MESSAGE_TOO_LARGE"
        assert send(connection, topic, values=[value]) == "NONE"


def test_how_far_ahead_a_timestamp_may_lie_is_the_topics_choice(broker, topic):
    far, near = topic + "-far", topic + "-near"
    broker.create_topic(topic)
    broker.create_topic(far, message_timestamp_after_max_ms=10 * HOUR_MS)
    broker.create_topic(near, message_timestamp_after_max_ms=60_000)
    now = int(time.time() * 1000)
    with broker.connect() as connection:
        answers = {
            ahead: [send(connection, name, timestamp=now + ahead) for name in (near, topic, far)]
            for ahead in (30_000, HOUR_MS // 2, 2 * HOUR_MS, 11 * HOUR_MS)
        }
    no = "INVALID_TIMESTAMP"
    assert list(answers.values()) == [["NONE"] * 3, [no, "NONE", "NONE"], [no, no, "NONE"], [no] * 3]


def test_no_more_copies_are_demanded_than_a_topic_has(broker, topic):
    """Apache Kafka 4.4 takes the smaller of min.insync.replicas and the replication factor, which is one here."""
    broker.create_topic(topic, min_insync_replicas=2)
    with broker.connect() as connection:
        assert [send(connection, topic, acks=acks) for acks in (-1, 1)] == ["NONE"] * 2
    for acks in ("all", "1"):
        ALL["confluent"].produce(broker.bootstrap, topic, 0, [Record(None, b"x")], acks=acks, idempotent=False)
    assert len(ALL["confluent"].consume(broker.bootstrap, topic, 0, EARLIEST, 4)) == 4


def test_a_segment_that_is_old_enough_is_sealed_and_may_go(broker, topic):
    """Retention by size spares the newest segment, whatever its size: what goes shows where segments end."""
    aging, one = topic + "-aging", topic + "-one"
    broker.create_topic(aging, segment_ms=1000, retention_bytes=1)
    broker.create_topic(one, retention_bytes=1)
    with broker.connect() as connection:
        for name in (aging, one):
            assert send(connection, name) == "NONE"
        began = time.monotonic()

        # Apache Kafka rolls at the next append, so there is one now and then.
        def first_is_gone():
            for name in (aging, one):
                assert send(connection, name) == "NONE"
            return bounds(connection, aging)[0] > 0

        await_until(first_is_gone, "the first segment goes", every_s=0.3)
        assert time.monotonic() - began > 0.9, "younger than segment.ms"
        assert bounds(connection, one)[0] == 0, "and a segment that is younger than its segment.ms does not"


def test_records_stay_for_ever_where_the_topic_says_so(broker, topic):
    """By default a week."""
    ever = topic + "-for-ever"
    broker.create_topic(topic, segment_ms=1000)
    broker.create_topic(ever, segment_ms=1000, retention_ms=-1)
    with broker.connect() as connection:
        began = time.monotonic()

        def first_is_gone():
            # Apache Kafka rolls by the records' own clock, Buslane by its own: here they run alike.
            stamp = 1_000_000 + int((time.monotonic() - began) * 1000)
            for name in (topic, ever):
                assert send(connection, name, timestamp=stamp) == "NONE"
            return bounds(connection, topic)[0] > 0

        await_until(first_is_gone, "the old record goes", every_s=0.3)
        first = wire.fetch(connection, {(ever, 0): 0}).partitions[ever, 0].batches[0]
        assert (bounds(connection, ever)[0], first.base_offset) == (0, 0) and first.max_timestamp < 1_001_000


@pytest.mark.buslane_only(reason="Apache Kafka walks every record of every batch")
def test_records_are_walked_where_validation_is_strict_and_only_there(admin, broker, topic):
    promised = {"record_count": 2, "last_offset_delta": 1}  # and one is there
    with broker.connect() as connection:
        broker.create_topic(topic)
        assert send(connection, topic, **promised) == "NONE"
        wait(alter(admin, topic, "buslane.validation", "strict"))
        assert send(connection, topic, **promised) == "INVALID_RECORD"
        assert send(connection, topic) == "NONE"
        wait(alter(admin, topic, "buslane.validation", "relaxed"))
        assert send(connection, topic, **promised) == "NONE"
        assert bounds(connection, topic)[1] == 5
        # Header, sizes and CRC are looked at all the same.
        assert send(connection, topic, crc=1) == "CORRUPT_MESSAGE"


SYNC_TAKES_S = 0.25


@pytest.fixture
def slow_syncs(new_broker):
    """A broker whose fdatasync starts that much late, and the files it has synced."""
    broker = new_broker().start()
    trace = broker.root / "trace"
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=fdatasync"]
    command += ["-e", f"inject=fdatasync:delay_enter={int(SYNC_TAKES_S * 1e6)}", "-p", str(broker.pid)]
    try:
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("NOT RUN: this needs strace (apt-get install strace)")
    said = strace.stderr.readline()
    if "attached" not in said:
        strace.wait()
        pytest.skip(f"NOT RUN: strace may not look at the broker here ({said.strip()}); run as root, or allow ptrace")
    yield broker, lambda: re.findall(r"fdatasync\(\d+<([^>]+)>", trace.read_text())
    strace.send_signal(signal.SIGINT)
    strace.wait()
    broker.kill()


@pytest.mark.buslane_only(reason="durability is a setting of Buslane's")
def test_a_synced_append_is_answered_after_its_sync_and_a_replicated_one_before(slow_syncs, topic):
    broker, synced_files = slow_syncs
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    broker.create_topic(topic)

    def log_files() -> set[str]:
        return {str(path) for path in broker.data.glob("log/*/0/*.log")}

    def took() -> float:
        began = time.monotonic()
        assert send(connection, topic) == "NONE"
        return time.monotonic() - began

    with broker.connect() as connection:
        took()  # makes the segment
        replicated = log_files()
        assert sorted(took() for _ in range(9))[4] < SYNC_TAKES_S / 2, "an append to the page cache waits for no sync"
        wait(alter(admin, topic, "buslane.durability", "synced"))
        took()
        (synced,) = log_files() - replicated
        before = synced_files().count(synced)
        assert min(took() for _ in range(4)) >= SYNC_TAKES_S, "answered before it was synced"
        assert synced_files().count(synced) - before >= 4
        wait(alter(admin, topic, "buslane.durability", "replicated"))
        took()
        assert sorted(took() for _ in range(9))[4] < SYNC_TAKES_S / 2
    received = ALL["confluent"].consume(broker.bootstrap, topic, 0, EARLIEST, 25)
    assert [r.offset for r in received] == list(range(25))
