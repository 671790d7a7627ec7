"""Settings of brokers changed while they run (KIP-226): of one broker or of all, over those of the configuration file."""

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from harness import wire
from harness.broker import await_until
from harness.schema import Api
from harness.schema import Field as F
from harness.tools import tool

# The file's, under each broker's name for it.
FILE = {"buslane": {"topics.segment_age": "2h"}, "kafka": {"log.roll.ms": 2 * 3_600_000}}
INCREMENTAL_ALTER_CONFIGS = Api(
    44,
    flexible=1,
    request=[
        F("resources", [F("type", "i8"), F("name", "string"), F("configs", [F("name", "string"), F("operation", "i8"), F("value", "nullable")])]),
        F("validate_only", "bool"),
    ],
    response=[
        F("throttle_time_ms", "i32"),
        F("responses", [F("error", "i16"), F("message", "nullable"), F("type", "i8"), F("name", "string")]),
    ],
)

OF_TOPIC, OF_BROKER, OF_ALL, OF_FILE, DEFAULT = 1, 2, 3, 4, 5


def result(futures: dict):
    (future,) = futures.values()
    return future.result(20)


def refused(call, *arguments, **options) -> confluent_kafka.KafkaError:
    with pytest.raises(confluent_kafka.KafkaException) as raised:
        call(*arguments, **options)
    return raised.value.args[0]


@pytest.fixture(scope="module")
def broker(new_broker):
    made = new_broker(FILE).start()
    yield made
    made.stop()


@pytest.fixture
def admin(broker):
    """Leaves the broker as it was."""
    made = AdminClient({"bootstrap.servers": broker.bootstrap})
    yield made
    changed = ("message.max.bytes", "log.roll.ms", "log.cleanup.policy", "log.retention.ms")
    delete = [{"name": name, "operation": 1, "value": None} for name in changed]
    with broker.connect() as connection:
        answers = INCREMENTAL_ALTER_CONFIGS.ask(connection, 0, resources=[{"type": 4, "name": name, "configs": delete} for name in ("", "1")])
    assert [answer.error for answer in answers.responses] == [0, 0]


def alter(admin: AdminClient, operation: AlterConfigOpType = AlterConfigOpType.SET, **settings: str | None) -> None:
    """Changes broker 1."""
    entries = [ConfigEntry(name.replace("_", "."), value, incremental_operation=operation) for name, value in settings.items()]
    result(admin.incremental_alter_configs([ConfigResource("broker", "1", incremental_configs=entries)]))


def alter_all(broker, *arguments: str) -> None:
    """Changes what holds for all brokers, which only Kafka's own tool can name."""
    tool("configs", "--bootstrap-server", broker.bootstrap, "--entity-type", "brokers", "--entity-default", "--alter", *arguments)


def entry(admin: AdminClient, kind: str, name: str, setting: str):
    return result(admin.describe_configs([ConfigResource(kind, name)]))[setting]


def is_soon(admin: AdminClient, kind: str, name: str, setting: str, value: str, source: int) -> None:
    def told() -> bool:
        found = entry(admin, kind, name, setting)
        return (found.value, found.source) == (value, source)

    await_until(told, f"{setting} of {kind} {name} is {value} by {source}", 10)


def produce(broker, topic: str, size: int) -> str:
    with broker.connect() as connection:
        return wire.error_name(wire.produce(connection, {(topic, 0): wire.Batch(values=[b"x" * size]).encode()})[topic, 0].error)


def test_a_topic_follows_its_broker_until_it_says_otherwise(admin, broker, topic):
    broker.create_topic(topic)
    broker.create_topic(f"{topic}-own", max_message_bytes="50000")
    assert produce(broker, topic, 5_000) == "NONE"
    alter(admin, message_max_bytes="2000")
    is_soon(admin, "broker", "1", "message.max.bytes", "2000", OF_BROKER)
    is_soon(admin, "topic", topic, "max.message.bytes", "2000", OF_BROKER)
    is_soon(admin, "topic", f"{topic}-own", "max.message.bytes", "50000", OF_TOPIC)
    assert produce(broker, topic, 5_000) == "MESSAGE_TOO_LARGE"
    assert produce(broker, f"{topic}-own", 5_000) == "NONE"
    alter(admin, AlterConfigOpType.DELETE, message_max_bytes=None)
    is_soon(admin, "topic", topic, "max.message.bytes", "1048588", DEFAULT)
    assert produce(broker, topic, 5_000) == "NONE"


