"""Disks that are full, read-only or failing, under a running broker. Needs root on Linux for small file systems."""

import functools
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness import wire
from harness.broker import StartFailed, await_until
from harness.clients import ALL
from harness.records import Record
from harness.streams import JavaStream, stored, violations
from harness.wire import Batch

from .conftest import run

MIB = 1 << 20
SETTINGS = {"buslane": {"server.disk_reserve": "24MiB"}}
RESUMES_WITHIN_S = 30


def fill(disk: Path, leave: int) -> Path:
    """A file that takes the disk's space but for `leave` bytes."""
    filler = disk / "filler"
    free = shutil.disk_usage(disk).free - leave
    with open(filler, "wb") as file:
        while free > 0:
            try:
                free -= file.write(bytes(min(free, MIB)))
                file.flush()
            except OSError:
                break
    return filler


@functools.cache
def batch_of(size: int) -> bytes:
    return Batch(values=[b"d" * size]).encode()  # the tests' CRC is slow: once for each size


def send(connection, topic: str, size: int = 1000) -> wire.ProduceResult:
    return wire.produce(connection, {(topic, 0): batch_of(size)})[topic, 0]


def await_refused(connection, topic: str) -> int:
    """Produces until the broker refuses; how many batches it acknowledged before."""
    acknowledged = 0

    def refused():
        nonlocal acknowledged
        result = send(connection, topic)
        if result.error == 0:
            acknowledged += 1
            return False
        assert result.name == "KAFKA_STORAGE_ERROR", result
        return True

    await_until(refused, "a full disk refuses produce requests", RESUMES_WITHIN_S)
    return acknowledged


def test_a_nearly_full_disk_refuses_produce_serves_all_else_and_resumes_by_itself(new_broker, small_disk, topic):
    disk = small_disk(128)
    broker = new_broker(SETTINGS, data=disk / "data").start()
    broker.create_topic(topic)
    broker.create_topic(topic + "-to-go")
    with broker.connect(timeout=20) as connection:
        for _ in range(5):
            assert send(connection, topic).error == 0
        filler = fill(disk, 12 * MIB)
        count = 5 + await_refused(connection, topic)
        assert "nearly full" in broker.log_text()
        # Everything that does not grow the log goes on.
        assert len(wire.fetch(connection, {(topic, 0): 0}).partitions[topic, 0].batches) == count
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == count
        assert wire.metadata(connection, [topic])[topic].error == 0
        assert wire.delete_records(connection, topic, 0, 2) == (0, 2)
        assert wire.delete_topic(connection, topic + "-to-go") == 0
        assert send(connection, topic).name == "KAFKA_STORAGE_ERROR"
        filler.unlink()
        await_until(lambda: send(connection, topic).error == 0, "produce resumes when space is free again", RESUMES_WITHIN_S)
        rows = stored(broker, topic, 0)
        assert [offset for offset, _ in rows] == list(range(2, count + 1))
    broker.stop()


