"""Messages near the largest allowed size and beyond it, as each producer sends them and hears of it."""

import aiokafka.errors
import confluent_kafka
import kafka.errors
import pytest

from harness import wire
from harness.clients import ALL, EARLIEST, ClientError
from harness.clients.kcat import KcatError
from harness.records import Record

LIMIT = 300_000
# Beyond any client's own limit, so that it is the broker that refuses.
UNLIMITED = {
    "confluent": {"message.max.bytes": 8_000_000},
    "kcat": {"message.max.bytes": 8_000_000},
    "aiokafka": {"max_request_size": 8_000_000, "max_batch_size": 8_000_000},
    "kafka-python": {"max_request_size": 8_000_000},
    "java": {"max.request.size": "8000000"},
    "kafkajs": {},
    "franz-go": {"max_bytes": 8_000_000},
    "sarama": {"max_bytes": 8_000_000},
}


def is_too_large(failure: BaseException) -> bool:
    """Whether the client says, in its own words, that the message is too large."""
    match failure:
        case confluent_kafka.KafkaException():
            return failure.args[0].code() == confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE
        case aiokafka.errors.MessageSizeTooLargeError() | kafka.errors.MessageSizeTooLargeError():
            return True
        case KcatError():
            return "Message size too large" in str(failure)
        case ClientError():
            return failure.kind in ("RecordTooLargeException", "KError 10") or "MESSAGE_TOO_LARGE" in failure.message
    return False


@pytest.mark.parametrize("producer", ALL)
def test_a_message_just_below_the_limit_is_stored_and_one_above_is_refused(broker, topic, producer):
    broker.create_topic(topic, max_message_bytes=LIMIT)
    client = ALL[producer]
    fits = Record(b"k", bytes(97 + i % 26 for i in range(LIMIT - 200)))
    client.produce(broker.bootstrap, topic, 0, [fits], **UNLIMITED[producer])
    with pytest.raises(client.produce_errors) as refused:
        client.produce(broker.bootstrap, topic, 0, [Record(b"k", b"x" * (LIMIT + 200))], **UNLIMITED[producer])
    assert is_too_large(refused.value), repr(refused.value)
    client.produce(broker.bootstrap, topic, 0, [Record(b"k", b"after it")], **UNLIMITED[producer])
    received = ALL["confluent"].consume(broker.bootstrap, topic, 0, EARLIEST, 2)
    assert [r.value for r in received] == [fits.value, b"after it"]


def test_the_limit_counts_the_whole_batch_as_sent(broker, topic):
    """max.message.bytes is the size of the record batch with its 61 bytes of header; equal is allowed."""
    value = b"v" * 1000
    size = len(wire.Batch(values=[value]).encode())
    broker.create_topic(topic, max_message_bytes=size)
    with broker.connect() as connection:
        assert wire.produce(connection, {(topic, 0): wire.Batch(values=[value]).encode()})[topic, 0].name == "NONE"
        assert wire.produce(connection, {(topic, 0): wire.Batch(values=[value + b"v"]).encode()})[topic, 0].name == "MESSAGE_TOO_LARGE"
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 1


@pytest.mark.parametrize("consumer", ["confluent", "aiokafka", "kafka-python", "java", "kcat"])
def test_messages_of_several_megabytes_arrive_whole(broker, consumer):
    topic = "several-megabytes"
    records = [Record(b"%d" % i, bytes([i]) * 3_000_000) for i in range(3)]
    with broker.connect() as connection:
        made = topic in wire.metadata(connection, None)
    if not made:
        broker.create_topic(topic, max_message_bytes=4_000_000)
        ALL["java"].produce(broker.bootstrap, topic, 0, records, **{"max.request.size": "8000000"})
    received = ALL[consumer].consume(broker.bootstrap, topic, 0, EARLIEST, 3)
    assert [r.value for r in received] == [r.value for r in records]