def test_one_brokers_setting_is_before_that_of_all_and_that_before_the_file(admin, broker, topic):
    broker.create_topic(topic)
    is_soon(admin, "topic", topic, "segment.ms", "7200000", OF_FILE)
    alter_all(broker, "--add-config", "log.roll.ms=100000000")
    is_soon(admin, "topic", topic, "segment.ms", "100000000", OF_ALL)
    alter(admin, log_roll_ms="200000000")
    is_soon(admin, "broker", "1", "log.roll.ms", "200000000", OF_BROKER)
    is_soon(admin, "topic", topic, "segment.ms", "200000000", OF_BROKER)
    at = ["--bootstrap-server", broker.bootstrap, "--entity-type", "brokers", "--entity-name", "1"]
    (told,) = [line for line in tool("configs", *at, "--describe").splitlines() if line.strip().startswith("log.roll.ms=")]
    origins = ["DYNAMIC_BROKER_CONFIG:log.roll.ms=200000000", "DYNAMIC_DEFAULT_BROKER_CONFIG:log.roll.ms=100000000"]
    assert ", ".join([*origins, "STATIC_BROKER_CONFIG:log.roll.ms=7200000"]) in told
    alter(admin, AlterConfigOpType.DELETE, log_roll_ms=None)
    is_soon(admin, "topic", topic, "segment.ms", "100000000", OF_ALL)
    alter_all(broker, "--delete-config", "log.roll.ms")
    is_soon(admin, "topic", topic, "segment.ms", "7200000", OF_FILE)


def test_what_was_changed_holds_over_a_restart(new_broker, topic):
    broker = new_broker(FILE).start()
    broker.create_topic(topic)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    alter(admin, log_retention_ms="360000000", log_cleaner_backoff_ms="1000")
    alter_all(broker, "--add-config", "log.roll.ms=100000000")
    is_soon(admin, "topic", topic, "segment.ms", "100000000", OF_ALL)
    broker.kill()
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    is_soon(admin, "topic", topic, "segment.ms", "100000000", OF_ALL)
    is_soon(admin, "topic", topic, "retention.ms", "360000000", OF_BROKER)
    is_soon(admin, "broker", "1", "log.cleaner.backoff.ms", "1000", OF_BROKER)
    told = tool("configs", "--bootstrap-server", broker.bootstrap, "--entity-type", "brokers", "--entity-default", "--describe")
    assert "log.roll.ms=100000000" in told and "log.retention.ms" not in told
    broker.stop()


def test_what_is_wrong_is_refused_and_nothing_is_changed(admin, broker):
    error = refused(alter, admin, log_retention_ms="soon", log_roll_ms="300000000")
    assert "INVALID" in error.name(), error
    assert "log.retention.ms" in error.str() and "soon" in error.str()
    is_soon(admin, "broker", "1", "log.roll.ms", "7200000", OF_FILE)
    error = refused(alter, admin, num_partitions="3")
    assert error.name().startswith("INVALID_"), error
    assert "num.partitions" in error.str()
    with broker.connect() as connection:
        change = [{"name": "log.roll.ms", "operation": 0, "value": "1"}]
        (answer,) = INCREMENTAL_ALTER_CONFIGS.ask(connection, 0, resources=[{"type": 4, "name": "77", "configs": change}]).responses
    assert wire.error_name(answer.error) == "INVALID_REQUEST", answer


@pytest.mark.buslane_only(reason="Apache Kafka stores what it does not know")
def test_what_nobody_knows_and_what_stands_in_the_file_alone_is_refused_and_said(admin, broker):
    error = refused(alter, admin, log_retentoin_ms="1000")
    assert (error.name(), "unknown broker config 'log.retentoin.ms'" in error.str()) == ("INVALID_CONFIG", True)
    error = refused(alter, admin, num_partitions="3")
    assert error.name() == "INVALID_CONFIG" and "its configuration file has it as topics.partitions" in error.str(), error


def test_a_list_is_appended_to_and_subtracted_from(admin, broker, topic):
    broker.create_topic(topic)
    alter(admin, AlterConfigOpType.APPEND, log_cleanup_policy="compact")
    is_soon(admin, "topic", topic, "cleanup.policy", "delete,compact", OF_BROKER)
    alter(admin, log_cleanup_policy="compact")
    alter(admin, AlterConfigOpType.APPEND, log_cleanup_policy="delete")
    is_soon(admin, "topic", topic, "cleanup.policy", "compact,delete", OF_BROKER)
    alter(admin, AlterConfigOpType.SUBTRACT, log_cleanup_policy="compact")
    is_soon(admin, "topic", topic, "cleanup.policy", "delete", OF_BROKER)