def test_a_disk_that_is_full_in_the_middle_of_a_write_loses_nothing_acknowledged(new_broker, small_disk, topic):
    """Nothing is left at all, so that writes themselves fail: refused, never a false success, and it goes on when it can."""
    disk = small_disk(64)
    broker = new_broker({"buslane": {"server.disk_reserve": "1MiB"}}, data=disk / "data").start()
    broker.create_topic(topic)
    acknowledged = 0
    with broker.connect(timeout=20) as connection:
        # Large batches against a reserve smaller than a few of them: the write fails before the free space is looked at.
        for _ in range(200):
            result = send(connection, topic, 900_000)
            if result.error:
                break
            assert result.base_offset == acknowledged
            acknowledged += 1
        assert result.name == "KAFKA_STORAGE_ERROR", result
        fill(disk, 0)
        # The owner gives the failed segment up and starts over, for which moments it leads nothing; then the disk is told of.
        assert {send(connection, topic, 500_000).name for _ in range(20)} <= {"KAFKA_STORAGE_ERROR", "NOT_LEADER_OR_FOLLOWER"}
        await_until(lambda: send(connection, topic, 500_000).name == "KAFKA_STORAGE_ERROR", "a full disk is told of", 10)
        last = await_until(lambda: wire.fetch(connection, {(topic, 0): acknowledged - 1}).partitions[topic, 0].batches, "fetch goes on", 10)
        assert last[0].values == [b"d" * 900_000]
        (disk / "filler").unlink()
        wire.delete_records(connection, topic, 0, 1)
    # More room than the segment alone may free.
    run("mount", "-o", "remount,size=160m", disk)
    with broker.connect(timeout=20) as connection:
        result = await_until(lambda: (r := send(connection, topic)).error == 0 and r, "produce resumes", RESUMES_WITHIN_S)
        assert result.base_offset == acknowledged
    # And it is all there for the next process too.
    broker.kill()
    broker.start()
    with broker.connect(timeout=20) as connection:
        await_until(lambda: wire.list_offset(connection, topic, 0, wire.LATEST).offset == acknowledged + 1, "all is there after a restart")
        for offset in (acknowledged - 1, acknowledged):
            assert wire.fetch(connection, {(topic, 0): offset}).partitions[topic, 0].batches[0].base_offset == offset
    broker.stop()


def test_an_idempotent_java_producer_outlasts_a_full_disk(new_broker, small_disk, topic):
    """KAFKA_STORAGE_ERROR is retried: the producer pauses and goes on; each message is stored once."""
    disk = small_disk(128)
    broker = new_broker(SETTINGS, data=disk / "data").start()
    broker.create_topic(topic)
    stream = JavaStream(broker.bootstrap, topic, 1, "java", 0.002)
    await_until(lambda: stream.acknowledged_so_far > 50, "messages are acknowledged")
    filler = fill(disk, 8 * MIB)
    with broker.connect(timeout=20) as connection:
        await_refused(connection, topic)
    time.sleep(1)  # the producer meets the refusal some times
    paused_at = stream.acknowledged_so_far
    filler.unlink()
    await_until(lambda: stream.acknowledged_so_far > paused_at + 50, "the producer goes on", RESUMES_WITHIN_S)
    told = stream.stop()
    assert told.failures == []
    assert violations(stored(broker, topic, 0), 0, told) == []
    broker.stop()


def test_a_read_only_disk_is_refused_at_start_by_name(new_broker, small_disk, topic):
    disk = small_disk(64)
    broker = new_broker({"buslane": {"server.disk_reserve": "8MiB"}}, data=disk / "data").start()
    broker.create_topic(topic)
    ALL["confluent"].produce(broker.bootstrap, topic, 0, [Record(None, b"kept")])
    broker.stop()
    run("mount", "-o", "remount,ro", disk)
    try:
        with pytest.raises(StartFailed) as failed:
            broker.start()
        assert failed.value.code not in (0, None, 101)
        assert str(broker.data) in failed.value.output, failed.value.output
        assert "read-only" in failed.value.output.lower(), failed.value.output
    finally:
        run("mount", "-o", "remount,rw", disk)
    broker.start()
    await_until(lambda: [v for _, v in stored(broker, topic, 0)] == [b"kept"], "all is there once it is writable again")
    broker.stop()


