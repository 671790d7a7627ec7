"""Which broker the tests run against (--broker buslane|kafka), and the shared one."""

import itertools
import re

import pytest

from harness import clients
from harness.broker import Broker, BuslaneBroker, KafkaBroker, buslane_binary

# A quick pulse for what both brokers do in the background, so that tests of retention wait seconds, not minutes.
SETTINGS: dict[str, dict[str, object]] = {
    "kafka": {
        "log.retention.check.interval.ms": 500,
        "log.initial.task.delay.ms": 500,
        "log.segment.delete.delay.ms": 500,
        # Kafka's own default, which scripts/apache-kafka shortens: a member of kafka-python that leads at once, before it
        # knows its topic, assigns nothing and leaves it at that.
        "group.initial.rebalance.delay.ms": 3000,
        # Groups of the consumer protocol live by the broker's settings; and request by request an answer must tell what the
        # request brought about, so targets are computed at once and while the request is handled.
        "group.consumer.heartbeat.interval.ms": 200,
        "group.consumer.min.heartbeat.interval.ms": 200,
        "group.consumer.session.timeout.ms": 10_000,
        "group.consumer.min.session.timeout.ms": 10_000,
        "group.consumer.assignment.interval.ms": 0,
        "group.consumer.assignor.offload.enable": "false",
    },
    "buslane": {
        "topics.retention_check": "500ms",
        "groups.consumer_heartbeat_interval": "200ms",
        "groups.consumer_session_timeout": "10s",
    },
}
BROKERS = {"kafka": KafkaBroker, "buslane": BuslaneBroker}


def pytest_addoption(parser):
    parser.addoption("--broker", choices=sorted(BROKERS), default="buslane", help="the broker under test (kafka proves a test true)")
    parser.addoption("--keep", action="store_true", help="keep data folders and logs of the brokers")


def pytest_configure(config):
    if config.getoption("--broker") == "buslane":
        buslane_binary()


def pytest_collection_modifyitems(config, items):
    kind = config.getoption("--broker")
    other = {"kafka": "buslane_only", "buslane": "kafka_only"}[kind]
    selected, deselected = [], []
    for item in items:
        (deselected if item.get_closest_marker(other) else selected).append(item)
    config.hook.pytest_deselected(items=deselected)
    items[:] = selected


@pytest.fixture(scope="session")
def kind(request) -> str:
    return request.config.getoption("--broker")


@pytest.fixture(scope="session")
def new_broker(request, kind):
    """Makes brokers that are not started yet; all are ended and removed with the session."""
    made: list[Broker] = []

    def make(settings: dict[str, dict[str, object]] | None = None, **options) -> Broker:
        broker = BROKERS[kind]({**SETTINGS[kind], **(settings or {}).get(kind, {})}, **options)
        made.append(broker)
        return broker

    yield make
    for broker in made:
        if request.config.getoption("--keep"):
            broker.kill()
            print(f"kept: {broker.root}")
        else:
            broker.remove()


@pytest.fixture(scope="session")
def broker(new_broker):
    """The broker that tests share when they do nothing to it."""
    shared = new_broker().start()
    yield shared
    shared.stop()


@pytest.fixture(scope="session", autouse=True)
def _end_clients():
    yield
    for client in clients.ALL.values():
        client.close()


_topic_numbers = itertools.count(1)


@pytest.fixture
def topic(request) -> str:
    """A topic name that no other test uses."""
    return f"{re.sub(r'[^a-zA-Z0-9._-]+', '-', request.node.name)[:120]}-{next(_topic_numbers)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Broker):
                report.sections.append((f"log of {name} (its end)", "\n".join(value.log_text().splitlines()[-40:])))
    return report
