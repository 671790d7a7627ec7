"""The command-line tools that come with Apache Kafka, as people have them in their scripts."""

import concurrent.futures
import json
import re
import subprocess

import pytest

from harness.broker import await_until
from harness.clients import ALL, EARLIEST
from harness.records import Record
from harness.tools import command, tool


@pytest.fixture
def at(broker):
    return ("--bootstrap-server", broker.bootstrap)


def table(text: str, *columns: str) -> set[tuple[str, ...]]:
    """The wanted columns of a table that a tool printed."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    head = next(n for n, line in enumerate(lines) if set(columns) <= set(line))
    places = [lines[head].index(column) for column in columns]
    return {tuple(line[place] for place in places) for line in lines[head + 1 :] if len(line) >= len(lines[head]) - 1}


def objects(text: str):
    """The JSON objects of formatted records, which follow each other without a break."""
    decoder, at = json.JSONDecoder(), text.find('{"key"')
    while at >= 0:
        found, end = decoder.raw_decode(text, at)
        yield found
        at = text.find('{"key"', end)


def test_topics(at, topic):
    tool("topics", *at, "--create", "--topic", topic, "--partitions", 3, "--config", "retention.ms=86400000")
    assert "TopicExistsException" in tool("topics", *at, "--create", "--topic", topic, fails=True)
    assert topic in tool("topics", *at, "--list").split()
    tool("topics", *at, "--alter", "--topic", topic, "--partitions", 5)
    described = tool("topics", *at, "--describe", "--topic", topic)
    assert "PartitionCount: 5" in described and "ReplicationFactor: 1" in described and "retention.ms=86400000" in described
    leaders = re.findall(r"Partition: (\d)\s+Leader: (\d+)\s+Replicas: (\d+)\s+Isr: (\d+)", described)
    assert [int(found[0]) for found in leaders] == list(range(5)) and all(len(set(found[1:])) == 1 for found in leaders)
    assert tool("topics", *at, "--describe", "--unavailable-partitions").strip() == ""
    tool("topics", *at, "--delete", "--topic", topic)
    await_until(lambda: topic not in tool("topics", *at, "--list").split(), "the topic is gone")


def test_configs(at, broker, topic):
    broker.create_topic(topic)
    entity = ("--entity-type", "topics", "--entity-name", topic)
    tool("configs", *at, *entity, "--alter", "--add-config", "retention.ms=1234567,max.message.bytes=65536")
    told = tool("configs", *at, *entity, "--describe")
    assert "retention.ms=1234567" in told and "max.message.bytes=65536" in told and "DYNAMIC_TOPIC_CONFIG" in told
    tool("configs", *at, *entity, "--alter", "--delete-config", "retention.ms")
    told = tool("configs", *at, *entity, "--describe")
    assert "retention.ms" not in told and "max.message.bytes=65536" in told
    assert "retention.ms=" in tool("configs", *at, *entity, "--describe", "--all")
    refused = tool("configs", *at, *entity, "--alter", "--add-config", "retention.ms=soon", fails=True)
    assert "InvalidConfigurationException" in refused and "retention.ms" in refused
    assert "num.partitions" in tool("configs", *at, "--entity-type", "brokers", "--entity-name", 1, "--describe", "--all")


def test_records_are_sent_measured_counted_and_deleted(at, broker, topic):
    broker.create_topic(topic, 2)
    sent = tool("producer-perf-test", *at, "--topic", topic, "--num-records", 5000, "--record-size", 100, "--throughput", -1)
    assert "5000 records sent" in sent
    told = tool("get-offsets", *at, "--topic", topic)
    ends = {int(p): int(end) for p, end in re.findall(rf"^{topic}:(\d):(\d+)$", told, re.M)}
    assert sum(ends.values()) == 5000 and set(ends) == {0, 1}
    read = tool("consumer-perf-test", *at, "--topic", topic, "--num-records", 5000, "--timeout", 30_000)
    assert read.splitlines()[-1].split(", ")[4] == "5000", read
    file = broker.root / "delete.json"
    file.write_text(json.dumps({"partitions": [{"topic": topic, "partition": 0, "offset": 10}], "version": 1}))
    assert f"partition: {topic}-0\tlow_watermark: 10" in tool("delete-records", *at, "--offset-json-file", file)
    assert f"{topic}:0:10" in tool("get-offsets", *at, "--topic", topic, "--time", "earliest").split()
    described = tool("log-dirs", *at, "--describe", "--topic-list", topic)
    folders = json.loads(described.splitlines()[-1])["brokers"][0]["logDirs"]
    sizes = {p["partition"]: p["size"] for p in folders[0]["partitions"]}
    assert set(sizes) == {f"{topic}-0", f"{topic}-1"} and all(size > 100_000 for size in sizes.values())


def test_console_clients(at, broker, topic):
    broker.create_topic(topic)
    tool("console-producer", *at, "--topic", topic, "--property", "parse.key=true", input="k1\tone\nk2\ttwo\n")
    read = tool("console-consumer", *at, "--topic", topic, "--from-beginning", "--max-messages", 2, "--property", "print.key=true")
    assert [line for line in read.splitlines() if "\t" in line] == ["k1\tone", "k2\ttwo"]


def test_verifiable_clients_agree(at, broker, topic):
    broker.create_topic(topic, 3)
    told = tool("verifiable-producer", *at, "--topic", topic, "--max-messages", 1000, "--acks", -1)
    assert sum(json.loads(line)["name"] == "producer_send_success" for line in told.splitlines() if line.startswith("{")) == 1000
    told = tool("verifiable-consumer", *at, "--topic", topic, "--group-id", topic, "--max-messages", 1000, "--reset-policy", "earliest")
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert sum(event["count"] for event in events if event["name"] == "records_consumed") == 1000
    commits = [event for event in events if event["name"] == "offsets_committed"]
    assert commits and all(event["success"] for event in commits)


def test_consumer_groups_are_listed_described_reset_and_deleted(at, broker, topic):
    group = f"group-of-{topic}"
    broker.create_topic(topic, 2)
    for partition in range(2):
        ALL["confluent"].produce(broker.bootstrap, topic, partition, [Record(None, b"v")] * 10)
    consumer = subprocess.Popen(
        command("console-consumer", *at, "--topic", topic, "--group", group, "--from-beginning"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert [consumer.stdout.readline().strip() for _ in range(20)] == ["v"] * 20

        def described() -> set[tuple[str, ...]]:
            told = tool("consumer-groups", *at, "--describe", "--group", group)
            return table(told, "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG")

        done = {(topic, "0", "10", "10", "0"), (topic, "1", "10", "10", "0")}
        await_until(lambda: described() == done, "all is committed", deadline_s=40)
        assert group in tool("consumer-groups", *at, "--list").split()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            state = pool.submit(tool, "consumer-groups", *at, "--describe", "--group", group, "--state")
            members = pool.submit(tool, "consumer-groups", *at, "--describe", "--group", group, "--members", "--verbose")
            busy = pool.submit(tool, "consumer-groups", *at, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
        assert "Stable" in state.result() and "console-consumer" in members.result() and f"{topic}:0,1" in members.result()
        assert "current state is Stable" in busy.result()
    finally:
        consumer.terminate()
        consumer.wait(30)
    tool("consumer-groups", *at, "--reset-offsets", "--group", group, "--topic", f"{topic}:1", "--shift-by", -4, "--execute")
    assert described() == {(topic, "0", "10", "10", "0"), (topic, "1", "6", "10", "4")}
    # Groups and their offsets as records, by the formatters that come with Kafka.
    offsets = "org.apache.kafka.tools.consumer.OffsetsMessageFormatter"
    internal = ("--topic", "__consumer_offsets", "--from-beginning", "--timeout-ms", 5000)
    told = tool("console-consumer", *at, *internal, "--formatter", offsets)
    committed = [record for record in objects(told) if record["key"]["data"]["group"] == group]
    assert {(r["key"]["data"]["partition"], r["value"]["data"]["offset"]) for r in committed if r["value"]} >= {(0, 10), (1, 10), (1, 6)}
    assert "was successful" in tool("consumer-groups", *at, "--delete", "--group", group)
    assert group not in tool("consumer-groups", *at, "--list").split()


def test_what_tools_ask_of_the_cluster(at, broker, topic):
    broker.create_topic(topic)
    ALL["java"].produce(broker.bootstrap, topic, 0, [Record(b"k", b"%d" % n) for n in range(3)], "none")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        versions = pool.submit(tool, "broker-api-versions", *at)
        quorum = pool.submit(tool, "metadata-quorum", *at, "describe", "--status")
        replication = pool.submit(tool, "metadata-quorum", *at, "describe", "--replication")
        cluster = pool.submit(tool, "cluster", "cluster-id", *at)
        producers = pool.submit(tool, "transactions", *at, "describe-producers", "--topic", topic, "--partition", 0)
        election = pool.submit(tool, "leader-election", *at, "--election-type", "preferred", "--topic", topic, "--partition", 0)
    assert "Produce(0): 0 to 13" in versions.result() and "ConsumerGroupHeartbeat(68): 0 to 1" in versions.result()
    assert re.search(r"LeaderId:\s+1\b", quorum.result()) and re.search(r"MaxFollowerLag:\s+0\b", quorum.result())
    assert "Leader" in replication.result()
    assert re.search(r"Cluster ID: \S+", cluster.result())
    columns = ("ProducerEpoch", "LastSequence", "CurrentTransactionStartOffset")
    assert table(producers.result(), *columns) == {("0", "2", "None")}
    assert "already" in election.result() or "not needed" in election.result().lower(), election.result()
    # Clients of the tools' own version read what was written by others.
    ALL["confluent"].produce(broker.bootstrap, topic, 0, [Record(b"k", b"v")])
    assert ALL["java"].consume(broker.bootstrap, topic, 0, EARLIEST, 4)[3].value == b"v"
