"""Settings: read, set at the creation of a topic, altered; each way wrong."""

from harness.document import TOPIC_FIXED, TOPIC_HONOURED, table
from harness.wire import Batch

from ..script import Script, scenario
from .topics import create, creation

TOPIC, BROKER, LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)

# The settings of topics that Buslane has from Kafka.
KEYS = [row["setting"] for heading in (TOPIC_HONOURED, TOPIC_FIXED) for row in table(heading) if not row["setting"].startswith("buslane.")]
# Values that some settings take and others do not.
VALUES = ["", " ", "x", "0", "-1", "-2", "1", " 7 ", "1.5", "1e3", "true", "FALSE", "9223372036854775807", "9223372036854775808"]
VALUES += ["2147483647", "2147483648", "-9223372036854775809", "0x10", "1_000", "é", "compact", "delete,compact", "gzip", "LogAppendTime"]


def alter(script: Script, kind: int, name: str, *changes: tuple, version: int | None = None, validate_only: bool = False) -> dict:
    """IncrementalAlterConfigs: changes are (key, operation, value)."""
    rows = [{"name": key, "configOperation": operation, "value": value} for key, operation, value in changes]
    resources = [{"resourceType": kind, "resourceName": name, "configs": rows}]
    answer = script.ask("IncrementalAlterConfigs", version, resources=resources, validateOnly=validate_only)
    if not validate_only and any(one["errorCode"] == 0 for one in answer["responses"]):
        script.barrier()
    return answer


def replace(script: Script, kind: int, name: str, values: dict, version: int | None = None, validate_only: bool = False) -> dict:
    """AlterConfigs."""
    rows = [{"name": key, "value": value} for key, value in values.items()]
    resources = [{"resourceType": kind, "resourceName": name, "configs": rows}]
    answer = script.ask("AlterConfigs", version, resources=resources, validateOnly=validate_only)
    if not validate_only and any(one["errorCode"] == 0 for one in answer["responses"]):
        script.barrier()
    return answer


def read(script: Script, kind: int, name: str, keys: list | None, version: int | None = None, synonyms: bool = True, **options) -> dict:
    resources = [{"resourceType": kind, "resourceName": name, "configurationKeys": keys}]
    return script.ask("DescribeConfigs", version, resources=resources, includeSynonyms=synonyms, **options)


@scenario(*KEYS)
def each_topic_setting(script: Script, key: str) -> None:
    """What Kafka refuses is refused, and as Kafka refuses it; what it takes is taken where the setting has more than one value."""
    name = script.topic()
    for value in VALUES:
        row = creation(script.unique("new"))
        row["configs"] = [{"name": key, "value": value}]
        answer = script.quietly("CreateTopics", 7, topics=[row], timeoutMs=15_000, validateOnly=True)
        created = answer["topics"][0]["errorCode"]
        script.tell(f"created with {key}={value!r}", {"errorCode": created})
        resources = [{"resourceType": TOPIC, "resourceName": name, "configs": [{"name": key, "configOperation": SET, "value": value}]}]
        answer = script.quietly("IncrementalAlterConfigs", 1, resources=resources, validateOnly=True)
        script.tell(f"altered to {key}={value!r}", {"errorCode": answer["responses"][0]["errorCode"]})


@scenario()
def settings_of_a_topic_as_they_are(script: Script) -> None:
    """Names, kinds, defaults and where values are from; of each setting that both have."""
    name = script.topic("t", 1, retention_ms=1000, max_message_bytes=2000)

    def shared(answer: dict) -> list:
        rows = answer["results"][0]["configs"]
        # Texts are compared as being there or not, and what Kafka calls the broker's setting is only known to Kafka.
        return [
            {key: value for key, value in row.items() if key not in ("synonyms", "documentation")} for row in rows if row["name"] in KEYS
        ]

    for version in script.versions("DescribeConfigs"):
        resources = [{"resourceType": TOPIC, "resourceName": name, "configurationKeys": None}]
        script.ask("DescribeConfigs", version, resources=resources, keep=shared)


@scenario()
def settings_of_one_side_only(script: Script) -> None:
    name = script.topic()
    answer = script.quietly("DescribeConfigs", resources=[{"resourceType": TOPIC, "resourceName": name, "configurationKeys": None}])
    script.tell("settings of a topic", [{"name": row["name"]} for row in answer["results"][0]["configs"]])


