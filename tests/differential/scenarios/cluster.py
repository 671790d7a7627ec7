"""What tools and dashboards ask about the cluster."""

import time

from harness.groups import coordinator_is_ready

from ..script import Script, scenario
from .records import producer, sequenced


@scenario()
def what_is_served(script: Script) -> None:
    """Every request that clients send, with its versions; and the features that clients look at."""
    for version in script.versions("ApiVersions"):
        answer = script.quietly("ApiVersions", version, clientSoftwareName="raw", clientSoftwareVersion="1")
        rows = {str(row["apiKey"]): f"{row['minVersion']} to {row['maxVersion']}" for row in answer["apiKeys"]}
        script.tell(f"requests in version {version}", rows)
        for kind in ("supportedFeatures", "finalizedFeatures"):
            rows = [row for row in answer.get(kind, []) if row["name"] == "group.version"]
            script.tell(f"{kind} in version {version}", {"errorCode": answer["errorCode"], "features": rows})


@scenario()
def client_names_that_are_wrong(script: Script) -> None:
    for name, version in (("", "1"), ("a b", "1"), ("-a", "1"), ("a", ""), ("a", "1/2"), ("a.b", "1-2"), ("a" * 300, "1")):
        script.ask("ApiVersions", 3, clientSoftwareName=name, clientSoftwareVersion=version, keep=lambda answer: answer["errorCode"])


@scenario()
def the_cluster_described(script: Script) -> None:
    for version in script.versions("DescribeCluster"):
        for operations in (False, True):
            for kind in (1, 2, 0, 3):
                script.ask("DescribeCluster", version, includeClusterAuthorizedOperations=operations, endpointType=kind)


@scenario()
def metadata_in_every_version(script: Script) -> None:
    topic = script.topic("t", 2)
    missing = script.unique("missing")
    coordinator_is_ready(script.broker, "g")
    for version in script.versions("Metadata"):
        for operations in (False, True):
            flags = {"includeClusterAuthorizedOperations": operations, "includeTopicAuthorizedOperations": operations}
            known = {"allowAutoTopicCreation": False}
            script.ask("Metadata", version, topics=[{"name": topic}], **known, **flags)
            if version >= 4:
                script.ask("Metadata", version, topics=[{"name": missing}, {"name": topic}, {"name": topic}], **known, **flags)
                script.ask("Metadata", version, topics=[{"name": ""}], **known, **flags)
        script.ask("Metadata", version, topics=[] if version else [{"name": topic}], allowAutoTopicCreation=False)
    script.ask(
        "Metadata",
        topics=None,
        keep=lambda answer: [
            row for row in answer["topics"] if script.mine(row["name"]) or row["name"] == "__consumer_offsets" and not row.pop("partitions")
        ],
    )


@scenario(*range(10, 14))
def metadata_by_id(script: Script, version: int) -> None:
    topic = script.topic("t", 2)
    topic_id = script.topic_id(topic)
    for row in (
        {"topicId": topic_id, "name": None},
        {"topicId": topic_id, "name": topic},
        {"topicId": topic_id, "name": script.unique("missing")},
        {"topicId": b"unknown-unknown!", "name": None},
        {"topicId": bytes(16), "name": None},
    ):
        script.ask("Metadata", version, topics=[row], allowAutoTopicCreation=False)


@scenario()
def folders_described(script: Script) -> None:
    topic = script.topic("t", 2, retention_ms=-1)
    script.produce(topic, [b"a"], timestamps=[1000])

    def shape(answer: dict) -> dict:
        told = {**answer, "results": []}
        for folder in answer["results"]:
            topics = [row for row in folder["topics"] if script.mine(row["name"])]
            rows = {key: value for key, value in folder.items() if key not in ("totalBytes", "usableBytes")}
            sizes = {key: folder[key] > 0 for key in ("totalBytes", "usableBytes") if key in folder}
            told["results"].append({**rows, "topics": topics, "sizes": sizes})
        return told

    for version in script.versions("DescribeLogDirs"):
        script.ask("DescribeLogDirs", version, topics=None, keep=shape)
        script.ask("DescribeLogDirs", version, topics=[{"topic": topic, "partitions": [0, 7, -1]}], keep=shape)
        script.ask("DescribeLogDirs", version, topics=[{"topic": script.unique("missing"), "partitions": [0]}], keep=shape)
        script.ask("DescribeLogDirs", version, topics=[{"topic": topic, "partitions": []}], keep=shape)
        script.ask("DescribeLogDirs", version, topics=[], keep=shape)


