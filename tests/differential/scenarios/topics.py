"""Topics created, widened and deleted, each way wrong."""

from harness.wire import Batch

from ..script import Script, scenario


def creation(name: str, partitions: int = 1, replicas: int = 1, assignments: dict[int, list[int]] | None = None, **config) -> dict:
    """A row of CreateTopics. `config` keys have underscores for dots."""
    return {
        "name": name,
        "numPartitions": partitions,
        "replicationFactor": replicas,
        "assignments": [{"partitionIndex": index, "brokerIds": nodes} for index, nodes in (assignments or {}).items()],
        "configs": [{"name": key.replace("_", "."), "value": value} for key, value in config.items()],
    }


def without_settings(answer: dict) -> dict:
    """Of CreateTopics' answer all but the settings of the topic, which configs.py compares."""
    return {**answer, "topics": [{key: value for key, value in topic.items() if key != "configs"} for topic in answer["topics"]]}


def without_ids(answer: dict) -> dict:
    """Nor the id of what is not created."""
    answer = without_settings(answer)
    return {**answer, "topics": [{key: value for key, value in topic.items() if key != "topicId"} for topic in answer["topics"]]}


def create(script: Script, *topics: dict, version: int | None = None, validate_only: bool = False, keep=None) -> dict:
    keep = keep or (without_ids if validate_only else without_settings)
    only = {"validateOnly": True} if validate_only else {}
    answer = script.ask("CreateTopics", version, topics=list(topics), timeoutMs=15_000, keep=keep, **only)
    for row in topics:
        if not validate_only and all(one["errorCode"] == 0 for one in answer["topics"] if one["name"] == row["name"]):
            script.await_topic(row["name"], len(row["assignments"]) or row["numPartitions"])
    return answer


def delete(script: Script, *topics: dict, version: int | None = None) -> dict:
    """DeleteTopics of rows {"name": NAME} or {"name": None, "topicId": ID}."""
    names = {"topicNames": [topic["name"] for topic in topics], "topics": list(topics)}
    if (script.latest("DeleteTopics") if version is None else version) >= 6:
        del names["topicNames"]
    else:
        del names["topics"]
    answer = script.ask("DeleteTopics", version, timeoutMs=15_000, **names)
    for one in answer["responses"]:
        if one["errorCode"] == 0:
            script.await_topic(one["name"], 0)
    return answer


def widen(script: Script, *topics: dict, version: int | None = None, validate_only: bool = False) -> dict:
    """CreatePartitions."""
    answer = script.ask("CreatePartitions", version, topics=list(topics), timeoutMs=15_000, validateOnly=validate_only)
    for one in answer["results"]:
        if one["errorCode"] == 0 and not validate_only:
            script.await_topic(one["name"], next(topic["count"] for topic in topics if topic["name"] == one["name"]))
    return answer


def is_there(script: Script, *names: str) -> None:
    """Puts what Metadata says of the names into the transcript."""
    topics = [{"name": name} for name in names]
    script.ask("Metadata", 12, topics=topics, allowAutoTopicCreation=False, keep=lambda answer: answer["topics"])


@scenario()
def a_topic_is_created_in_every_version(script: Script) -> None:
    for version in script.versions("CreateTopics"):
        create(script, creation(script.unique(f"v{version}"), 3), version=version)
        create(script, creation(script.unique(f"v{version}"), 3), version=version)
        create(script, creation(script.unique(f"only-{version}"), 2), version=version, validate_only=True)
        is_there(script, script.unique(f"v{version}"), script.unique(f"only-{version}"))


NAMES = {
    "empty": "",
    "dot": ".",
    "dots": "..",
    "longest": "n" * 249,
    "too-long": "n" * 250,
    "slash": "a/b",
    "space": "a b",
    "umlaut": "ä",
    "colon": "a:b",
    "newline": "a\nb",
    "zero": "a\0b",
    "star": "a*",
    "transactions": "__transaction_state",
    "metadata": "__cluster_metadata",
    "three-dots": "...",
    "underscore": "_",
    "capitals": "AbC",
}


@scenario(*NAMES.items())
def a_topic_of_a_special_name(script: Script, case: tuple[str, str]) -> None:
    name = case[1]
    create(script, creation(name), validate_only=True)
    if case[0] != "transactions":
        create(script, creation(name))
        is_there(script, name)
        delete(script, {"name": name}, version=5)
    widen(script, {"name": name, "count": 3}, validate_only=True)
    script.ask("Metadata", 12, topics=[{"name": name}], allowAutoTopicCreation=False)


@scenario()
def names_that_collide_in_metrics(script: Script) -> None:
    create(script, creation(script.unique("a.b")))
    create(script, creation(script.unique("a_b")))
    create(script, creation(script.unique("c_d.e")), creation(script.unique("c.d_e")), creation(script.unique("c.d.e")))
    create(script, creation(script.unique("A.b")))