@scenario()
def synonyms_of_a_setting(script: Script) -> None:
    name = script.topic("t", 1, retention_ms=1000, max_message_bytes=2000)
    for key in ("retention.ms", "max.message.bytes", "min.insync.replicas", "message.timestamp.type", "cleanup.policy"):
        read(script, TOPIC, name, [key], 4)
        read(script, TOPIC, name, [key], 1, synonyms=False)


@scenario()
def what_is_described_wrongly(script: Script) -> None:
    name = script.topic()
    for version in script.versions("DescribeConfigs"):
        for kind, resource, keys in (
            (TOPIC, script.unique("missing"), None),
            (TOPIC, "", None),
            (TOPIC, "a/b", None),
            (TOPIC, "n" * 250, None),
            (TOPIC, name, ["no.such.key"]),
            (TOPIC, name, ["retention.ms", "retention.ms"]),
            (BROKER, "7", None),
            (BROKER, "x", None),
            (BROKER, "-1", None),
            (BROKER, "", ["no.such.key"]),
            (LOGGER, "7", None),
            (LOGGER, "x", None),
            (LOGGER, "", None),
            (0, "x", None),
            (1, "x", None),
            (3, "x", None),
            (99, "x", None),
            (-1, "x", None),
        ):
            read(script, kind, resource, keys, version)
        script.ask("DescribeConfigs", version, resources=[])
    twice = {"resourceType": TOPIC, "resourceName": name, "configurationKeys": ["retention.ms"]}
    script.ask("DescribeConfigs", resources=[twice, twice])


@scenario()
def no_keys_are_all_keys(script: Script) -> None:
    def told(answer: dict) -> list:
        return [{"name": row["name"]} for row in answer["results"][0]["configs"]]

    name = script.topic()
    for version in script.versions("DescribeConfigs"):
        resources = [{"resourceType": TOPIC, "resourceName": name, "configurationKeys": []}]
        script.ask("DescribeConfigs", version, resources=resources, keep=told)


@scenario("", "g")
def settings_of_other_things(script: Script, name: str) -> None:
    """Of client metrics and of groups, which Buslane does not have."""
    for kind in (CLIENT_METRICS, GROUP):
        read(script, kind, name, ["no.such.key"])


RESOURCES = {
    "missing-topic": (TOPIC, "missing-topic-of-configs"),
    "topic-empty": (TOPIC, ""),
    "topic-bad": (TOPIC, "a/b"),
    "broker-7": (BROKER, "7"),
    "broker-x": (BROKER, "x"),
    "broker-negative": (BROKER, "-1"),
    "logger-7": (LOGGER, "7"),
    "logger-x": (LOGGER, "x"),
    "kind-0": (0, "x"),
    "kind-1": (1, "x"),
    "kind-3": (3, "x"),
    "kind-99": (99, "x"),
    "kind-negative": (-1, "x"),
}


@scenario(*RESOURCES.items())
def a_resource_that_is_altered_wrongly(script: Script, case: tuple[str, tuple[int, str]]) -> None:
    kind, name = case[1]
    for validate_only in (True, False):
        for version in script.versions("IncrementalAlterConfigs"):
            alter(script, kind, name, ("retention.ms", SET, "1000"), version=version, validate_only=validate_only)
            alter(script, kind, name, ("no.such.key", SET, "1"), version=version, validate_only=validate_only)
            alter(script, kind, name, version=version, validate_only=validate_only)
        for version in script.versions("AlterConfigs"):
            replace(script, kind, name, {"retention.ms": "1000"}, version, validate_only)
            replace(script, kind, name, {}, version, validate_only)


