"""Transactions are not served yet: a transactional producer hears so at once, by a typed error, and never hangs."""

import time

import confluent_kafka
import pytest

from harness import wire
from harness.clients import ALL, ClientError

pytestmark = pytest.mark.buslane_only(reason="Apache Kafka serves transactions")

REFUSED_WITHIN_S = 10


def test_librdkafka_is_refused_clearly(broker, topic):
    broker.create_topic(topic)
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic})
    began = time.monotonic()
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        producer.init_transactions(30)
    assert time.monotonic() - began < REFUSED_WITHIN_S
    assert refused.value.args[0].code() not in (confluent_kafka.KafkaError._TIMED_OUT, confluent_kafka.KafkaError.UNKNOWN)


def test_java_is_refused_clearly(broker, topic):
    broker.create_topic(topic)
    began = time.monotonic()
    with pytest.raises(ClientError) as refused:
        ALL["java"].driver.ask("transaction", bootstrap=broker.bootstrap, topic=topic, records=[], config={"transactional.id": topic})
    assert time.monotonic() - began < REFUSED_WITHIN_S
    assert refused.value.kind not in ("TimeoutException", "UnknownServerException"), refused.value


def test_a_transactional_id_is_refused_in_each_request_that_carries_one(broker, topic):
    broker.create_topic(topic)
    with broker.connect() as connection:
        error, producer_id, _ = wire.init_producer_id(connection, "some id")
        assert error != 0 and producer_id == -1
        batch = wire.Batch(attributes=wire.TRANSACTIONAL, producer_id=1, producer_epoch=0, base_sequence=0).encode()
        result = wire.produce(connection, {(topic, 0): batch}, transactional_id="some id")[topic, 0]
        assert result.error != 0
        assert wire.list_offset(connection, topic, 0, wire.LATEST).offset == 0


def test_keys_that_are_not_served_are_not_advertised(broker):
    with broker.connect() as connection:
        served = wire.api_versions(connection)
    transactions = {24, 25, 26, 27, 28}
    assert served.keys() & transactions == set()