@scenario()
def partitions_described_page_by_page(script: Script) -> None:
    one, two = script.topic("one", 3), script.topic("two", 4)
    missing = script.unique("missing")
    both = [{"name": one}, {"name": two}]

    def ask(topics: list, limit: int = 2000, cursor: tuple[str, int] | None = None) -> None:
        at = {"cursor": {"topicName": cursor[0], "partitionIndex": cursor[1]}} if cursor else {"cursor": None}
        script.ask("DescribeTopicPartitions", topics=topics, responsePartitionLimit=limit, **at)

    for limit in (2000, 1, 2, 3, 4, 7, 8, 0, -1, 2_147_483_647):
        ask(both, limit)
    for cursor in ((one, 0), (one, 1), (one, 3), (one, 9), (two, 0), (two, 2), (missing, 0), ("", 0), ("~", 0), (one, -1)):
        ask(both, 2000, cursor)
        ask(both, 2, cursor)
    ask([{"name": missing}, {"name": one}])
    ask([{"name": ""}])
    ask([{"name": "a/b"}])
    ask([{"name": one}, {"name": one}])


@scenario()
def leaders_elected(script: Script) -> None:
    topic = script.topic("t", 2)
    missing = script.unique("missing")
    for version in script.versions("ElectLeaders"):
        for kind in (0, 1, 2, -1) if version else (0,):
            for rows in (
                [{"topic": topic, "partitions": [0, 7, -1]}, {"topic": missing, "partitions": [0]}],
                [{"topic": "", "partitions": [0]}],
                [],
            ):
                script.ask("ElectLeaders", version, electionType=kind, topicPartitions=rows, timeoutMs=5000)
            script.ask("ElectLeaders", version, electionType=kind, topicPartitions=[{"topic": topic, "partitions": [0, 0]}], timeoutMs=5000)
        script.ask("ElectLeaders", version, electionType=0, topicPartitions=None, timeoutMs=5000)


@scenario()
def resources_with_settings_listed(script: Script) -> None:
    topic = script.topic("t")

    def mine(answer: dict) -> dict:
        rows = [row for row in answer["configResources"] if row.get("resourceType") != 2 or row["resourceName"] == topic]
        return {**answer, "configResources": rows}

    for version in script.versions("ListConfigResources"):
        for kinds in ([], [2], [4], [8], [16], [32], [2, 4], [2, 2], [0], [1], [3], [99], [-1], [2, 99]) if version else ([],):
            script.ask("ListConfigResources", version, resourceTypes=kinds, keep=mine)


@scenario()
def the_quorum_described(script: Script) -> None:
    def stable(answer: dict) -> dict:
        """Without what moves on by itself, and without addresses of controllers."""

        def part(row: dict) -> dict:
            moving = ("leaderEpoch", "highWatermark", "logEndOffset", "lastFetchTimestamp", "lastCaughtUpTimestamp")
            return {key: value for key, value in row.items() if key not in moving}

        topics = []
        for topic in answer["topics"]:
            rows = [{**part(row), "currentVoters": [part(one) for one in row["currentVoters"]]} for row in topic["partitions"]]
            topics.append({**topic, "partitions": rows})
        return {**answer, "topics": topics, "nodes": [node["nodeId"] for node in answer.get("nodes", [])]}

    for version in script.versions("DescribeQuorum"):
        for name, index in (("__cluster_metadata", 0), ("__cluster_metadata", 1), ("other", 0), ("", 0)):
            topics = [{"topicName": name, "partitions": [{"partitionIndex": index}]}]
            script.ask("DescribeQuorum", version, topics=topics, keep=stable)
        script.ask("DescribeQuorum", version, topics=[], keep=stable)