CHANGES = {
    "set": [("retention.ms", SET, "1000")],
    "set-null": [("retention.ms", SET, None)],
    "set-empty": [("retention.ms", SET, "")],
    "delete-set": [("segment.bytes", DELETE, None)],
    "delete-unset": [("retention.bytes", DELETE, None)],
    "delete-with-value": [("segment.bytes", DELETE, "7")],
    "append": [("retention.ms", APPEND, "1")],
    "subtract": [("retention.ms", SUBTRACT, "1")],
    "append-null": [("cleanup.policy", APPEND, None)],
    "subtract-null": [("cleanup.policy", SUBTRACT, None)],
    "append-there": [("cleanup.policy", APPEND, "delete")],
    "append-wrong": [("cleanup.policy", APPEND, "nothing")],
    "subtract-missing": [("cleanup.policy", SUBTRACT, "compact")],
    "subtract-all": [("cleanup.policy", SUBTRACT, "delete")],
    "append-throttled": [("leader.replication.throttled.replicas", APPEND, "")],
    "append-throttled-wrong": [("leader.replication.throttled.replicas", APPEND, "x")],
    "operation-4": [("retention.ms", 4, "1")],
    "operation-negative": [("retention.ms", -1, "1")],
    "unknown": [("no.such.key", SET, "1")],
    "unknown-deleted": [("no.such.key", DELETE, None)],
    "unknown-appended": [("no.such.key", APPEND, "1")],
    "empty-name": [("", SET, "1")],
    "empty-name-deleted": [("", DELETE, None)],
    "twice": [("retention.ms", SET, "1"), ("retention.ms", SET, "2")],
    "twice-otherwise": [("retention.ms", SET, "1"), ("retention.ms", DELETE, None)],
    "good-and-bad": [("retention.ms", SET, "5"), ("segment.ms", SET, "x")],
    "nothing": [],
    "too-little": [("segment.bytes", SET, "1")],
    "beside-each-other": [("segment.bytes", SET, "2000"), ("max.message.bytes", SET, "900")],
    "lag-above-max": [("min.compaction.lag.ms", SET, "100"), ("max.compaction.lag.ms", SET, "10")],
    "spaces": [("retention.ms", SET, " 123 ")],
    "copies": [("min.insync.replicas", SET, "2")],
    "broker-key": [("log.retention.ms", SET, "1000")],
    "case": [("Retention.Ms", SET, "1000")],
}


@scenario(*CHANGES.items())
def a_change_of_settings(script: Script, case: tuple[str, list]) -> None:
    name = script.topic("t", 1, segment_bytes=2_000_000)
    keys = sorted({key for key, *_ in case[1] if key} | {"retention.ms", "segment.bytes"})
    for validate_only in (True, False):
        alter(script, TOPIC, name, *case[1], validate_only=validate_only)
        read(script, TOPIC, name, keys, synonyms=False)


@scenario()
def all_settings_replaced(script: Script) -> None:
    name = script.topic("t", 1, segment_bytes=2_000_000, retention_ms=1000)
    keys = ["retention.ms", "segment.bytes", "segment.ms"]
    for values in (
        {"segment.ms": "9000"},
        {"segment.ms": None},
        {"segment.ms": "x"},
        {"no.such.key": "1"},
        {"segment.ms": "8000", "retention.ms": ""},
        {"": "1"},
        {},
    ):
        for version in script.versions("AlterConfigs"):
            replace(script, TOPIC, name, values, version, validate_only=True)
        replace(script, TOPIC, name, values)
        read(script, TOPIC, name, keys, synonyms=False)


@scenario()
def several_resources_in_one_change(script: Script) -> None:
    one, other = script.topic("one"), script.topic("other")

    def row(kind: int, name: str, key: str, value: str | None) -> dict:
        return {"resourceType": kind, "resourceName": name, "configs": [{"name": key, "configOperation": SET, "value": value}]}

    rows = [row(TOPIC, one, "retention.ms", "1"), row(TOPIC, script.unique("missing"), "retention.ms", "1"), row(TOPIC, other, "x", "1")]
    script.ask("IncrementalAlterConfigs", resources=rows)
    script.ask("IncrementalAlterConfigs", resources=[row(TOPIC, one, "retention.ms", "2"), row(TOPIC, one, "segment.ms", "2")])
    script.ask("IncrementalAlterConfigs", resources=[])
    plain = [
        {**one, "configs": [{key: value for key, value in config.items() if key != "configOperation"} for config in one["configs"]]}
        for one in rows
    ]
    script.ask("AlterConfigs", resources=plain)
    script.ask("AlterConfigs", resources=[])
    script.barrier()
    for name in (one, other):
        read(script, TOPIC, name, ["retention.ms", "segment.ms"], synonyms=False)


@scenario()
def copies_beyond_the_topics(script: Script) -> None:
    """min.insync.replicas above the number of copies."""
    row = creation(script.unique("t"))
    row["configs"] = [{"name": "min.insync.replicas", "value": "2"}]
    create(script, row)
    batch = {"name": script.unique("t"), "partitionData": [{"index": 0, "records": Batch(values=[b"v"], timestamp=1000).encode()}]}
    script.ask("Produce", 12, acks=-1, timeoutMs=500, topicData=[batch])
    script.ask("Produce", 12, acks=1, timeoutMs=500, topicData=[batch])