@scenario()
def auto_creation_of_special_names(script: Script) -> None:
    for name in (".", "..", "", "n" * 250, "a/b", script.unique("a.b"), script.unique("a_b"), "__cluster_metadata"):
        script.ask("Metadata", 12, topics=[{"name": name}], allowAutoTopicCreation=True, keep=first_error)


def first_error(answer: dict) -> list:
    return [{"name": topic["name"], "errorCode": 0 if topic["errorCode"] == 5 else topic["errorCode"]} for topic in answer["topics"]]


@scenario(0, -1, -2, -100, 100_001, 2_147_483_647)
def a_number_of_partitions(script: Script, partitions: int) -> None:
    for version in (script.versions("CreateTopics")[0], 4, 7):
        create(script, creation(script.unique("t"), partitions), version=version, validate_only=True)


@scenario(0, -1, -2, 2, 3, 32_767, -32_768)
def a_number_of_copies(script: Script, replicas: int) -> None:
    for version in (script.versions("CreateTopics")[0], 4, 7):
        create(script, creation(script.unique("t"), 1, replicas), version=version, validate_only=True)


ASSIGNMENTS = {
    "right": {0: [1], 1: [1]},
    "gap": {0: [1], 2: [1]},
    "not-from-0": {1: [1]},
    "negative": {-1: [1]},
    "negative-too": {-1: [1], 0: [1]},
    "unknown-node": {0: [7]},
    "negative-node": {0: [-1]},
    "node-twice": {0: [1, 1]},
    "unknown-second": {0: [1, 7]},
    "empty": {0: []},
    "second-empty": {0: [1], 1: []},
    "uneven": {0: [1], 1: [1, 7]},
}


@scenario(*ASSIGNMENTS.items())
def partitions_placed_by_hand(script: Script, case: tuple[str, dict]) -> None:
    for validate_only in (True, False):
        create(script, creation(script.unique("t"), -1, -1, case[1]), validate_only=validate_only)
    is_there(script, script.unique("t"))


@scenario()
def placed_by_hand_and_counted(script: Script) -> None:
    for partitions, replicas in ((1, 1), (1, -1), (-1, 1), (0, -1), (2, 2), (-1, 0)):
        create(script, creation(script.unique("t"), partitions, replicas, {0: [1]}), validate_only=True)


@scenario()
def a_partition_placed_twice(script: Script) -> None:
    row = creation(script.unique("t"), -1, -1)
    row["assignments"] = [{"partitionIndex": 0, "brokerIds": [1]}, {"partitionIndex": 0, "brokerIds": [1]}]
    create(script, row, validate_only=True)


@scenario()
def one_name_twice_in_a_request(script: Script) -> None:
    name, other = script.unique("twice"), script.unique("other")
    create(script, creation(name), creation(name), creation(other))
    is_there(script, name, other)
    create(script, creation(name, 1), creation(name, 2), creation(name, 0))


@scenario()
def good_and_bad_in_one_request(script: Script) -> None:
    create(
        script, creation(script.unique("good")), creation("a/b"), creation(script.unique("none"), 0), creation(script.unique("c"), x="1")
    )
    is_there(script, script.unique("good"), script.unique("none"), script.unique("c"))


@scenario()
def nothing_to_create(script: Script) -> None:
    for version in script.versions("CreateTopics"):
        create(script, version=version)


@scenario()
def what_is_only_validated_has_an_id(script: Script) -> None:
    def told(answer: dict) -> list:
        return [any(topic["topicId"]) for topic in answer["topics"]]

    create(script, creation(script.unique("t")), validate_only=True, keep=told)


@scenario()
def settings_of_a_new_topic_are_told(script: Script) -> None:
    def told(answer: dict) -> list:
        return [[one for one in topic["configs"] or [] if one["name"] in ("retention.ms", "segment.bytes")] for topic in answer["topics"]]

    for validate_only in (True, False):
        create(script, creation(script.unique("t"), retention_ms="1000"), validate_only=validate_only, keep=told)
    # Of what is refused none.
    create(script, creation(script.unique("t"), retention_ms="1000"))


@scenario()
def settings_that_are_given_wrongly(script: Script) -> None:
    for key, value in (("retention.ms", None), ("retention.ms", ""), ("no.such.key", "1"), ("", "1"), ("Retention.ms", "1")):
        row = creation(script.unique("t"))
        row["configs"] = [{"name": key, "value": value}]
        create(script, row, validate_only=True)
    row = creation(script.unique("t"))
    row["configs"] = [{"name": "retention.ms", "value": "1"}, {"name": "retention.ms", "value": "2"}]
    create(script, row, validate_only=True)