@pytest.fixture
def failing_disk(small_disk, tmp_path):
    """An ext2 file system on a loop device on a small memory disk. Filling the latter makes the former fail with EIO:
    fail() and heal() switch it."""
    below = small_disk(96)
    image, path = below / "image", tmp_path / "failing"
    with open(image, "wb") as file:
        file.truncate(256 * MIB)  # sparse: what is written has to find room below
    try:
        run("mkfs.ext2", "-q", "-F", image)
        path.mkdir()
        run("mount", "-o", "loop", image, path)
    except (AssertionError, FileNotFoundError) as reason:
        pytest.skip(f"NOT RUN: no loop device with ext2 here ({reason}); needs root, loop devices and mkfs.ext2")

    class Disk:
        def __init__(self) -> None:
            self.path = path

        def fail(self) -> None:
            fill(below, 0)

        def heal(self) -> None:
            (below / "filler").unlink()

    yield Disk()
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_disk_that_fails_with_eio_gives_no_false_success(new_broker, failing_disk, topic):
    """fdatasync fails under a synced topic: refused from then on where it matters, and what was acknowledged is there."""
    broker = new_broker({"buslane": {"server.disk_reserve": "1MiB"}}, data=failing_disk.path / "data").start()
    broker.create_topic(topic, buslane_durability="synced")
    acknowledged = 0
    with broker.connect(timeout=30) as connection:
        for _ in range(10):
            assert send(connection, topic, 100_000).base_offset == acknowledged
            acknowledged += 1
        failing_disk.fail()
        refused = 0
        for _ in range(40):
            result = send(connection, topic, 400_000)
            if result.error == 0:
                assert refused == 0 and result.base_offset == acknowledged
                acknowledged += 1
            else:
                # Either makes a client try again; the partition has no store left to lead with.
                assert result.name in ("KAFKA_STORAGE_ERROR", "NOT_LEADER_OR_FOLLOWER"), result
                refused += 1
                if refused == 5:
                    break
        assert refused == 5, "forty synced writes to a full backing store all succeeded: the fault did not bite"
    assert "panicked" not in broker.log_text()
    assert wire_alive(broker)
    broker.kill()
    failing_disk.heal()
    broker.start()
    await_until(
        lambda: len(values_up_to(broker, topic, acknowledged)) == acknowledged, "all that was acknowledged is there", RESUMES_WITHIN_S
    )
    broker.kill()  # a clean stop syncs the file system, and Linux may tell it of the old error once more


def test_a_broker_that_can_write_no_metadata_says_so_and_ends(new_broker, failing_disk, topic):
    """Nothing more can be promised, so it stops for whoever watches over it; what it acknowledged is there afterwards."""
    broker = new_broker({"buslane": {"server.disk_reserve": "1MiB"}}, data=failing_disk.path / "data").start()
    broker.create_topic(topic)
    with broker.connect(timeout=30) as connection:
        assert send(connection, topic).error == 0
        failing_disk.fail()
        created = []
        for number in range(1000):
            try:
                error, _ = wire.create_topic(connection, f"{topic}-{number}", 100, {})
            except (OSError, wire.ConnectionClosed):
                break
            if error:
                assert wire.error_name(error) == "UNKNOWN_SERVER_ERROR", wire.error_name(error)
                break
            created.append(number)
        else:
            raise AssertionError("100,000 partitions on a full backing store: the fault did not bite")
    # Without a word from anybody else.
    assert broker.process.wait(timeout=30) == 1
    said = broker.log_text()
    assert "the metadata log failed: " in said and str(failing_disk.path / "data" / "meta") in said, said
    assert said.rstrip().splitlines()[-1].startswith("buslane: ") and "start the server again" in said, said
    failing_disk.heal()
    broker.start()
    with broker.connect(timeout=30) as connection:
        names = {name for name, found in wire.metadata(connection, None).items() if found.error == 0}
        assert {f"{topic}-{number}" for number in created} <= names
        # It recovers first.
        await_until(lambda: wire.list_offset(connection, topic, 0, wire.LATEST).error == 0, "it is served")
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 1
    broker.kill()  # as above


def wire_alive(broker) -> bool:
    """The process answers, whatever its disk does."""
    return broker.process.poll() is None and broker.answers()


def values_up_to(broker, topic: str, count: int) -> list[bytes]:
    try:
        return [value for _, value in stored(broker, topic, 0)][:count]
    except AssertionError:
        return []
