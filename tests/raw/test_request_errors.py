"""Errors in answers are counted in /metrics, each one, as in Kafka's ErrorsPerSec: under the kind of request and the error."""

import pytest

from harness import wire
from harness.wire import Batch

pytestmark = pytest.mark.buslane_only(reason="about Buslane's own /metrics; Apache Kafka has ErrorsPerSec in JMX")


def errors(broker, api: str, error: str) -> float:
    try:
        return broker.metric("buslane_request_errors_total", listener="kafka", api=api, error=error)
    except AssertionError:
        return 0


def test_each_error_of_an_answer_counts_under_its_request_and_code(new_broker, topic):
    broker = new_broker(http=True).start()
    broker.create_topic(topic, 2)
    batch = Batch(values=[b"v"]).encode()
    with broker.connect() as connection:
        sent = {(topic, 0): batch, (topic, 1): batch, (topic, 8): batch, (topic, 9): batch}
        answered = wire.produce(connection, sent)
        assert sorted(result.name for result in answered.values()) == ["NONE", "NONE"] + 2 * ["UNKNOWN_TOPIC_OR_PARTITION"]
        assert errors(broker, "Produce", "UNKNOWN_TOPIC_OR_PARTITION") == 2

        found = wire.fetch(connection, {(topic, 0): 0, (topic, 1): 5}, max_wait_ms=0).partitions
        assert (found[topic, 0].error, wire.error_name(found[topic, 1].error)) == (0, "OFFSET_OUT_OF_RANGE")
        assert errors(broker, "Fetch", "OFFSET_OUT_OF_RANGE") == 1

        # Of a topic.
        code, _ = wire.create_topic(connection, topic)
        assert wire.error_name(code) == "TOPIC_ALREADY_EXISTS"
        assert errors(broker, "CreateTopics", "TOPIC_ALREADY_EXISTS") == 1

        # Nothing else was counted, and an answer without errors counts nowhere.
        wire.produce(connection, {(topic, 0): batch})
        assert errors(broker, "Produce", "UNKNOWN_TOPIC_OR_PARTITION") == 2
        assert errors(broker, "Produce", "NONE") == 0 and errors(broker, "Fetch", "NONE") == 0
    broker.stop()