# ---- more partitions ----------------------------------------------------------------------------------------------


@scenario()
def partitions_added_in_every_version(script: Script) -> None:
    for version in script.versions("CreatePartitions"):
        name = script.topic(f"v{version}", 1)
        for validate_only in (True, False):
            widen(script, {"name": name, "count": 3}, version=version, validate_only=validate_only)
            is_there(script, name)


COUNTS = {
    "same": {"count": 2},
    "fewer": {"count": 1},
    "zero": {"count": 0},
    "negative": {"count": -1},
    "huge": {"count": 2_147_483_647},
    "placed": {"count": 3, "assignments": [{"brokerIds": [1]}]},
    "placed-on-nothing": {"count": 3, "assignments": [{"brokerIds": []}]},
    "placed-on-unknown": {"count": 3, "assignments": [{"brokerIds": [7]}]},
    "placed-twice": {"count": 3, "assignments": [{"brokerIds": [1, 1]}]},
    "placed-negative": {"count": 3, "assignments": [{"brokerIds": [-1]}]},
    "too-many-places": {"count": 3, "assignments": [{"brokerIds": [1]}, {"brokerIds": [1]}]},
    "too-few-places": {"count": 4, "assignments": [{"brokerIds": [1]}]},
    "no-places": {"count": 4, "assignments": []},
    "same-placed": {"count": 2, "assignments": []},
}


@scenario(*COUNTS.items())
def partitions_added(script: Script, case: tuple[str, dict]) -> None:
    name = script.topic("t", 2)
    for validate_only in (True, False):
        widen(script, {"name": name, **case[1]}, validate_only=validate_only)
    is_there(script, name)


@scenario()
def partitions_added_to_several(script: Script) -> None:
    name, other = script.topic("t", 2), script.topic("other", 2)
    rows = [{"name": name, "count": 3}, {"name": script.unique("missing"), "count": 3}, {"name": other, "count": 1}]
    widen(script, *rows)
    widen(script, {"name": name, "count": 4}, {"name": name, "count": 5})
    widen(script)
    is_there(script, name, other)


# ---- deletion -----------------------------------------------------------------------------------------------------


@scenario()
def a_topic_is_deleted_in_every_version(script: Script) -> None:
    for version in script.versions("DeleteTopics"):
        name = script.topic(f"v{version}")
        for _ in range(2):
            delete(script, {"name": name}, version=version)
        is_there(script, name)


@scenario()
def what_is_not_there_is_deleted(script: Script) -> None:
    for version in script.versions("DeleteTopics"):
        for name in ("", ".", "a/b", "n" * 250, script.unique("missing")):
            delete(script, {"name": name}, version=version)


@scenario()
def deleted_by_id(script: Script) -> None:
    first, second = script.topic("a"), script.topic("b")
    first_id, second_id = script.topic_id(first), script.topic_id(second)

    delete(script, {"name": None, "topicId": bytes(16)})
    delete(script, {"name": first, "topicId": first_id})
    delete(script, {"name": None, "topicId": b"unknown-unknown!"})
    delete(script, {"name": None, "topicId": first_id}, {"name": None, "topicId": first_id})
    is_there(script, first)
    delete(script, {"name": None, "topicId": second_id}, {"name": second})
    is_there(script, second)
    delete(script, {"name": first}, {"name": first})
    is_there(script, first)
    delete(script, {"name": None, "topicId": first_id})
    delete(script, {"name": None, "topicId": first_id})
    delete(script, {"name": second}, {"name": script.unique("missing")}, {"name": None, "topicId": b"unknown-unknown!"})
    is_there(script, first, second)
    delete(script)


@scenario()
def a_topic_of_the_same_name_is_another(script: Script) -> None:
    name = script.topic("t", 2)
    old_id = script.topic_id(name)
    script.produce(name, [b"old"])
    delete(script, {"name": name})
    script.broker.create_topic(name, 1)
    new_id = script.topic_id(name)
    assert old_id != new_id
    batch = Batch(values=[b"v"], timestamp=1000).encode()
    for topic_id in (old_id, new_id):
        script.ask("Metadata", 12, topics=[{"topicId": topic_id, "name": None}], keep=lambda answer: answer["topics"])
        fetched = {"topicId": topic_id, "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1000}]}
        script.ask("Fetch", 13, maxWaitMs=0, topics=[fetched], sessionEpoch=-1)
        script.ask("Fetch", 17, maxWaitMs=0, topics=[fetched], sessionEpoch=-1)
        produced = {"topicId": topic_id, "partitionData": [{"index": 0, "records": batch}]}
        script.ask("Produce", 13, acks=-1, timeoutMs=5000, topicData=[produced])
        delete(script, {"name": None, "topicId": topic_id})
