"""`buslane config` and `buslane topic alter`: what they show and change is what the broker's own clients see."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from harness import wire
from harness.broker import buslane_binary


@pytest.fixture
def verb(broker):
    """verb("config", "show", ...): its exit code and what it prints."""

    def verb(*arguments: str) -> SimpleNamespace:
        environment = {**os.environ, "BUSLANE_BOOTSTRAP": broker.bootstrap}
        done = subprocess.run([buslane_binary(), *arguments], capture_output=True, text=True, timeout=60, env=environment)
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr, rows=[line.split() for line in done.stdout.splitlines()])

    return verb


@pytest.fixture
def named(broker, topic) -> str:
    broker.create_topic(topic, 2)
    return topic


def setting(broker, topic: str, name: str) -> str:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    (future,) = admin.describe_configs([ConfigResource("topic", topic)]).values()
    return future.result(10)[name].value


def test_settings_are_set_shown_and_taken_back(broker, verb, named):
    nothing = verb("config", "show", "topic", named)
    assert nothing.code == 0 and "retention.ms" not in nothing.out
    done = verb("config", "set", "topic", named, "retention.ms=86400000", "max.message.bytes=2000")
    assert done.code == 0, done.err
    assert (setting(broker, named, "retention.ms"), setting(broker, named, "max.message.bytes")) == ("86400000", "2000")
    rows = {row[0]: row[1:3] for row in verb("config", "show", "topic", named).rows}
    assert rows["retention.ms"] == ["86400000", "topic"] and rows["max.message.bytes"] == ["2000", "topic"]
    (told,) = verb("config", "show", "topic", named, "retention.ms", "--json").out.splitlines()
    told = json.loads(told)
    assert (told["value"], told["from"]) == ("86400000", "topic")
    assert verb("config", "unset", "topic", named, "retention.ms").code == 0
    assert setting(broker, named, "retention.ms") == "604800000"
    everything = {row[0] for row in verb("config", "show", "topic", named, "--all").rows}
    assert {"retention.ms", "cleanup.policy", "max.message.bytes", "segment.bytes"} <= everything


def test_nothing_is_changed_by_a_dry_run_or_when_one_of_several_is_wrong(broker, verb, named):
    dry = verb("config", "set", "topic", named, "retention.ms=1000", "--dry-run")
    assert dry.code == 0 and "would be" in dry.out
    wrong = verb("config", "set", "topic", named, "max.message.bytes=2000", "retention.ms=soon")
    assert wrong.code == 1 and "retention.ms" in wrong.err and "INVALID_CONFIG" in wrong.err, wrong.err
    unknown = verb("config", "set", "topic", named, "no.such.setting=1")
    assert unknown.code == 1 and "no.such.setting" in unknown.err, unknown.err
    assert (setting(broker, named, "retention.ms"), setting(broker, named, "max.message.bytes")) == ("604800000", "1048588")


def test_what_is_not_there_is_said(verb, named):
    for arguments, code, word in [
        (["config", "show", "topic", "no-such-topic"], 4, "no-such-topic"),
        (["config", "show", "topic", named, "no.such.setting"], 4, "no.such.setting"),
        (["config", "show", "broker", "99"], 4, "99"),
        (["config", "show", "broker", "first"], 2, "node id"),
        (["config", "set", "topic", named, "retention.ms"], 2, "NAME=VALUE"),
        (["topic", "alter", named], 2, "--partitions"),
        (["topic", "alter", "no-such-topic", "--partitions", "3"], 4, "no-such-topic"),
        (["topic", "alter", named, "--partitions", "1"], 1, "2 partition"),
    ]:
        told = verb(*arguments)
        assert told.code == code and word in told.err, (arguments, told)


def test_a_topic_gets_more_partitions_and_other_settings(broker, verb, named):
    done = verb("topic", "alter", named, "--partitions", "5", "--config", "retention.ms=5000")
    assert done.code == 0, done.err
    with broker.connect() as connection:
        assert len(wire.metadata(connection, [named])[named].partitions) == 5
    assert setting(broker, named, "retention.ms") == "5000"
    # A setting that is refused keeps the partitions as they are.
    refused = verb("topic", "alter", named, "--partitions", "6", "--config", "retention.ms=soon")
    assert refused.code == 1 and "retention.ms" in refused.err
    with broker.connect() as connection:
        assert len(wire.metadata(connection, [named])[named].partitions) == 5
    assert verb("topic", "alter", named, "--delete-config", "retention.ms").code == 0
    assert setting(broker, named, "retention.ms") == "604800000"


def test_a_broker_tells_its_settings(broker, verb):
    (node,) = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=10).brokers
    rows = {row[0]: row[1:] for row in verb("config", "show", "broker", str(node), "--all").rows}
    assert rows["node.id"][0] == str(node)
    assert "log.retention.ms" in rows or "log.retention.hours" in rows
