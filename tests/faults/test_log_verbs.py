"""`buslane log verify` and `dump` on real folders: what they find is where it is, what they repair is served again, what
they show is what a consumer reads."""

import itertools
import re
import shlex
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness import wire
from harness.broker import BuslaneBroker, StartFailed, await_until, buslane_binary
from harness.clients import CODECS, EARLIEST
from harness.clients.confluent import Confluent
from harness.offline import DAMAGED, FAILED, MISSING, OK, USAGE, DataFolder, batches, buslane, environment, flip
from harness.records import Record, sample

TOPIC, OTHER = "orders", "payments"
CLIENT = Confluent()
MAGIC = 16


def text_records(first: int, count: int) -> list[Record]:
    return [Record(b"key-%d" % n, b"value-%d " % n * 10) for n in range(first, first + count)]


class Prepared:
    """Two folders of the same records: of a server that was stopped, and of one that was killed, with an open segment of
    which one part is safe on the disk and the rest is not."""

    def __init__(self, broker, root: Path) -> None:
        broker.create_topic(TOPIC, 2, segment_bytes=60_000)
        broker.create_topic(OTHER, 1)
        self.by_codec: dict[str, range] = {}
        now_ms, end = int(time.time() * 1000), 0
        for codec in CODECS:
            offsets = CLIENT.produce(broker.bootstrap, TOPIC, 0, sample(now_ms), codec, **{"batch.num.messages": 5})
            self.by_codec[codec] = range(end, end + len(offsets))
            end += len(offsets)
        CLIENT.produce(broker.bootstrap, TOPIC, 1, text_records(0, 20))
        self.consumed = CLIENT.consume(broker.bootstrap, TOPIC, 0, EARLIEST, end)
        assert [record.offset for record in self.consumed] == list(range(end))
        broker.stop()
        self.stopped = DataFolder(broker.data).copy_to(root / "stopped")
        live = DataFolder(broker.data)
        # A sync may come at any time: once more, until the kill came before it.
        for _ in range(10):
            broker.start()
            self.produce(broker, 20)
            log = live.files("log")[-1]
            await_until(lambda log=log: live.synced_position(log) == log.stat().st_size, "the open segment is synced")
            self.produce(broker, 20)
            broker.kill()
            synced, found = live.synced_position(log), batches(log)
            if 0 < synced < found[-3].start:
                break
        else:
            raise AssertionError("the kill always came after the sync")
        self.synced, self.open_batches = synced, found
        self.killed = DataFolder(broker.data).copy_to(root / "killed")
        self.end = found[-1].base_offset + 1
        self.last_sealed = live.files("log")[-2]

    @staticmethod
    def produce(broker, count: int) -> None:
        """As many batches, of one record each."""
        CLIENT.produce(broker.bootstrap, TOPIC, 0, text_records(0, count), **{"batch.num.messages": 1})