@scenario()
def producers_described(script: Script) -> None:
    topic = script.topic("t", 2, retention_ms=-1)
    who, now = producer(script), int(time.time() * 1000)
    sequenced(script, topic, who, 0, b"a", b"b", at_ms=now)
    script.produce(topic, [b"of nobody"])
    for version in script.versions("DescribeProducers"):
        for name, indexes in ((topic, [0, 1]), (topic, [7, -1]), (script.unique("missing"), [0]), ("", [0]), ("a/b", [0]), (topic, [])):
            script.ask("DescribeProducers", version, topics=[{"name": name, "partitionIndexes": indexes}])
        script.ask("DescribeProducers", version, topics=[])


CLIENT, USER, ADDRESS = "client-id", "user", "ip"


@scenario()
def quotas_set_and_described(script: Script) -> None:
    """Of a client id that belongs to this scenario."""
    name = script.unique("client")

    def alter(entity: list[tuple[str, str | None]], *ops: tuple[str, float, bool], validate_only: bool = False) -> None:
        parts = [{"entityType": kind, "entityName": one} for kind, one in entity]
        changes = [{"key": key, "value": value, "remove": remove} for key, value, remove in ops]
        script.ask("AlterClientQuotas", entries=[{"entity": parts, "ops": changes}], validateOnly=validate_only)
        script.barrier()

    def describe(*parts: tuple[str, int, str | None], strict: bool = False) -> None:
        rows = [{"entityType": kind, "matchType": how, "match": match} for kind, how, match in parts]
        script.ask("DescribeClientQuotas", components=rows, strict=strict)

    mine = [(CLIENT, name)]
    alter(mine, ("producer_byte_rate", 1e9, False), validate_only=True)
    describe((CLIENT, 0, name))
    alter(mine, ("producer_byte_rate", 1e9, False), ("consumer_byte_rate", 2e9, False))
    describe((CLIENT, 0, name))
    describe((CLIENT, 0, name), strict=True)
    alter(mine, ("producer_byte_rate", 0.0, True), ("request_percentage", 0.0, True))
    describe((CLIENT, 0, name))
    for key, value in (("no_such_key", 1.0), ("producer_byte_rate", 0.0), ("producer_byte_rate", -1.0), ("producer_byte_rate", 1.5)):
        alter(mine, (key, value, False), validate_only=True)
    alter([("nothing", name)], ("producer_byte_rate", 1e9, False), validate_only=True)
    alter([], ("producer_byte_rate", 1e9, False), validate_only=True)
    alter([(CLIENT, "")], ("producer_byte_rate", 1e9, False), validate_only=True)
    alter([(CLIENT, name), (CLIENT, name)], ("producer_byte_rate", 1e9, False), validate_only=True)
    alter([(ADDRESS, "not-an-address")], ("connection_creation_rate", 1e9, False), validate_only=True)
    alter([(ADDRESS, "127.0.0.1")], ("producer_byte_rate", 1e9, False), validate_only=True)
    alter([(CLIENT, name), (ADDRESS, "127.0.0.1")], ("producer_byte_rate", 1e9, False), validate_only=True)
    alter(mine, ("producer_byte_rate", 1e9, False), ("producer_byte_rate", 2e9, False), validate_only=True)
    describe((CLIENT, 0, script.unique("missing")))
    describe((CLIENT, 0, None))
    describe((CLIENT, 3, name))
    describe((CLIENT, -1, name))
    describe(("nothing", 0, name))
    describe((CLIENT, 0, name), (CLIENT, 0, name))
    describe((CLIENT, 0, name), (ADDRESS, 0, "127.0.0.1"))
    describe((CLIENT, 1, name))
    alter(mine, ("consumer_byte_rate", 0.0, True))
    describe((CLIENT, 0, name))
