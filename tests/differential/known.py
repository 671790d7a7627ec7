"""Where Buslane differs from Apache Kafka on purpose, or for want of something: each with its reason.

An entry that no longer differs fails the tests, so the table is always as short as it can be.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.document import TOPIC_FIXED, table

from .compare import ABSENT, Difference

ANY = object()


@dataclass(frozen=True)
class Known:
    """`scenario`, `request` and `path` are patterns of the shell; values are exact, or ANY."""

    scenario: str
    request: str
    path: str
    reason: str
    kafka: object = ANY
    buslane: object = ANY

    def covers(self, scenario: str, one: Difference) -> bool:
        return (
            matches(scenario, self.scenario)
            and matches(one.request, self.request)
            and matches(one.path, self.path)
            and self.kafka in (ANY, one.kafka)
            and self.buslane in (ANY, one.buslane)
        )


def matches(text: str, pattern: str) -> bool:
    """As a shell matches, but brackets mean themselves."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def _of_a_setting(row: dict[str, str]) -> list[Known]:
    """A setting that has one value here. What Kafka refuses it must refuse, too."""
    return [Known(f"each_topic_setting[{row['setting']}]", "*", "errorCode", row["why"], "NONE", "INVALID_CONFIG")]


# Settings whose other values Kafka refuses as well.
_SAME_EVERYWHERE = {"remote.storage.enable", "follower.replication.throttled.replicas", "leader.replication.throttled.replicas"}

_NOT_SERVED = {
    "SASL": (17, 36),
    "transactions": (24, 25, 26, 27, 28, 65, 66),
    "ACLs": (29, 30, 31),
    "log folders to choose from": (34,),
    "delegation tokens": (38, 39, 40, 41),
    "reassignments": (45, 46),
    "SCRAM": (50, 51),
    "features to be changed": (57,),
    "brokers to be unregistered, and voters to be added": (64, 80, 81),
    "share groups": (76, 77, 78, 79, 83, 84, 85, 86, 87, 90, 91, 92, 93, 94),
    "groups of Kafka Streams": (88, 89),
}
_SOME_POLICY = "records are deleted, compacted, or both; who wants neither says so with retention.ms=-1"
_BY_ID_EARLY = "ids in Metadata are answered from version 10 on, which brings them; Kafka does so from version 12 on"
_NO_COLLISIONS = "metrics carry names of topics as labels, where '.' and '_' are different letters"
_NO_SERVER_ERROR = "a wrong value has an error that says so, or means what it can mean, where Kafka fails with UNKNOWN_SERVER_ERROR"
_TOLD_ONCE = "what is asked for twice is told once: a small request has no huge answer"
_NOTHING_APPENDED = "a batch that is not appended does not look into the log for its start"
_WHAT_IS_WRONG = "the error says what is wrong with the batch"