@pytest.fixture(scope="module")
def prepared(new_broker, tmp_path_factory):
    return Prepared(new_broker().start(), tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def stopped(prepared, tmp_path):
    return prepared.stopped.copy_to(tmp_path / "data")


@pytest.fixture
def killed(prepared, tmp_path):
    return prepared.killed.copy_to(tmp_path / "buslane-data")


@pytest.fixture
def serve():
    """serve(folder): a server on it."""
    started: list[BuslaneBroker] = []

    def start(folder: DataFolder) -> BuslaneBroker:
        broker = BuslaneBroker(data=folder.path)
        started.append(broker)
        return broker.start()

    yield start
    for broker in started:
        text = broker.log_text()
        broker.remove()
        assert "panicked" not in text, text


def served_end(broker, partition: int = 0) -> int:
    """Where the partition ends, once it is led."""

    def listed():
        with broker.connect() as connection:
            found = wire.list_offset(connection, TOPIC, partition, wire.LATEST)
            return found if found.error == 0 else None

    return await_until(listed, f"{TOPIC}-{partition} is led").offset


def assert_serves(broker, prepared, end: int) -> None:
    """All up to the end is there and right, and the partition goes on behind it."""
    assert served_end(broker) == end
    more = [Record(b"after", b"the repair")]
    assert CLIENT.produce(broker.bootstrap, TOPIC, 0, more) == [end]
    received = CLIENT.consume(broker.bootstrap, TOPIC, 0, EARLIEST, end + 1)
    assert [record.offset for record in received] == list(range(end + 1))
    assert received[: len(prepared.consumed)] == prepared.consumed[:end]
    assert received[-1].value == b"the repair"


class Load:
    """A client that produces without pause until it is told to stop, or its broker is gone."""

    def __init__(self, broker) -> None:
        self.acknowledged = 0
        self.broker, self.ended = broker, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        try:
            with self.broker.connect() as connection:
                for number in itertools.count():
                    batch = wire.Batch(values=[b"%d" % number * 50] * 20).encode()
                    result = wire.produce(connection, {(TOPIC, 0): batch, (TOPIC, 1): batch})[TOPIC, 0]
                    assert result.name == "NONE"
                    self.acknowledged = result.base_offset + 20
                    if self.ended.is_set():
                        return
        except (OSError, wire.ConnectionClosed):
            return

    def __enter__(self) -> "Load":
        self.thread.start()
        await_until(lambda: self.acknowledged, "something is acknowledged")
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.thread.join()


# ---- verify: folders that are well --------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["stopped", "killed"])
def test_a_good_folder_has_no_findings(prepared, ending):
    folder = getattr(prepared, ending)
    before = folder.contents()
    done = folder.verify(code=OK)
    assert re.fullmatch(r"\d+ segments with \d+ batches, [\d.]+ KiB checked: no damage\n", done.out), done.out
    findings, summary = folder.findings(code=OK)
    assert findings == []
    logs = folder.files("log") + folder.files("log", 1)
    assert summary["copies"] == len(logs)
    assert summary["bytes"] == sum(log.stat().st_size for log in logs)
    assert summary["batches"] == sum(len(batches(log)) for log in logs)
    # A repair of what needs none changes nothing.
    folder.verify("--repair", "--accept-loss", code=OK)
    assert folder.contents() == before


def test_beside_a_server_it_is_refused_and_read_only_finds_nothing_wrong_under_load(serve, stopped):
    broker = serve(stopped)
    done = stopped.verify(code=FAILED)
    assert str(stopped.path) in done.err and "in use by a server" in done.err and "--read-only" in done.err, done.err
    assert "buslane.lock" in done.err and not done.out
    for refused in (["--repair"], ["--repair", "--accept-loss"]):
        stopped.verify(*refused, code=FAILED)
        stopped.verify("--read-only", *refused, code=USAGE)
    with Load(broker) as load:
        runs, enough = 0, load.acknowledged + 4000
        while runs < 10 or load.acknowledged < enough:
            findings, summary = stopped.findings("--read-only", code=OK)
            assert findings == []
            stopped.chain(TOPIC, 0)
            runs += 1
            assert runs < 2000 and load.thread.is_alive(), "nothing is written"
        assert summary["copies"] > 10
    broker.stop()
    assert stopped.findings(code=OK)[0] == []


def test_what_a_server_is_just_writing_is_no_finding_until_the_server_is_dead(serve, stopped):
    broker = serve(stopped)
    assert CLIENT.produce(broker.bootstrap, TOPIC, 0, text_records(0, 1))
    log = open_log(stopped)
    half = log.read_bytes()[: log.stat().st_size // 2]
    ends = {str(file): file.stat().st_size for file in (log, stopped.journal, stopped.meta_log)}
    for file, bytes_there in ((log, half), (stopped.journal, b"\0\0\0\x40half a frame"), (stopped.meta_log, b"\0\0\0\x40half a frame")):
        with open(file, "ab") as opened:
            opened.write(bytes_there)
    assert stopped.findings("--read-only", code=OK)[0] == []
    broker.kill()
    findings, _ = stopped.findings(code=OK)
    assert {f["severity"] for f in findings} == {"torn_end"}
    assert {f["file"]: f["position"] for f in findings} == ends
    broker = serve(stopped)
    served_end(broker)
    broker.stop()
    assert stopped.findings(code=OK)[0] == []


def test_after_a_kill_under_load_there_is_no_damage(serve, stopped):
    broker = serve(stopped)
    with Load(broker) as load:
        until = load.acknowledged + 200
        await_until(lambda: load.acknowledged >= until, "some batches are acknowledged")
        broker.kill()
    findings, _ = stopped.findings(code=OK)
    # A copy is made before its segment is opened in the metadata: the kill may come between.
    assert all(f["severity"] == "torn_end" or "does not count on" in f["what"] for f in findings), findings
    broker = serve(stopped)
    assert served_end(broker) >= load.acknowledged
    broker.stop()
    assert stopped.findings(code=OK)[0] == []


def test_a_folder_that_is_none_is_told(tmp_path):
    for path, words in ((tmp_path / "gone", "No such file or directory"), (tmp_path, "not a data folder")):
        done = buslane("log", "verify", "--data", path).expect(MISSING)
        assert str(path) in done.err and words in done.err, done.err
    assert list(tmp_path.iterdir()) == [], "something was made in it"


# ---- verify: every kind of damage ---------------------------------------------------------------------------------


def open_log(folder: DataFolder) -> Path:
    return folder.files("log")[-1]


def sealed_log(folder: DataFolder) -> Path:
    return folder.files("log")[0]


def flipped(file, which_batch, byte=70):
    """A bit of a batch of a log; found at the batch's start."""

    def damage(folder, prepared):
        log = file(folder)
        found = batches(log)
        batch = found[which_batch(found, prepared)] if callable(which_batch) else found[which_batch]
        flip(log, batch.start + byte)
        return log, batch.start

    return damage


def synced_batch(found, prepared):
    """The last one that is wholly safe on the disk."""
    return max(i for i, batch in enumerate(found) if batch.end <= prepared.synced)


def cut_off(file, bytes_left):
    """A log without its end; found at the start of the batch that is no longer whole."""

    def damage(folder, prepared):
        log = file(folder)
        length = bytes_left(log, prepared)
        start = max([b.start for b in batches(log) if b.start <= length], default=0)
        with open(log, "r+b") as opened:
            opened.truncate(length)
        return log, start

    return damage


def gone(file):
    def damage(folder, prepared):
        file(folder).unlink()
        return file_before[0], None

    file_before = []

    def remembered(folder, prepared):
        file_before[:] = [file(folder)]
        return damage(folder, prepared)

    return remembered


def flipped_file(file, position):
    """A bit of another file; found somewhere at or before it."""

    def damage(folder, prepared):
        path = file(folder)
        flip(path, position if position >= 0 else path.stat().st_size + position)
        return path, ...

    return damage


def written(file, text):
    def damage(folder, prepared):
        path = folder.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path, None

    return damage


def foreign(name):
    """A file of that name in a partition's folder."""

    def damage(folder, prepared):
        path = sealed_log(folder).parent / name
        path.write_bytes(b"who put this here?")
        return path, None

    return damage


def torn(file):
    """Bytes at a file's end that a crash left there."""

    def damage(folder, prepared):
        path = file(folder)
        end = path.stat().st_size
        with open(path, "ab") as opened:
            opened.write(b"\0\0\0\x40half a frame")
        return path, end

    return damage


def index_of_a_sealed(folder: DataFolder) -> Path:
    return folder.files("index")[0]


# What was done, to which folder, how bad it is, and words of the sentence.
DAMAGES = {
    "a bit in the last batch of an open log": ("killed", flipped(open_log, -1), "damage", "CRC"),
    "a bit in the middle of an open log": ("killed", flipped(open_log, -3), "damage", "CRC"),
    "a bit in the synced part of an open log": ("killed", flipped(open_log, synced_batch), "damage", "CRC"),
    "a bit of a magic byte in an open log": ("killed", flipped(open_log, -2, MAGIC), "damage", "format"),
    "a bit of a leader epoch, which no checksum covers": ("killed", flipped(open_log, -2, 15), "damage", "epoch"),
    "a bit in a sealed log": ("stopped", flipped(sealed_log, 1), "damage", "CRC"),
    "a bit of a length in a sealed log": ("stopped", flipped(sealed_log, 2, 10), "damage", ""),
    "a bit of a leader epoch in a sealed log": ("stopped", flipped(sealed_log, 2, 12), "damage", "epoch"),
    "a batch that is cut short at the end of an open log": (
        "killed",
        cut_off(open_log, lambda log, _: log.stat().st_size - 7),
        "torn_end",
        "ends inside a batch",
    ),
    "an open log cut below what was synced": ("killed", cut_off(open_log, lambda _, p: p.synced - 5), "damage", ""),
    "an open log without its content": ("killed", cut_off(open_log, lambda *_: 0), "damage", "were synced"),
    "a sealed log cut short": ("stopped", cut_off(sealed_log, lambda log, _: log.stat().st_size - 7), "damage", ""),
    "a sealed log without its content": ("stopped", cut_off(sealed_log, lambda *_: 0), "damage", "sealed"),
    "a sealed log that is gone": ("stopped", gone(sealed_log), "damage", "missing"),
    "an open log that is gone": ("killed", gone(open_log), "damage", "missing"),
    "a bit in an index": ("stopped", flipped_file(index_of_a_sealed, 5), "note", "entry 0"),
    "an index that is gone": ("stopped", gone(index_of_a_sealed), "note", "missing"),
    "a bit in producer checkpoints": ("stopped", flipped_file(lambda f: f.files("producers")[0], -3), "note", "checksum"),
    "a bit in the store journal": ("killed", flipped_file(lambda f: f.journal, 4096 + 30), "damage", "damaged at byte"),
    "a bit in the head of the store journal": ("killed", flipped_file(lambda f: f.journal, 3), "damage", ""),
    "a torn end of the store journal": ("killed", torn(lambda f: f.journal), "torn_end", "the last 16 bytes are torn"),
    "a torn end of the metadata log": ("killed", torn(lambda f: f.meta_log), "torn_end", "the last 16 bytes are torn"),
    "a bit in the metadata log": ("stopped", flipped_file(lambda f: f.meta_log, 200), "damage", "checksum"),
    "an identity that is none": ("stopped", written("buslane.json", "{"), "damage", "buslane.json"),
    "a foreign file": ("stopped", foreign("notes.txt"), "note", "no segment's file"),
    "a log that nobody counts on": ("stopped", foreign("00000000000000000007-99.log"), "note", "does not count on"),
    "an index without a log": ("stopped", foreign("00000000000000000007-99.index"), "note", "without its log"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_told_with_file_position_and_remedy(prepared, tmp_path, name):
    ending, damage, severity, words = DAMAGES[name]
    folder = getattr(prepared, ending).copy_to(tmp_path / "data")
    file, position = damage(folder, prepared)
    code = DAMAGED if severity == "damage" else OK
    before = folder.contents()
    findings, summary = folder.findings(code=code)
    mine = [f for f in findings if f["file"] == str(file)]
    assert [f["severity"] for f in mine] == [severity], findings
    (finding,) = mine
    assert words in finding["what"], finding
    if position is ...:
        assert finding["position"] is not None and finding["position"] <= file.stat().st_size, finding
    else:
        assert finding["position"] == position or position is None and finding["position"] in (None, 0), finding
    # Nothing else is wrong.
    assert summary["damage"] == (severity == "damage") and summary["torn_ends"] == (severity == "torn_end"), findings
    if "log" in file.relative_to(folder.path).parts[0]:
        assert (finding["topic"], finding["partition"]) == (TOPIC, 0)
    # The same in words.
    done = folder.verify(code=code)
    where = str(file) + (f", byte {finding['position']}" if finding["position"] is not None else "")
    assert f"{severity.replace('_', ' ')}: {where}" in done.out and f"remedy: {finding['remedy']}" in done.out, done.out
    assert ("damage in 1 place" in done.err) == (severity == "damage"), done.err
    assert folder.contents() == before, "looking changed something"


@pytest.mark.parametrize("name", [name for name in DAMAGES if re.search("bit in .*(journal|metadata log)|identity", name)])
def test_where_it_says_that_the_server_does_not_start_it_does_not(prepared, tmp_path, serve, name):
    ending, damage, _, _ = DAMAGES[name]
    folder = getattr(prepared, ending).copy_to(tmp_path / "data")
    file, _ = damage(folder, prepared)
    (finding,) = [f for f in folder.findings(code=DAMAGED)[0] if f["file"] == str(file)]
    assert "the server does not start" in finding["remedy"], finding
    before = folder.contents()
    with pytest.raises(StartFailed) as failed:
        serve(folder)
    assert str(file) in failed.value.output and failed.value.code not in (0, None, 101), failed.value
    after = folder.contents()
    if file != folder.journal:
        # The journal may tell of the attempt.
        before["store.journal"] = after["store.journal"]
    assert after == before


MENDED = [
    "a torn end of the store journal",
    "a torn end of the metadata log",
    "an index that is gone",
    "a bit in an index",
    "a log that nobody counts on",
    "a batch that is cut short at the end of an open log",
]


@pytest.mark.parametrize("name", MENDED)
def test_where_it_says_that_the_server_mends_it_it_does(prepared, tmp_path, serve, name):
    ending, damage, _, _ = DAMAGES[name]
    folder = getattr(prepared, ending).copy_to(tmp_path / "data")
    file, _ = damage(folder, prepared)
    assert [f["file"] for f in folder.findings(code=OK)[0]] == [str(file)]
    broker = serve(folder)
    end = served_end(broker)
    # The server looks at an index when it is asked for a place in its segment.
    for offset in range(0, end, 3):
        with broker.connect() as connection:
            found = wire.fetch(connection, {(TOPIC, 0): offset}, partition_max_bytes=100).partitions[TOPIC, 0]
            assert found.error == 0 and found.batches[0].base_offset <= offset <= found.batches[0].last_offset
    broker.stop()
    assert folder.findings(code=OK)[0] == []


def test_the_filters_check_only_what_they_name(stopped):
    flip(sealed_log(stopped), 70)
    everything = stopped.findings(code=DAMAGED)[1]["copies"]
    first = stopped.findings("--topic", TOPIC, "--partition", 0, code=DAMAGED)[1]["copies"]
    second = stopped.findings("-t", TOPIC, "-p", 1, code=OK)[1]["copies"]
    assert stopped.findings("--topic", TOPIC, code=DAMAGED)[1]["copies"] == everything == first + second
    topic_id = sealed_log(stopped).parent.parent.name
    assert stopped.findings("--topic", topic_id, "--partition", 0, code=DAMAGED)[1]["copies"] == first
    assert stopped.findings("--topic", OTHER, code=OK)[1]["copies"] == 0, "known, and nothing written yet"


@pytest.mark.parametrize("verb", ["verify", "dump"])
def test_what_is_not_there_cannot_be_named(stopped, verb):
    def told(*arguments, code):
        return buslane("log", verb, "--data", stopped.path, *arguments).expect(code).err

    error = told("--topic", "ordres", "--partition", 0, code=MISSING)
    assert "'ordres'" in error and TOPIC in error and OTHER in error, error
    error = told("--topic", TOPIC, "--partition", 2, code=MISSING)
    assert "no partition 2" in error and "it has 2" in error, error
    unknown = "01234567-89ab-4cde-8123-456789abcdef"
    assert unknown in told("--topic", unknown, "--partition", 0, code=MISSING)
    told("--partition", 0, code=USAGE)
    told("--topic", TOPIC, "--partition", -1, code=USAGE)


# ---- repair -------------------------------------------------------------------------------------------------------


def assert_loss_is_recorded(folder: DataFolder, end: int) -> None:
    assert [loss["end_offset"] for loss in folder.chain(TOPIC, 0)["losses"]] == [end]
    assert f"from offset {end} on may be gone" in folder.partition(TOPIC, 0, "--chain").out
    commands = [command for line in folder.dump(folder.meta_log, "--json").lines for command in line.get("commands", [])]
    losses = [c["loss"]["end_offset"] for c in commands if c["command"] == "seal" and c["loss"]]
    assert losses == [end]


def orphan(folder: DataFolder) -> Path:
    (file,) = (folder.path / "orphans").iterdir()
    return file


def command_in(text: str) -> list[str]:
    """The arguments of the command line that the server's log names."""
    (command,) = re.findall(r"with `(buslane [^`]*)`", text)
    return shlex.split(command)[1:]


def test_the_command_in_the_servers_log_heals_what_the_server_refuses(prepared, killed, serve):
    log = open_log(killed)
    bad = batches(log)[-3]
    length = log.stat().st_size
    flip(log, bad.start + 70)
    broker = serve(killed)
    await_until(lambda: "partition is offline" in broker.log_text(), "the partition is taken offline")
    assert served_end(broker, 1) == 20
    # A partition that is offline does not hold up a clean stop.
    broker.stop()
    text = broker.log_text()
    assert str(log) in text and f"damaged at byte {bad.start}" in text
    done = buslane(*command_in(text)).expect(OK)
    assert f"cut at byte {bad.start}, offset {bad.base_offset}" in done.out and "1 repaired" in done.out, done.out
    assert log.stat().st_size == bad.start
    assert orphan(killed).stat().st_size == length - bad.start
    assert killed.findings(code=OK)[0] == []

    broker = serve(killed)
    assert_serves(broker, prepared, bad.base_offset)
    broker.stop()
    assert_loss_is_recorded(killed, bad.base_offset)
    assert killed.findings(code=OK)[0] == []

    # What was cut is kept and can be read there: the bad batch is named, the two behind it are good.
    assert str(orphan(killed).relative_to(killed.path)) in done.out
    shown = killed.dump(orphan(killed), "--records", "--json", code=DAMAGED)
    batches_there = [line for line in shown.lines if line["type"] == "batch"]
    assert [b["base_offset"] for b in batches_there] == [bad.base_offset + n for n in range(3)]
    assert [b["crc_ok"] for b in batches_there] == [False, True, True]
    assert str(orphan(killed)) in shown.err and "byte 0" in shown.err, shown.err
    kept = [line for line in shown.lines if line["type"] == "record" and line["offset"] > bad.base_offset]
    assert [record["value"].encode() for record in kept] == [record.value for record in text_records(18, 2)]


@pytest.mark.parametrize("left", ["the end gone", "all gone", "the file gone"])
def test_where_the_command_in_the_servers_log_is_not_enough_it_says_what_is(prepared, killed, serve, left):
    """What was safe on the disk is gone: nobody but the operator can accept that."""
    log = open_log(killed)
    first, length = batches(log)[0], prepared.synced - 5 if left == "the end gone" else 0
    end = max([b.base_offset for b in batches(log) if b.start <= length], default=first.base_offset)
    if left == "the file gone":
        log.unlink()
    else:
        with open(log, "r+b") as opened:
            opened.truncate(length)
    broker = serve(killed)
    await_until(lambda: "partition is offline" in broker.log_text(), "the partition is taken offline")
    broker.kill()
    command = command_in(broker.log_text())
    done = buslane(*command).expect(DAMAGED)
    assert "--repair --accept-loss" in done.out, done.out
    assert log.stat().st_size == length if left != "the file gone" else not log.exists()
    buslane(*command, "--accept-loss").expect(OK)
    broker = serve(killed)
    assert_serves(broker, prepared, end)
    broker.stop()
    assert_loss_is_recorded(killed, end)
    assert killed.findings(code=OK)[0] == []


def test_what_was_safe_on_the_disk_is_cut_only_when_the_loss_is_accepted(prepared, killed, serve):
    log = open_log(killed)
    found = batches(log)
    bad = found[synced_batch(found, prepared)]
    flip(log, bad.start + 70)
    before = killed.contents()
    findings, _ = killed.findings("--repair", code=DAMAGED)
    assert "--accept-loss" in findings[0]["remedy"] and findings[0]["repaired"] is None
    assert killed.contents() == before, "a refused repair changed something"
    killed.verify("--accept-loss", code=USAGE)

    findings, summary = killed.findings("--repair", "--accept-loss", code=OK)
    assert (summary["damage"], summary["repaired"]) == (1, 1) and str(orphan(killed)) in findings[0]["repaired"]
    assert before[str(log.relative_to(killed.path))][bad.start :] == orphan(killed).read_bytes()
    broker = serve(killed)
    assert_serves(broker, prepared, bad.base_offset)
    broker.stop()
    assert_loss_is_recorded(killed, bad.base_offset)


def test_a_torn_end_needs_no_repair_and_a_repair_records_no_loss(prepared, killed, serve):
    log = open_log(killed)
    last = batches(log)[-1]
    with open(log, "ab") as opened:
        opened.write(log.read_bytes()[last.start : last.end - 5])
    assert [f["severity"] for f in killed.findings(code=OK)[0]] == ["torn_end"]
    (finding,), _ = killed.findings("--repair", code=OK)
    assert finding["position"] == last.end and finding["repaired"]
    broker = serve(killed)
    assert_serves(broker, prepared, prepared.end)
    broker.stop()
    assert killed.chain(TOPIC, 0)["losses"] == []


def test_a_sealed_segment_is_never_cut(prepared, stopped, serve):
    log = sealed_log(stopped)
    bad = batches(log)[2]
    flip(log, bad.start + 70)
    before = stopped.contents()
    for arguments in (["--repair"], ["--repair", "--accept-loss"]):
        (finding,), _ = stopped.findings(*arguments, code=DAMAGED)
        assert finding["repaired"] is None and "sealed" in finding["remedy"] and f"offset {bad.base_offset}" in finding["remedy"]
        assert stopped.contents() == before
    # Put right as the remedy says, from a backup, all is well.
    flip(log, bad.start + 70)
    assert stopped.findings(code=OK)[0] == []
    assert_serves(serve(stopped), prepared, len(prepared.consumed))


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_an_index_is_rebuilt_as_it_was(stopped, damage):
    index = index_of_a_sealed(stopped)
    right = index.read_bytes()
    flip(index, 5) if damage == "flipped" else index.unlink()
    assert stopped.findings("--repair", code=OK)[0][0]["repaired"].startswith("rebuilt")
    assert index.read_bytes() == right
    assert stopped.findings(code=OK)[0] == []


def test_with_damaged_metadata_nothing_is_repaired(killed):
    flip(killed.meta_log, 200)
    flip(open_log(killed), batches(open_log(killed))[-2].start + 70)
    before = killed.contents()
    done = killed.verify("--repair", "--accept-loss", code=DAMAGED)
    assert "metadata is damaged" in done.err and str(killed.meta_log) in done.out, done.err
    assert killed.contents() == before


# ---- dump ---------------------------------------------------------------------------------------------------------


def dumped(line: dict) -> Record:
    """A line of JSON as the record that it shows."""

    def part(owner: dict, name: str) -> bytes | None:
        if f"{name}_hex" in owner:
            return bytes.fromhex(owner[f"{name}_hex"])
        return None if owner[name] is None else owner[name].encode()

    headers = tuple((header["key"], part(header, "value")) for header in line["headers"])
    return Record(part(line, "key"), part(line, "value"), headers, line["timestamp"], line["offset"])


@pytest.mark.parametrize("codec", CODECS)
def test_the_records_shown_are_those_consumed(prepared, codec):
    """Keys, headers, nulls, tombstones, bytes that are no text: what `sample` has."""
    offsets = prepared.by_codec[codec]
    shown = prepared.stopped.partition(TOPIC, 0, "--records", "--from", offsets.start, "--limit", len(offsets), "--json")
    records = [line for line in shown.lines if line["type"] == "record"]
    assert [record["offset"] for record in records] == list(offsets)
    assert [dumped(line) for line in records] == prepared.consumed[offsets.start : offsets.stop]
    found = {line["compression"] for line in shown.lines if line["type"] == "batch"}
    # librdkafka leaves a batch as it is where compressing does not make it smaller.
    assert codec in found and found <= {codec, "none"}


def test_the_batches_shown_are_those_stored(prepared):
    shown = prepared.stopped.partition(TOPIC, 0, "--json").lines
    stored = [(log, batch) for log in prepared.stopped.files("log") for batch in batches(log)]
    assert [(b["file"], b["position"], b["bytes"], b["base_offset"]) for b in shown] == [
        (str(log), batch.start, batch.end - batch.start, batch.base_offset) for log, batch in stored
    ]
    for batch in shown:
        assert batch["crc_ok"] and batch["record_count"] == batch["last_offset"] - batch["base_offset"] + 1
        assert batch["producer_id"] >= 0 and batch["producer_epoch"] == 0 and batch["base_sequence"] >= 0
        assert not batch["control"] and not batch["transactional"] and not batch["log_append_time"]


def test_the_text_form_shows_nulls_bytes_and_headers(prepared):
    out = prepared.stopped.partition(TOPIC, 0, "--records", "--limit", 11).out
    first = prepared.stopped.files("log")[0]
    assert out.startswith(f"# {first}\nbyte 0: offsets 0 to 4, 5 records, "), out
    for words in (
        'key null, value "no key"',
        'key "tombstone", value null',
        'key "empty value", value ""',
        'headers a="1", b="größer"',
        f"key 0x{bytes(range(256)).hex()}",
        'headers trace="1", trace="2", other="x"',
        "headers flag=null",
    ):
        assert words in out, f"{words}:\n{out}"


def test_from_and_limit(prepared):
    folder = prepared.stopped

    def offsets(*arguments):
        lines = folder.partition(TOPIC, 0, "--json", *arguments).lines
        return [line["offset"] for line in lines if line["type"] == "record"], [
            (line["base_offset"], line["last_offset"]) for line in lines if line["type"] == "batch"
        ]

    end = len(prepared.consumed)
    # From the middle of a batch, across batches and segments, to the middle of a batch.
    second = batches(folder.files("log")[1])[0].base_offset
    start = second - 3
    assert offsets("--records", "--from", start, "--limit", 10)[0] == list(range(start, start + 10))
    assert offsets("--records", "--from", end - 2)[0] == [end - 2, end - 1]
    assert offsets("--records", "--from", end) == ([], [])
    assert offsets("--records", "--limit", 0) == ([], [])
    records, shown = offsets("--from", start, "--limit", 3)
    assert records == [] and len(shown) == 3 and shown[0][0] <= start <= shown[0][1]
    assert len(offsets()[1]) == sum(len(batches(log)) for log in folder.files("log"))


def test_every_other_kind_of_file_is_shown(prepared):
    folder = prepared.killed

    def both(file: Path, kind: str) -> tuple[str, list[dict]]:
        lines = folder.dump(file, "--json").lines
        assert {line["file"] for line in lines} == {str(file)}
        found = [line for line in lines if line["type"] == kind]
        assert found
        limited = folder.dump(file, "--json", "--limit", 1).lines
        assert [line for line in limited if line["type"] == kind] == found[:1]
        return folder.dump(file).out, found

    index = index_of_a_sealed(folder)
    text, entries = both(index, "index_entry")
    stored = {batch.base_offset: batch.start for batch in batches(index.with_suffix(".log"))}
    for number, entry in enumerate(entries):
        assert stored[entry["base_offset"]] == entry["position"]
        assert f"entry {number}: offset {entry['base_offset']} at byte {entry['position']}, greatest time before " in text

    producers = folder.files("producers")[0]
    text, checkpoints = both(producers, "producers")
    for checkpoint in checkpoints:
        assert bytes.fromhex(checkpoint["payload_hex"])
        assert f"producers as of offset {checkpoint['end_offset']}" in text

    # A start begins the journal anew with what is still of use.
    for one, kinds, clean in ((folder, {"start", "copy", "recovery point"}, False), (prepared.stopped, {"sealed", "clean stop"}, True)):
        text, records = both(one.journal, "journal_record")
        assert kinds <= {record["kind"] for record in records}
        assert re.search(r"^byte \d+: start: incarnation \d+, boot id ", text, re.MULTILINE), text
        assert ("not stopped in order" in text) != clean
        last = one.dump(one.journal, "--json").lines[-1]
        assert (last["type"], last["clean_stop"], last["torn_bytes"]) == ("journal", clean, 0)

    text, entries = both(folder.meta_log, "entry")
    assert [entry["index"] for entry in entries] == list(range(len(entries)))
    commands = [command for entry in entries for command in entry["commands"]]
    created = next(c for c in commands if c["command"] == "create_topic")
    assert (created["topic"], created["plans"], created["config"]) == (TOPIC, [[1], [1]], {"segment.bytes": "60000"})
    seals = [c for c in commands if c["command"] == "seal" and c["partition"] == 0 and c["bytes"] > 0]
    assert [c["bytes"] for c in seals] == [log.stat().st_size for log in folder.files("log")[:-1]]
    assert f"create topic: topic {TOPIC}, topic id {created['topic_id']}, partitions 2" in text
    assert f"seal: topic {TOPIC}, topic id " in text and "{" not in text and "(0)" not in text, text
    assert [entry["index"] for entry in folder.dump(folder.meta_log, "--from", 3, "--limit", 2, "--json").lines] == [3, 4]

    chain = folder.chain(TOPIC, 0)
    assert [segment["base_offset"] for segment in chain["segments"]] == [int(log.name[:20]) for log in folder.files("log")]
    assert chain["segments"][-1]["end_offset"] is None and chain["losses"] == []
    assert "open, epoch" in folder.partition(TOPIC, 0, "--chain").out


def test_several_files_are_told_apart(prepared):
    logs = prepared.stopped.files("log")[:2]
    out = prepared.stopped.dump(*logs).out
    assert [line for line in out.splitlines() if line.startswith("#")] == [f"# {log}" for log in logs]
    assert not prepared.stopped.dump(logs[0]).out.startswith("#")


@pytest.mark.parametrize("verb", ["text", "json"])
def test_a_damaged_log_is_shown_up_to_the_damage(stopped, verb):
    log = sealed_log(stopped)
    bad = batches(log)[2]
    flip(log, bad.start + MAGIC)
    arguments = ["--json"] if verb == "json" else []
    done = stopped.dump(log, *arguments, code=DAMAGED)
    assert f"{log}: damaged at byte {bad.start}" in done.err
    if verb == "json":
        assert [line["type"] for line in done.lines] == ["batch", "batch", "damage"]
        assert done.lines[-1]["position"] == bad.start and done.lines[-1]["file"] == str(log)
    else:
        assert len(done.out.splitlines()) == 3 and f"byte {bad.start}: damage: " in done.out


@pytest.mark.parametrize("what", ["index", "producers", "journal", "metadata log"])
def test_a_damaged_file_of_another_kind_is_told(killed, what):
    file = {
        "index": index_of_a_sealed(killed),
        "producers": killed.files("producers")[0],
        "journal": killed.journal,
        "metadata log": killed.meta_log,
    }[what]
    flip(file, {"index": 5, "producers": file.stat().st_size - 3, "journal": 4096 + 30, "metadata log": 200}[what])
    for arguments in ([], ["--json"]):
        done = killed.dump(file, *arguments, code=DAMAGED)
        assert re.search(re.escape(str(file)) + r": damaged at byte \d+: ", done.err), done.err
    assert "damage" in {line["type"] for line in done.lines}


@pytest.mark.parametrize("name", ["gone.log", "gone.index", "gone.producers", "store.journal", "meta/log", "meta/snapshot", "gone.txt"])
def test_a_file_that_is_not_there(tmp_path, name):
    done = buslane("log", "dump", tmp_path / name).expect(MISSING)
    assert done.err == f"buslane: {tmp_path / name}: No such file or directory (os error 2)\n"


def test_what_cannot_be_shown(stopped):
    done = stopped.dump(stopped.path / "buslane.json", code=USAGE)
    assert "buslane.json" in done.err and "*.log" in done.err and "store.journal" in done.err, done.err
    misnamed = stopped.path / "copy.index"
    misnamed.write_bytes(index_of_a_sealed(stopped).read_bytes())
    assert "00000000000000000042-7" in stopped.dump(misnamed, code=USAGE).err
    for folder in (stopped.path, sealed_log(stopped).parent):
        done = stopped.dump(folder, code=USAGE)
        assert "folder" in done.err and "--topic" in done.err, done.err
    assert "<FILE>" in stopped.dump(code=USAGE).err
    # A log that was copied elsewhere, under a name of its own, can be shown.
    elsewhere = stopped.path / "copy.log"
    elsewhere.write_bytes(sealed_log(stopped).read_bytes())
    assert stopped.dump(elsewhere).out == stopped.dump(sealed_log(stopped)).out


@pytest.mark.parametrize("verb", ["dump", "dump --json", "verify"])
def test_a_reader_that_goes_away_is_no_error(stopped, verb):
    if verb == "verify":
        # More findings than a pipe holds.
        for number in range(800):
            (sealed_log(stopped).parent / f"stranger-{number}").touch()
        arguments = ["verify", "--data", stopped.path]
    else:
        arguments = [*verb.split(), "--data", stopped.path, "--topic", TOPIC, "--partition", 0, "--records"]
    command = [str(part) for part in (buslane_binary(), "log", *arguments)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == OK


def test_a_snapshot_is_shown_and_checked(new_broker):
    """The server makes one when the metadata's log has grown: here by settings with many leading zeros."""
    broker = new_broker().start()
    folder = DataFolder(broker.data)
    snapshot = folder.path / "meta" / "snapshot"
    zeros = "0" * 30_000
    numbers = {"retention.ms": "604800000", "segment.ms": "604800000", "segment.bytes": "60000", "max.message.bytes": "1048588"}
    with broker.connect() as connection:
        for number in range(60):
            if snapshot.exists():
                break
            error, message = wire.create_topic(connection, f"long-{number}", 1, {name: zeros + value for name, value in numbers.items()})
            assert error == 0, message
        await_until(snapshot.exists, "a snapshot is there")
    broker.stop()
    assert folder.findings(code=OK)[0] == []
    lines = folder.dump(snapshot, "--json").lines
    assert {line["type"] for line in lines} == {"partition"} and "long-0" in {line["topic"] for line in lines}
    assert folder.dump(snapshot, "--json", "--limit", 2).lines == lines[:2]
    assert "topic long-0 (" in folder.dump(snapshot).out
    flip(snapshot, snapshot.stat().st_size - 100)
    (finding,), _ = folder.findings(code=DAMAGED)
    assert finding["file"] == str(snapshot) and "snapshot is damaged" in finding["what"], finding
    assert str(snapshot) in folder.dump(snapshot, code=DAMAGED).err
