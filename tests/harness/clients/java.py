"""The Java producer, consumer and admin client, in one JVM (tests/java-driver)."""

import atexit
import functools

from ..cache import TESTS, built, run
from ..records import Record
from .base import Client, Start
from .driver import ClientError, Driver

PROJECT = TESTS / "java-driver"
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


@functools.cache
def class_path() -> str:
    sources = sorted((PROJECT / "src").rglob("*.java"))
    with built("java-driver", [PROJECT / "pom.xml", *sources]) as (folder, complete):
        if not complete:
            run(["mvn", "-q", "-B", "-f", PROJECT / "pom.xml", COPY_JARS, "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}"])
            run(["javac", "--release", "17", "-cp", f"{folder / 'lib'}/*", "-d", folder / "classes", *sources])
        return f"{folder / 'classes'}:{folder / 'lib'}/*"


class Java(Client):
    name = "java"
    can_produce = True
    can_consume = True
    produce_errors = (ClientError,)

    @functools.cached_property
    def driver(self) -> Driver:
        driver = Driver(
            ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", class_path(), "buslane.tests.Driver"]
        )
        atexit.register(driver.close)
        return driver

    def produce(self, bootstrap, topic, partition, records, codec="none", idempotent=True, **config):
        config = {
            "compression.type": codec,
            "enable.idempotence": str(idempotent).lower(),
            "acks": "all",
            "max.in.flight.requests.per.connection": "5" if idempotent else "1",
            **config,
        }
        return self.driver.ask(
            "produce",
            bootstrap=bootstrap,
            topic=topic,
            partition=partition,
            config=config,
            records=[record.to_json() for record in records],
        )

    def consume(self, bootstrap, topic, partition, start: Start, count, deadline_s=15.0, **config):
        rows = self.driver.ask(
            "consume",
            bootstrap=bootstrap,
            topic=topic,
            partition=partition,
            start=start,
            count=count,
            deadline_ms=int(deadline_s * 1000),
            config=config,
        )
        return [Record.from_json(row) for row in rows]

    def read_to_end(self, bootstrap, topic, partition, deadline_s=15.0, **config) -> tuple[int, int, list[Record]]:
        """The end offset, the position that was reached, and the records."""
        found = self.driver.ask(
            "read-to-end", bootstrap=bootstrap, topic=topic, partition=partition, deadline_ms=int(deadline_s * 1000), config=config
        )
        return found["end"], found["position"], [Record.from_json(row) for row in found["rows"]]

    def offsets_for_times(self, bootstrap, topic, partition, timestamps):
        found = self.driver.ask("offsets-for-times", bootstrap=bootstrap, topic=topic, partition=partition, timestamps=timestamps)
        return {t: (found[str(t)] or {}).get("offset") for t in timestamps}

    def group_admin(self, bootstrap, operation, **request):
        return self.driver.ask("group-admin", bootstrap=bootstrap, operation=operation, **request)

    def admin(self, bootstrap, operation, **request):
        return self.driver.ask("admin", bootstrap=bootstrap, operation=operation, **request)

    def close(self) -> None:
        if "driver" in self.__dict__:
            self.driver.close()
            del self.driver