KNOWN: list[Known] = [
    # What is served.
    *(
        Known("what_is_served", "requests in version *", str(key), f"not served: {what}", buslane=ABSENT)
        for what, keys in _NOT_SERVED.items()
        for key in keys
    ),
    # Settings.
    *(known for row in table(TOPIC_FIXED) if row["setting"] not in _SAME_EVERYWHERE for known in _of_a_setting(row)),
    Known("each_topic_setting[max.message.bytes]", "*", "errorCode", "no batch is smaller than 61 bytes", "NONE", "INVALID_CONFIG"),
    Known("each_topic_setting[retention.bytes]", "*", "errorCode", "less than -1 means nothing", "NONE", "INVALID_CONFIG"),
    Known("settings_of_one_side_only", "*", "buslane.*", "Buslane's own", ABSENT),
    Known("no_keys_are_all_keys", "*", "buslane.*", "Buslane's own", ABSENT),
    Known("*", "DescribeConfigs*", "*min.insync.replicas/configSource", "Kafka sets it for the cluster itself (KIP-966)", 3, 5),
    Known("synonyms_of_a_setting", "DescribeConfigs*", "*min.insync.replicas/synonyms", "the same"),
    Known(
        "*", "DescribeConfigs*", "*/retention.ms/synonyms*", "log.retention.ms has a value of its own; in Kafka it stands behind two others"
    ),
    Known("what_is_described_wrongly", "DescribeConfigs*", "results", _TOLD_ONCE),
    Known("settings_of_other_things[g]", "DescribeConfigs*", "results/g/errorCode", "client metrics and groups have no settings", "NONE"),
    Known(
        "a_resource_that_is_altered_wrongly[missing-topic]",
        "IncrementalAlterConfigs*no.such.key*",
        "*/errorCode",
        "that there is no such topic is told before what is wrong with its settings",
        "INVALID_CONFIG",
        "UNKNOWN_TOPIC_OR_PARTITION",
    ),
    Known("a_change_of_settings[operation-*", "IncrementalAlterConfigs*", "*/errorCode", _NO_SERVER_ERROR, "UNKNOWN_SERVER_ERROR"),
    Known("a_change_of_settings[beside-each-other]", "*", "*", "segments may be small, from 1024 bytes on; Kafka's have 1 MiB at least"),
    Known("each_topic_setting[cleanup.policy]", "*", "errorCode", _SOME_POLICY, "NONE", "INVALID_CONFIG"),
    Known("a_change_of_settings[subtract-all]", "*", "*", _SOME_POLICY),
    # Topics.
    Known("names_that_collide_in_metrics", "CreateTopics*a_b*", "topics/*", _NO_COLLISIONS),
    Known(
        "auto_creation_of_special_names",
        "Metadata*",
        "*/errorCode",
        "told at once with its partitions, as they are there by then",
        buslane="NONE",
    ),
    Known("what_is_only_validated_has_an_id", "CreateTopics*", "0", "there is no topic that could have it", True, False),
    # Groups.
    Known("metadata_beyond_what_is_stored", "JoinGroup*", "*", "refused at once, where Kafka fails when it comes to store it"),
    Known("groups_described", "DescribeGroups*", "groups", _TOLD_ONCE),
    Known("members_that_are_not_there", "ConsumerGroupDescribe*", "groups", _TOLD_ONCE),
    Known("one_partition_twice_in_a_commit", "OffsetFetch*", "groups/*/topics", _TOLD_ONCE),
    Known("the_coordinator_of_strange_keys", "FindCoordinator*", "coordinators", _TOLD_ONCE),
    # The cluster.
    Known("metadata_by_id[10]", "Metadata v10*", "*", _BY_ID_EARLY),
    Known("metadata_by_id[11]", "Metadata v11*", "*", _BY_ID_EARLY),
    Known("metadata_by_id[12]", "Metadata v12*x00*", "*", _NO_SERVER_ERROR),
    Known("metadata_by_id[13]", "Metadata v13*x00*", "*", _NO_SERVER_ERROR),
    Known(
        "partitions_described_page_by_page",
        'DescribeTopicPartitions*"cursor": {*',
        "*",
        "pages go on behind a cursor whose topic is gone meanwhile, where Kafka refuses all of them",
    ),
    Known("partitions_described_page_by_page", "DescribeTopicPartitions*", "topics//*", _NO_SERVER_ERROR),
    Known("leaders_elected", "ElectLeaders*[0, 0]*", "replicaElectionResults*", _TOLD_ONCE),
    Known(
        "leaders_elected", 'ElectLeaders*"topicPartitions": null}', "replicaElectionResults", "topics without an election are not told of"
    ),
    Known("leaders_elected", 'ElectLeaders*"electionType": 2*', "*", "a kind of election that is not known fails as a whole"),
    Known("leaders_elected", 'ElectLeaders*"electionType": -1*', "*", "a kind of election that is not known fails as a whole"),
    Known("the_quorum_described", "DescribeQuorum*", "*/leaderId", "what there is not has no leader, rather than node 0", 0, -1),
    # Records.
    Known("appended_in_every_version", "Produce*", "responses", "a topic without partitions is told as it was asked for", []),
    Known(
        "acknowledgements_that_there_are_not*",
        "Produce*",
        "*/errorCode",
        "acks are looked at before partitions",
        "UNKNOWN_TOPIC_OR_PARTITION",
    ),
    Known("a_batch*", "Produce*", "*/logStartOffset", _NOTHING_APPENDED, 0, -1),
    Known("epochs_of_a_producer", "Produce*", "*/logStartOffset", _NOTHING_APPENDED, 0, -1),
    Known("a_producer_that_the_partition_does_not_know", "Produce*", "*/logStartOffset", _NOTHING_APPENDED, 0, -1),
    Known("sequences*", "Produce*", "*/logStartOffset", _NOTHING_APPENDED, 0, -1),
    Known("a_batch[short]", "Produce*", "*/errorCode", _WHAT_IS_WRONG, "CORRUPT_MESSAGE", "UNSUPPORTED_FOR_MESSAGE_FORMAT"),
    Known("a_batch[zeros]", "Produce*", "*/errorCode", _WHAT_IS_WRONG, "CORRUPT_MESSAGE", "UNSUPPORTED_FOR_MESSAGE_FORMAT"),
    Known("a_batch[magic-*", "Produce*", "*/errorCode", _WHAT_IS_WRONG, buslane="UNSUPPORTED_FOR_MESSAGE_FORMAT"),
    Known("a_batch[cut]", "Produce*", "*/errorCode", _WHAT_IS_WRONG, "INVALID_RECORD", "CORRUPT_MESSAGE"),
    Known("a_batch[compression-7]", "Produce*", "*/errorCode", _NO_SERVER_ERROR, "UNKNOWN_SERVER_ERROR", "UNSUPPORTED_COMPRESSION_TYPE"),
    Known(
        "a_batch[append-time]", "Produce*", "*", "producers must not set the broker's time (KIP-32); Kafka takes it and leaves the flag out"
    ),
    Known("a_batch[future]", "Produce*", "*/recordErrors", "a batch is judged by its header, and refused as a whole"),
    Known("a_batch[negative-timestamp]", "Fetch*", "*/maxTimestamp", "batches stay as they were sent", -1, -5),
    Known("*", "Produce*", "*/logAppendTimeMs", "a batch that is there already was not stamped by the broker either", 1000000, -1),
    Known(
        "epochs_of_a_producer", 'Produce*"producerEpoch": -1*', "*/errorCode", _WHAT_IS_WRONG, "INVALID_PRODUCER_EPOCH", "INVALID_RECORD"
    ),
    Known(
        "two_sequences_in_one_request",
        "*",
        "*",
        "both batches of a partition that stands twice are appended; Kafka drops one without a word",
    ),
    Known("limits_of_a_fetch", 'Fetch*Bytes": -*', "*", _NO_SERVER_ERROR),
    Known("limits_of_a_fetch", 'Fetch*"isolationLevel": *', "*", _NO_SERVER_ERROR),
    Known("an_epoch_that_was_not", 'OffsetForLeaderEpoch*"leaderEpoch": -2*', "*", "before the first epoch there is none"),
    Known("fetch_sessions*", "Fetch*", "sessionId", "a session without partitions is not kept", buslane=0),
    Known(
        "a_session_over_a_deletion",
        "Fetch v13*",
        "*",
        "an id whose topic is gone is unknown, also to a session",
        buslane="UNKNOWN_TOPIC_ID",
    ),
    Known("a_session_over_a_deletion", "Fetch v13*", "*/abortedTransactions", "the same", None, []),
    Known("offsets_listed*", 'ListOffsets*"isolationLevel": 7*', "*", _NO_SERVER_ERROR),
    Known("records_deleted", "DeleteRecords*", "topics/*/partitions", "each of two deletions in a partition is told"),
    Known("a_batch[count-wrong]", "Produce*", "*", "records are not looked at, unless the topic says buslane.validation=strict"),
    # Restarts.
    Known(
        "a_kill_in_the_middle", "Produce*", "*/logAppendTimeMs", "a batch that is there already was not stamped by the broker", "<now>", -1
    ),
    Known("a_kill_in_the_middle", "Produce*", "*/logStartOffset", _NOTHING_APPENDED, 0, -1),
    Known(
        "a_kill_in_the_middle",
        "ListOffsets*",
        "*/leaderEpoch",
        "the start is one new epoch; Kafka counts the end, too",
        "<epoch +2>",
        "<epoch +1>",
    ),
    Known("a_kill_in_the_middle", "Fetch*", "*/records", "a read ends with its segment, and the start began a new one"),
]
