"""Apache Kafka's own command-line tools (tests/kafka-tools), each run as its script would run it."""

import functools
import subprocess

from .cache import TESTS, built, run

PROJECT = TESTS / "kafka-tools"
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
CLASSES = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "cluster": "org.apache.kafka.tools.ClusterTool",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "connect-standalone": "org.apache.kafka.connect.cli.ConnectStandalone",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
}


@functools.cache
def class_path() -> str:
    with built("kafka-tools", [PROJECT / "pom.xml"]) as (folder, complete):
        if not complete:
            run(["mvn", "-q", "-B", "-f", PROJECT / "pom.xml", COPY_JARS, "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}"])
        return f"{folder / 'lib'}/*"


def command(tool: str, *arguments: object) -> list[str]:
    log = f"-Dlog4j2.configurationFile={TESTS / 'apache-kafka' / 'log4j2.xml'}"
    java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", log, "-cp", class_path()]
    return [*java, CLASSES[tool], *map(str, arguments)]


def tool(name: str, *arguments: object, input: str | None = None, fails: bool = False) -> str:
    """Runs a tool to its end and returns what it said. `fails`: it is to end with an error, and says why."""
    done = subprocess.run(command(name, *arguments), input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert (done.returncode != 0) == fails, f"kafka-{name} {' '.join(map(str, arguments))}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout
