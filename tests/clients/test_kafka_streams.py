"""Kafka Streams applications, with what Streams sets by default (the classic protocol, at least once, RocksDB): their results are
complete while instances come, share the work, are killed and come back, also to machines that have nothing of the state.

What is killed at rest counts exactly: all that it read is committed. What is killed at work does some of it again, as at least
once allows; nothing is left out. Both applications run at once, started with the module, and each test asks for its own.
"""

import collections
import concurrent.futures
import contextlib
import threading
import time

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from harness import groups as protocol
from harness import wire
from harness.broker import await_until
from harness.jobs import QUIET, Instance, Outcome, await_done, await_shared, class_path, end_instances, end_offsets

PARTITIONS = 4
OUTCOME_PARTITIONS = 3
HOUR_MS = 3_600_000
# What changes in the stores is compacted away under them, a segment after the other.
COMPACTING = {"kafka": {"log.cleaner.backoff.ms": 200}, "buslane": {"compaction.check": "200ms"}}
SEGMENTS = {"topic.segment.ms": 300}
VOCABULARY = [f"word-{n}" for n in range(11)]


class Feed:
    """Numbered records into the input of an application. `record` makes (key, value, timestamp) of a number; a timestamp of 0 is now."""

    def __init__(self, broker, name: str, record) -> None:
        self.sent = 0
        self._topic, self._record = f"{name}-input", record
        broker.create_topic(self._topic, PARTITIONS)
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "linger.ms": 2}, logger=QUIET
        )

    def send(self, count: int) -> None:
        for _ in range(count):
            self._send_one()
        assert self._producer.flush(20) == 0

    def _send_one(self) -> None:
        key, value, timestamp = self._record(self.sent)
        self._producer.produce(self._topic, value, key, timestamp=timestamp)
        self._producer.poll(0)
        self.sent += 1

    @contextlib.contextmanager
    def flowing(self):
        """Goes on, some hundred records a second, until the block ends."""
        stopping = threading.Event()

        def flow() -> None:
            while not stopping.wait(0.003):
                self._send_one()

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            flown = pool.submit(flow)
            try:
                yield
            finally:
                stopping.set()
            flown.result()
        assert self._producer.flush(20) == 0


def kill_at_work(feed: Feed, outcomes: list[Outcome], instances: list[Instance], again, tasks: set[str]) -> list[Instance]:
    """The last of the instances is killed amid the flow, and started `again`; returns the instances that are there then."""
    with feed.flowing():
        before = sum(len(outcome.read_on().rows) for outcome in outcomes)
        await_until(lambda: sum(len(outcome.read_on().rows) for outcome in outcomes) > before + 100, "what flows is processed")
        instances[-1].kill()
        instances = [*instances[:-1], again()]
        await_shared(instances, tasks)
    return instances


# ---- without a state ----------------------------------------------------------------------------------------------

SQUARES_TASKS = {f"0_{index}" for index in range(PARTITIONS)}


def squares(broker, folder) -> None:
    name = "squares"
    feed = Feed(broker, name, lambda n: (f"key-{n % 7}", str(n), 0))
    for topic in ("even", "odd"):
        broker.create_topic(f"{name}-{topic}", OUTCOME_PARTITIONS)
    even, odd = (Outcome(broker, f"{name}-{topic}", OUTCOME_PARTITIONS) for topic in ("even", "odd"))

    def expected(remainder: int) -> dict[str, list[str]]:
        values = collections.defaultdict(list)
        for n in range(feed.sent):
            if n % 3 and n % 2 == remainder:
                values[f"key-{n % 7}"].append(str(n * n))
        return values

    def settle(*instances: Instance) -> None:
        await_done(list(instances), broker, name, [f"{name}-input"])

    def is_exact() -> None:
        assert even.read_on().by_key() == expected(0) and odd.read_on().by_key() == expected(1)

    feed.send(300)
    first = Instance("squares", name, broker, folder / "first")
    settle(first)
    is_exact()
    # At rest: what came while nobody was there is taken up from where the killed process stood.
    first.kill()
    feed.send(300)
    first = Instance("squares", name, broker, folder / "first")
    settle(first)
    is_exact()
    second = Instance("squares", name, broker, folder / "second")
    await_shared([first, second], SQUARES_TASKS)
    feed.send(300)
    settle(first, second)
    is_exact()
    instances = kill_at_work(
        feed, [even, odd], [first, second], lambda: Instance("squares", name, broker, folder / "second"), SQUARES_TASKS
    )
    settle(*instances)
    for outcome, remainder in ((even, 0), (odd, 1)):
        found = {key: list(dict.fromkeys(values)) for key, values in outcome.read_on().by_key().items()}
        assert found == expected(remainder), "all of it, in order, but for what was done again"
        outcome.close()
    for instance in instances:
        instance.stop()


