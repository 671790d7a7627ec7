"""What is lost, or cannot be served, is told: in the log by partition, in /metrics as numbers to watch."""

import os
import subprocess

import pytest

from harness import wire
from harness.broker import await_until
from harness.offline import DataFolder
from harness.wire import Batch

BATCHES = 4


@pytest.fixture
def broker(new_broker):
    broker = new_broker(http=True)
    yield broker
    assert "panicked" not in broker.log_text()
    broker.kill()


def produce(broker, topic: str, partition: int = 0) -> int:
    with broker.connect() as connection:
        result = wire.produce(connection, {(topic, partition): Batch(values=[b"acknowledged"]).encode()})[topic, partition]
    assert result.name == "NONE"
    return result.base_offset


def served(broker, topic: str, partition: int = 0) -> bool:
    with broker.connect() as connection:
        return wire.list_offset(connection, topic, partition, wire.LATEST).error == 0


def has_line(broker, name: str, topic: str, partition: int = 0) -> bool:
    try:
        return bool(broker.metric(name, topic=topic, partition=partition))
    except AssertionError:
        return False


@pytest.fixture
def next_boot(broker, tmp_path):
    """From now on the broker finds that the machine was started again since: what a power cut leaves, files apart."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("01234567-89ab-cdef-0123-456789abcdef\n")
    kernels = "/proc/sys/kernel/random/boot_id"
    inside = ["unshare", "--mount", "sh", "-c", f'mount --bind {boot_id} {kernels} && exec "$@"', "sh"]
    tried = subprocess.run([*inside, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"NOT RUN: cannot mount over {kernels} here ({tried.stderr.strip()}); run as root on Linux (uid {os.getuid()})")
    command = broker.command
    return lambda: setattr(broker, "command", lambda: inside + command())


def test_a_recorded_loss_is_logged_counted_and_told_until_its_records_are_deleted(broker, next_boot, topic):
    broker.start()
    broker.create_topic(topic, 2)
    for _ in range(BATCHES):
        produce(broker, topic)
    assert broker.metric("buslane_losses_total") == 0
    assert not has_line(broker, "buslane_partition_losses", topic)
    broker.kill()
    next_boot()

    broker.start()
    await_until(lambda: served(broker, topic), "it is served again")
    assert broker.metric("buslane_losses_total") == 1
    assert broker.metric("buslane_partition_losses", topic=topic, partition=0) == 1
    assert not has_line(broker, "buslane_partition_losses", topic, 1)
    (told,) = [line for line in broker.log_text().splitlines() if "records may be lost" in line]
    assert "ERROR" in told and f"{topic}-0" in told and f"end_offset={BATCHES}" in told and "leader_epoch=" in told

    # Known to the next process too, which did not record it.
    assert produce(broker, topic) == BATCHES
    broker.stop()
    broker.start()
    await_until(lambda: served(broker, topic), "it is served again")
    assert broker.metric("buslane_losses_total") == 0
    assert broker.metric("buslane_partition_losses", topic=topic, partition=0) == 1

    with broker.connect() as connection:
        assert wire.delete_records(connection, topic, 0, BATCHES + 1) == (0, BATCHES + 1)
    assert not has_line(broker, "buslane_partition_losses", topic)


def test_a_partition_that_is_offline_has_a_line_of_its_own(broker, topic):
    broker.start()
    broker.create_topic(topic, 2)
    for partition in (0, 1):
        produce(broker, topic, partition)
    assert broker.metric("buslane_partitions") == 2 and broker.metric("buslane_partitions_offline") == 0
    broker.kill()
    (log,) = DataFolder(broker.data).files("log")
    log.rename(log.with_suffix(".away"))

    broker.start()
    await_until(lambda: broker.metric("buslane_partitions_offline") == 1, "it is seen to be offline")
    await_until(lambda: broker.metric("buslane_partitions_recovering") == 0, "the other one is recovered")
    assert broker.metric("buslane_partition_offline", topic=topic, partition=0) == 1
    assert not has_line(broker, "buslane_partition_offline", topic, 1)
    assert broker.metric("buslane_partitions") == 2
    (told,) = [line for line in broker.log_text().splitlines() if "partition is offline" in line]
    assert f"{topic}-0" in told and log.name in told
    broker.stop()

    log.with_suffix(".away").rename(log)
    broker.start()
    await_until(lambda: served(broker, topic), "it is served again")
    assert broker.metric("buslane_partitions_offline") == 0
    assert not has_line(broker, "buslane_partition_offline", topic)


def test_a_partition_whose_file_cannot_be_opened_comes_back_by_itself_when_it_can(broker, topic):
    broker.start()
    broker.create_topic(topic)
    produce(broker, topic)
    broker.kill()
    (log,) = DataFolder(broker.data).files("log")
    log.rename(log.with_suffix(".away"))
    # Something else in its place: no file that is gone, and none that is damaged.
    log.mkdir()

    broker.start()
    await_until(lambda: broker.metric("buslane_partitions_offline") == 1, "it is seen to be offline")
    with broker.connect() as connection:
        refused = wire.produce(connection, {(topic, 0): Batch().encode()})[topic, 0]
        assert refused.name == "KAFKA_STORAGE_ERROR"
    assert log.name in broker.log_text() and "it is tried again" in broker.log_text()

    log.rmdir()
    log.with_suffix(".away").rename(log)
    await_until(lambda: served(broker, topic), "it is served again", 60)
    assert broker.metric("buslane_partitions_offline") == 0
    assert produce(broker, topic) == 1
    with broker.connect() as connection:
        assert wire.fetch(connection, {(topic, 0): 0}).partitions[topic, 0].batches[0].values == [b"acknowledged"]
    broker.stop()
