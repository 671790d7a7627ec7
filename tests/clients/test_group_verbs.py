"""`buslane group`: what it shows and moves is what the broker's own clients see; what goes wrong is said."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from harness.broker import await_until, buslane_binary

PARTITIONS = 2
EACH = 10


@pytest.fixture
def verb(broker):
    """verb("list", ...): its exit code and what it prints."""

    def verb(*arguments: str, stdin: str = "", bootstrap: str = broker.bootstrap) -> SimpleNamespace:
        environment = {**os.environ, "BUSLANE_BOOTSTRAP": bootstrap}
        done = subprocess.run([buslane_binary(), "group", *arguments], input=stdin, capture_output=True, text=True, timeout=60, env=environment)
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr, rows=[line.split() for line in done.stdout.splitlines()])

    return verb


@pytest.fixture
def group(broker, topic) -> str:
    """A group that has read 4 records of partition 0 and all of partition 1, and has no members."""
    # The records are old.
    broker.create_topic(topic, PARTITIONS, retention_ms=-1)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for partition in range(PARTITIONS):
        for n in range(EACH):
            producer.produce(topic, str(n), partition=partition, timestamp=1_700_000_000_000 + n * 60_000)
    assert producer.flush(30) == 0
    name = f"group-of-{topic}"
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name})
    offsets = [TopicPartition(topic, 0, 4), TopicPartition(topic, 1, EACH)]
    await_until(lambda: consumer.commit(offsets=offsets, asynchronous=False), "it commits")
    consumer.close()
    return name


def committed(broker, group: str, topic: str) -> list[int]:
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in range(PARTITIONS)])
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    (future,) = admin.list_consumer_group_offsets([asked]).values()
    return [one.offset for one in future.result(10).topic_partitions]


@pytest.fixture
def member(broker, topic, group):
    """A consumer that is in the group."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "enable.auto.commit": False, "client.id": "reader"})
    consumer.subscribe([topic])
    await_until(lambda: consumer.poll(0.1) or len(consumer.assignment()) == PARTITIONS, "it has its partitions")
    yield consumer
    consumer.close()


def test_groups_are_listed_and_filtered(verb, group):
    listed = {row[0]: row[1:4] for row in verb("list").rows}
    assert listed[group] == ["Empty", "classic", "0"]
    assert group in verb("list", "--state", "empty,stable", "--type", "classic").out
    assert group not in verb("list", "--state", "stable").out
    (line,) = [json.loads(line) for line in verb("list", "--json").out.splitlines() if group in line]
    assert (line["group"], line["state"], line["members"]) == (group, "Empty", 0)
    wrong = verb("list", "--state", "sleeping")
    assert wrong.code == 2 and "PreparingRebalance" in wrong.err


def test_a_group_is_described_with_its_lag_and_its_members(verb, group, topic, member):
    told = verb("describe", group)
    assert told.code == 0, told.err
    rows = {(row[0], row[1]): row[2:7] for row in told.rows if row and row[0] == topic}
    assert rows == {(topic, "0"): ["4", "0", "10", "6", "reader"], (topic, "1"): ["10", "0", "10", "0", "reader"]}
    assert "total lag 6" in told.out and "Stable" in told.out
    told = json.loads(verb("describe", group, "--json").out)
    assert (told["state"], told["total_lag"], len(told["members"])) == ("Stable", 6, 1)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (["--to-earliest"], [0, 0]),
        (["--to-latest"], [10, 10]),
        (["--to-offset", "7"], [7, 7]),
        (["--shift-by", "-3"], [1, 7]),
        (["--shift-by", "100"], [10, 10]),
        (["--to-datetime", "1700000120000"], [2, 2]),
        (["--to-datetime", "2023-11-14T22:15:20Z"], [2, 2]),
        (["--by-duration", "PT1H"], [10, 10]),
        (["--to-current"], [4, 10]),
    ],
    ids=lambda value: "-".join(map(str, value)),
)
def test_offsets_are_moved_when_told_to_and_only_shown_else(broker, verb, group, topic, how, expected):
    for execute in ([], ["--execute"]):
        told = verb("reset", group, "--topic", topic, *how, *execute)
        assert told.code == 0, told.err
        assert [int(row[4]) for row in told.rows if row[0] == topic] == expected
        assert committed(broker, group, topic) == (expected if execute else [4, 10])
        assert ("nothing was changed" in told.err) == (not execute)


def test_offsets_are_saved_to_a_file_and_brought_back(broker, verb, group, topic, tmp_path):
    saved = verb("reset", group, "--all-topics", "--to-current", "--export").out
    assert saved.splitlines() == [f"{topic},0,4", f"{topic},1,10"]
    file = tmp_path / "offsets.csv"
    file.write_text(saved)
    assert verb("reset", group, "--topic", f"{topic}:1", "--to-earliest", "--execute").code == 0
    assert committed(broker, group, topic) == [4, 0]
    assert verb("reset", group, "--from-file", str(file), "--execute").code == 0
    assert committed(broker, group, topic) == [4, 10]
    assert verb("reset", group, "--from-file", "-", "--execute", stdin=f"{topic},0,1\n").code == 0
    assert committed(broker, group, topic) == [1, 10]
    for wrong, word in [(f"{topic},0\n", "-:1:"), (f"{topic},0,1\n{topic},zero,1\n", "-:2:")]:
        told = verb("reset", group, "--from-file", "-", "--execute", stdin=wrong)
        assert told.code == 2 and word in told.err, told.err
    assert committed(broker, group, topic) == [1, 10]


def test_a_group_with_members_is_left_alone(broker, verb, group, topic, member):
    for arguments in (["reset", group, "--all-topics", "--to-earliest", "--execute"], ["delete", group]):
        told = verb(*arguments)
        assert told.code == 1 and "reader" in told.err and "stop them first" in told.err, told.err
    assert committed(broker, group, topic) == [4, 10]


def test_a_group_is_deleted_with_its_offsets(verb, group):
    assert verb("delete", group).code == 0
    gone = verb("describe", group)
    assert gone.code == 4 and group in gone.err and "group list" in gone.err
    again = verb("delete", group)
    assert again.code == 4 and group in again.err


def test_what_cannot_be_is_said(verb, group, topic):
    for arguments, code, word in [
        (["reset", group, "--to-earliest"], 2, "--all-topics"),
        (["reset", group, "--topic", topic], 2, "--to-earliest"),
        (["reset", group, "--topic", f"{topic}:9", "--to-earliest"], 4, "no partition 9"),
        (["reset", group, "--topic", "no-such-topic", "--to-earliest"], 4, "no-such-topic"),
        (["reset", "nobody", "--all-topics", "--to-earliest"], 4, "nobody"),
        (["reset", group, "--all-topics", "--to-datetime", "yesterday"], 2, "yesterday"),
    ]:
        told = verb(*arguments)
        assert told.code == code and word in told.err, (arguments, told)
    nobody = verb("list", bootstrap="127.0.0.1:1")
    assert nobody.code == 3 and "127.0.0.1:1" in nobody.err, nobody
