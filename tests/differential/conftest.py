"""Both brokers side by side, each with settings that make them alike where they have a choice."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import BROKERS, SETTINGS
from harness import wire
from harness.broker import Broker
from harness.messages import Api

from .script import Script

ALIKE: dict[str, dict[str, object]] = {
    "kafka": {"group.initial.rebalance.delay.ms": 0},
    "buslane": {"groups.initial_rebalance_delay": "0s", "server.node_id": 1},
}
# What clients ask; the rest is between brokers.
ASKED = [
    "Produce",
    "Fetch",
    "ListOffsets",
    "Metadata",
    "OffsetCommit",
    "OffsetFetch",
    "FindCoordinator",
    "JoinGroup",
    "Heartbeat",
    "LeaveGroup",
    "SyncGroup",
    "DescribeGroups",
    "ListGroups",
    "ApiVersions",
    "CreateTopics",
    "DeleteTopics",
    "DeleteRecords",
    "InitProducerId",
    "OffsetForLeaderEpoch",
    "DescribeConfigs",
    "AlterConfigs",
    "DescribeLogDirs",
    "CreatePartitions",
    "DeleteGroups",
    "ElectLeaders",
    "IncrementalAlterConfigs",
    "OffsetDelete",
    "DescribeQuorum",
    "DescribeCluster",
    "ConsumerGroupHeartbeat",
    "ConsumerGroupDescribe",
    "ListConfigResources",
    "DescribeTopicPartitions",
    "DescribeProducers",
    "AlterReplicaLogDirs",
    "AlterPartitionReassignments",
    "ListPartitionReassignments",
    "DescribeClientQuotas",
    "AlterClientQuotas",
]


class Pair:
    """The two brokers, and what both of them serve."""

    def __init__(self, brokers: dict[str, Broker], pool: ThreadPoolExecutor) -> None:
        self.brokers, self._pool = brokers, pool
        self.served: dict[str, tuple[int, int]] = {}

    def on_both(self, act) -> dict[str, object]:
        """act(broker) on both at once."""
        running = {kind: self._pool.submit(act, broker) for kind, broker in self.brokers.items()}
        return {kind: one.result() for kind, one in running.items()}

    def learn(self) -> None:
        """What both serve."""

        def advertised(broker: Broker) -> dict[int, tuple[int, int]]:
            with broker.connect() as connection:
                return wire.api_versions(connection)

        tables = list(self.on_both(advertised).values())
        for name in ASKED:
            key = Api(name).key
            if all(key in table for table in tables):
                lowest, highest = max(table[key][0] for table in tables), min(table[key][1] for table in tables)
                self.served[name] = (lowest, highest)

    def play(self, scenario) -> dict[str, Script]:
        """Runs a scenario on both; what it raises becomes the last step."""

        def run(broker: Broker) -> Script:
            script = Script(broker, scenario.name, self.served)
            try:
                scenario.play(script)
            except Exception as failure:
                script.tell("the scenario failed", f"{type(failure).__name__}: {failure}")
                script.failure = failure
            finally:
                script.close()
            return script

        return self.on_both(run)


@pytest.fixture(scope="session")
def pair(request):
    settings = {kind: {**SETTINGS[kind], **ALIKE[kind]} for kind in ("kafka", "buslane")}
    # DescribeConfigs tells what is set; this is the same by default.
    del settings["kafka"]["log.segment.delete.delay.ms"]
    brokers = {kind: BROKERS[kind](settings[kind]) for kind in settings}
    with ThreadPoolExecutor(len(brokers)) as pool:
        both = Pair(brokers, pool)
        try:
            both.on_both(lambda broker: broker.start())
            both.learn()
            yield both
            both.on_both(lambda broker: broker.stop())
        finally:
            for broker in brokers.values():
                if request.config.getoption("--keep"):
                    broker.kill()
                    print(f"kept: {broker.root}")
                else:
                    broker.remove()
