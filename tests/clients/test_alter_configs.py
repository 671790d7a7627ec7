"""Settings of topics changed while they are used: IncrementalAlterConfigs (KIP-339) and AlterConfigs."""

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from harness.broker import await_until
from harness.clients import ALL, ClientError
from harness.offline import DataFolder
from harness.records import Record

WAIT_S = 20
SET, DELETE, APPEND, SUBTRACT = (
    AlterConfigOpType.SET,
    AlterConfigOpType.DELETE,
    AlterConfigOpType.APPEND,
    AlterConfigOpType.SUBTRACT,
)
TOPIC_SET, DEFAULT = 1, 5


@pytest.fixture
def admin(broker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


def result(futures: dict):
    (future,) = futures.values()
    return future.result(WAIT_S)


def alter(admin: AdminClient, topic: str, *operations: tuple, **options) -> None:
    entries = [ConfigEntry(name, value, incremental_operation=operation) for operation, name, value in operations]
    result(admin.incremental_alter_configs([ConfigResource("topic", topic, incremental_configs=entries)], **options))


def replace(admin: AdminClient, topic: str, **settings: str) -> None:
    named = {name.replace("_", "."): value for name, value in settings.items()}
    result(admin.alter_configs([ConfigResource("topic", topic, set_config=named)]))


def setting(admin: AdminClient, topic: str, name: str) -> tuple[str, int]:
    """The value in force and its source."""
    entry = result(admin.describe_configs([ConfigResource("topic", topic)]))[name]
    return entry.value, entry.source


def is_soon(admin: AdminClient, topic: str, name: str, value: str, source: int) -> None:
    """Kafka's broker follows the metadata a moment after it has answered."""
    await_until(lambda: setting(admin, topic, name) == (value, source), f"{name} is {value} by {source}", 5)


def refused(call, *arguments, **options) -> confluent_kafka.KafkaError:
    with pytest.raises(confluent_kafka.KafkaException) as raised:
        call(*arguments, **options)
    return raised.value.args[0]


def test_a_setting_is_set_changed_and_taken_away(admin, broker, topic):
    broker.create_topic(topic, **{"segment.ms": "100000"})
    before = setting(admin, topic, "retention.ms")
    alter(admin, topic, (SET, "retention.ms", "5000"), (SET, "retention.bytes", " 7000 "))
    is_soon(admin, topic, "retention.ms", "5000", TOPIC_SET)
    is_soon(admin, topic, "retention.bytes", "7000", TOPIC_SET)
    alter(admin, topic, (SET, "retention.ms", "6000"), (DELETE, "retention.bytes", None))
    is_soon(admin, topic, "retention.ms", "6000", TOPIC_SET)
    is_soon(admin, topic, "retention.bytes", "-1", DEFAULT)
    # What is not there is taken away without an error, even what nobody knows; what was not named stays.
    alter(admin, topic, *((DELETE, name, None) for name in ("retention.ms", "max.message.bytes", "no.such.key")))
    is_soon(admin, topic, "retention.ms", *before)
    is_soon(admin, topic, "segment.ms", "100000", TOPIC_SET)


def test_the_older_request_replaces_all_settings(admin, broker, topic):
    broker.create_topic(topic, **{"segment.ms": "100000", "retention.ms": "5000"})
    replace(admin, topic, retention_ms="6000", max_message_bytes="3000")
    is_soon(admin, topic, "retention.ms", "6000", TOPIC_SET)
    is_soon(admin, topic, "max.message.bytes", "3000", TOPIC_SET)
    is_soon(admin, topic, "segment.ms", "604800000", DEFAULT)


def test_a_change_holds_for_what_is_produced_after_it(admin, broker, topic):
    broker.create_topic(topic)
    client, large = ALL["confluent"], [Record(None, b"x" * 20_000)]
    assert client.produce(broker.bootstrap, topic, 0, large)
    alter(admin, topic, (SET, "max.message.bytes", "10000"))
    with pytest.raises((ClientError, confluent_kafka.KafkaException), match="too large"):
        client.produce(broker.bootstrap, topic, 0, large)
    alter(admin, topic, (DELETE, "max.message.bytes", None))
    assert client.produce(broker.bootstrap, topic, 0, large)


@pytest.mark.parametrize(
    ("operation", "name", "value", "code", "words"),
    [
        (SET, "no.such.key", "1", "INVALID_CONFIG", "no.such.key"),
        (SET, "retention.ms", "soon", "INVALID_CONFIG", "retention.ms"),
        (SET, "retention.ms", "-2", "INVALID_CONFIG", "retention.ms"),
        (APPEND, "retention.ms", "5", "INVALID_CONFIG", "retention.ms"),
        (SUBTRACT, "retention.ms", "5", "INVALID_CONFIG", "retention.ms"),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(admin, broker, topic, operation, name, value, code, words):
    broker.create_topic(topic)
    error = refused(alter, admin, topic, (SET, "segment.ms", "100000"), (operation, name, value))
    assert (error.name(), words in error.str()) == (code, True), error
    assert setting(admin, topic, "segment.ms") == ("604800000", DEFAULT), "all of a topic's changes, or none"


def test_an_unknown_topic_has_no_settings(admin, topic):
    assert refused(alter, admin, topic, (SET, "retention.ms", "5")).name() == "UNKNOWN_TOPIC_OR_PART"
    assert refused(replace, admin, topic, retention_ms="5").name() == "UNKNOWN_TOPIC_OR_PART"


def test_a_list_is_appended_to_and_subtracted_from(admin, broker, topic):
    broker.create_topic(topic)
    alter(admin, topic, (APPEND, "cleanup.policy", "delete"))
    assert setting(admin, topic, "cleanup.policy")[0] == "delete"


def test_validate_only_says_what_would_be_and_changes_nothing(admin, broker, topic):
    broker.create_topic(topic)
    alter(admin, topic, (SET, "retention.ms", "5"), validate_only=True)
    assert setting(admin, topic, "retention.ms")[1] == DEFAULT
    error = refused(alter, admin, topic, (SET, "retention.ms", "x"), validate_only=True)
    assert error.name() == "INVALID_CONFIG"


def test_a_change_survives_a_restart(new_broker, topic):
    broker = new_broker().start()
    broker.create_topic(topic)
    alter(AdminClient({"bootstrap.servers": broker.bootstrap}), topic, (SET, "retention.ms", "5000"))
    broker.stop()
    broker.start()
    assert setting(AdminClient({"bootstrap.servers": broker.bootstrap}), topic, "retention.ms") == ("5000", TOPIC_SET)
    broker.stop()


@pytest.mark.buslane_only
def test_a_change_of_durability_rolls_the_segment(new_broker, topic):
    broker = new_broker().start()
    broker.create_topic(topic)
    client, admin = ALL["confluent"], AdminClient({"bootstrap.servers": broker.bootstrap})
    client.produce(broker.bootstrap, topic, 0, [Record(None, b"one")])
    alter(admin, topic, (SET, "buslane.durability", "synced"))
    client.produce(broker.bootstrap, topic, 0, [Record(None, b"two")])
    broker.kill()
    segments = DataFolder(broker.data).chain(topic, 0)["segments"]
    assert [(segment["base_offset"], segment["durability"]) for segment in segments] == [(0, "replicated"), (1, "synced")]