# ---- with state ---------------------------------------------------------------------------------------------------

# Words are regrouped from the input's partitions (0_n) to their own ones (1_n), which have the stores.
WORDS = "words"
WORDS_TASKS = {f"{part}_{index}" for part in (0, 1) for index in range(PARTITIONS)}
REPARTITION = f"{WORDS}-words-repartition"
CHANGELOGS = {store: f"{WORDS}-{store}-changelog" for store in ("totals", "hours")}


class Words:
    """The application on a broker: its input, what it is to count of it, and what it counted."""

    def __init__(self, broker, folder) -> None:
        self.broker, self.folder = broker, folder
        self._base_ms = (int(time.time() * 1000) // HOUR_MS - 4) * HOUR_MS
        self.feed = Feed(broker, WORDS, lambda n: (f"line-{n % 13}", " ".join(self._line(n)), self._hour(n) + n % 1000))
        for topic in CHANGELOGS:
            broker.create_topic(f"{WORDS}-{topic}", OUTCOME_PARTITIONS)
        self.outcomes = {topic: Outcome(broker, f"{WORDS}-{topic}", OUTCOME_PARTITIONS) for topic in CHANGELOGS}

    def _line(self, n: int) -> list[str]:
        return [VOCABULARY[(n * n + k * 5 + n // 3) % len(VOCABULARY)] for k in range(3)]

    def _hour(self, n: int) -> int:
        return self._base_ms + n % 3 * HOUR_MS

    @property
    def fed(self) -> int:
        """How many words there are so far."""
        return 3 * self.feed.sent

    def expected(self) -> dict[str, dict[str, int]]:
        totals, hours = collections.Counter(), collections.Counter()
        for n in range(self.feed.sent):
            totals.update(self._line(n))
            hours.update(f"{word}@{self._hour(n)}" for word in self._line(n))
        return {"totals": totals, "hours": hours}

    def instance(self, place: str) -> Instance:
        return Instance("words", WORDS, self.broker, self.folder / place, **SEGMENTS)

    def settle(self, *instances: Instance) -> None:
        await_done(list(instances), self.broker, WORDS, [f"{WORDS}-input", REPARTITION])

    def is_exact(self) -> None:
        """Every single step of each count is there, once, in order."""
        for topic, counts in self.expected().items():
            steps = {key: [str(step) for step in range(1, count + 1)] for key, count in counts.items()}
            assert self.outcomes[topic].read_on().by_key() == steps

    def is_complete(self) -> None:
        """Nothing is left out; some of it may be counted twice."""
        for topic, counts in self.expected().items():
            found = {key: int(values[-1]) for key, values in self.outcomes[topic].read_on().by_key().items()}
            assert found.keys() == counts.keys() and all(found[key] >= count for key, count in counts.items())

    def end(self, *instances: Instance) -> None:
        for outcome in self.outcomes.values():
            outcome.close()
        for instance in instances:
            instance.stop()


def words(broker, folder) -> None:
    words = Words(broker, folder)
    words.feed.send(300)
    first = words.instance("first")
    words.settle(first)
    words.is_exact()
    assert first.restored == {"totals": 0, "hours": 0}

    def is_compacted() -> bool:
        # A segment is closed when a record comes after its time.
        words.feed.send(10)
        words.settle(first)
        return all(kept(broker, topic) < sum(end_offsets(broker, topic).values()) / 2 for topic in CHANGELOGS.values())

    await_until(is_compacted, "half of the changelogs and more is compacted away", 40, every_s=0.3)
    # At rest: another machine, without any state, counts on from what the changelogs still tell.
    first.kill()
    counted = words.fed
    words.feed.send(200)
    first = words.instance("elsewhere")
    words.settle(first)
    words.is_exact()
    for store, keys in words.expected().items():
        assert len(keys) <= first.restored[store] < counted
    # The second instance takes half of the tasks, with what the first one had counted in them.
    second = words.instance("second")
    await_shared([first, second], WORDS_TASKS)
    words.feed.send(200)
    words.settle(first, second)
    words.is_exact()
    assert 0 < second.restored["totals"] < words.fed
    instances = kill_at_work(words.feed, list(words.outcomes.values()), [first, second], lambda: words.instance("second"), WORDS_TASKS)
    words.settle(*instances)
    words.is_complete()

    # What is processed is deleted from the repartition topic, which keeps nothing for long by itself.
    def is_purged() -> bool:
        return end_offsets(broker, REPARTITION, wire.EARLIEST) == end_offsets(broker, REPARTITION)

    await_until(is_purged, "the repartition topic is purged")
    assert sum(end_offsets(broker, REPARTITION).values()) >= words.fed
    words.end(*instances)


def survive(broker, folder) -> None:
    """The broker is killed amid the work of two instances, and started again: they go on by themselves."""
    broker.start()
    words = Words(broker, folder)
    instances = [words.instance(place) for place in ("first", "second")]
    await_shared(instances, WORDS_TASKS)
    with words.feed.flowing():
        totals = words.outcomes["totals"]
        await_until(lambda: len(totals.read_on().rows) > 100, "what flows is processed")
        broker.kill()
        broker.start()
        before = words.fed
        await_until(lambda: len(totals.read_on(40).rows) > before + 100, "what flows is processed again", 40)
    words.settle(*instances)
    words.is_complete()
    words.end(*instances)
    broker.stop()


def kept(broker, topic: str) -> int:
    """How many records there are, of those that were ever written."""
    everything = Outcome(broker, topic, PARTITIONS)
    try:
        return len(everything.read_on().rows)
    finally:
        everything.close()


# ---- the tests ----------------------------------------------------------------------------------------------------

APPLICATIONS = ["squares", "words"]


@pytest.fixture(scope="module")
def broker(new_broker):
    compacting = new_broker(COMPACTING).start()
    yield compacting
    compacting.stop()


@pytest.fixture(scope="module")
def outcome(broker, new_broker, tmp_path_factory):
    """Waits for what has this name, and raises what failed in it."""
    class_path()
    scenarios = {"squares": (squares, broker), "words": (words, broker), "survive": (survive, new_broker(COMPACTING))}
    with concurrent.futures.ThreadPoolExecutor(len(scenarios)) as pool:
        ran = {name: pool.submit(run, on, tmp_path_factory.mktemp(name)) for name, (run, on) in scenarios.items()}
        yield lambda name: ran[name].result()
        end_instances()


def test_a_job_without_state_is_complete_while_its_instances_come_share_die_and_return(outcome):
    outcome("squares")


def test_a_job_with_state_counts_on_from_its_changelogs_wherever_it_is_started_again(outcome):
    outcome("words")


def test_instances_go_on_by_themselves_after_the_broker_was_killed(outcome):
    outcome("survive")


def test_the_topics_of_a_job_are_as_streams_wants_them(outcome, broker):
    outcome("words")
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    expected = {
        REPARTITION: {"cleanup.policy": "delete", "retention.ms": "-1", "segment.bytes": "52428800"},
        CHANGELOGS["totals"]: {"cleanup.policy": "compact", "message.timestamp.type": "CreateTime"},
        CHANGELOGS["hours"]: {"cleanup.policy": "compact,delete", "message.timestamp.type": "CreateTime"},
    }
    found = admin.describe_configs([ConfigResource("topic", topic) for topic in expected])
    for resource, future in found.items():
        told = {name: entry.value for name, entry in future.result(20).items() if name in expected[resource.name]}
        assert told | {"cleanup.policy": ",".join(sorted(told["cleanup.policy"].split(",")))} == expected[resource.name]
        assert len(end_offsets(broker, resource.name)) == PARTITIONS


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_is_a_group_of_the_classic_protocol_by_default(outcome, broker, name):
    outcome(name)
    with broker.connect() as connection:
        group = protocol.DESCRIBE_GROUPS.ask(connection, 5, groups=[name]).groups[0]
    assert group.error == 0 and group.protocol_type == "consumer"
    assert {member.client_id.partition("-")[0] for member in group.members} <= {name}


@pytest.mark.buslane_only(reason="Apache Kafka serves the streams protocol, and transactions")
@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("group.protocol", "streams", "UnsupportedVersionException: The cluster does not support the STREAMS group protocol"),
        ("processing.guarantee", "exactly_once_v2", "TransactionalIdAuthorizationException"),
    ],
    ids=["streams protocol", "exactly once"],
)
def test_what_is_not_served_ends_an_instance_at_once_with_the_reason(broker, topic, tmp_path, setting, value, reason):
    for part in ("input", "even", "odd"):
        broker.create_topic(f"{topic}-{part}")
    instance = Instance("squares", topic, broker, tmp_path, **{setting: value})
    (failure,) = await_until(lambda: instance.told("failure"), "the instance says why it ends")
    assert reason in failure
    instance.stop()
