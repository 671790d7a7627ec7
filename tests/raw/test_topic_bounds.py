"""What one request, and all of them, may create."""

import itertools

import pytest

from harness import wire
from harness.schema import Api
from harness.schema import Field as F
from harness.wire import error_name

CREATE_TOPICS = Api(
    19,
    flexible=5,
    request=[
        F(
            "topics",
            [
                F("name", "string"),
                F("partitions", "i32", default=-1),
                F("replicas", "i16", default=-1),
                F("assignments", [F("partition", "i32"), F("brokers", ("array", "i32"))], default=[]),
                F("configs", [F("name", "string"), F("value", "nullable")], default=[]),
            ],
        ),
        F("timeout_ms", "i32", default=30_000),
        F("validate_only", "bool", default=True),
    ],
    response=[
        F("throttle_time_ms", "i32"),
        F("topics", [F("name", "string"), F("error", "i16"), F("message", "nullable")]),
    ],
)
REQUEST_MAX = 100_000

pytestmark = pytest.mark.buslane_only(reason="Kafka bounds a request at 10,000 partitions, and the cluster not at all")

numbers = itertools.count()


@pytest.fixture
def create(broker):
    with wire.Connection(broker.address, timeout=60) as connection:

        def create(*topics: dict) -> list[tuple[str, str | None]]:
            named = [{"name": f"bounds-{next(numbers)}", **topic} for topic in topics]
            answer = CREATE_TOPICS.ask(connection, 4, topics=named)
            return [(error_name(topic.error), topic.message) for topic in answer.topics]

        yield create


def test_partitions_of_one_request_are_counted_together(create):
    first, second, third = create({"partitions": 60_000, "replicas": 1}, {"partitions": 40_001, "replicas": 1}, {"partitions": 10_000, "replicas": 1})
    assert (first[0], second[0], third[0]) == ("NONE", "POLICY_VIOLATION", "NONE")
    assert second[1] == f"40001 partitions, where one request creates at most {REQUEST_MAX} in all"


def test_assigned_partitions_count_too(create):
    assignments = [{"partition": i, "brokers": [1]} for i in range(REQUEST_MAX + 1)]
    [(error, message)] = create({"assignments": assignments})
    assert (error, message) == ("POLICY_VIOLATION", f"{REQUEST_MAX + 1} partitions, where one request creates at most {REQUEST_MAX} in all")


def test_many_topics_do_not_get_more_than_one(create):
    errors = [error for error, _ in create(*[{"partitions": REQUEST_MAX, "replicas": 1}] * 100)]
    assert errors == ["POLICY_VIOLATION"] * 100 or errors == ["NONE"] + ["POLICY_VIOLATION"] * 99
