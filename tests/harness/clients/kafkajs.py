"""kafkajs, as a producer (tests/kafkajs-driver)."""

import atexit
import functools
import os
import shutil

from ..cache import TESTS, built, run
from .base import Client
from .driver import ClientError, Driver

PROJECT = TESTS / "kafkajs-driver"


@functools.cache
def node_modules() -> str:
    package = PROJECT / "package.json"
    with built("kafkajs-driver", [package]) as (folder, complete):
        if not complete:
            shutil.copy(package, folder / "package.json")
            # Exact versions stand in package.json; a lock file would only add where they came from.
            run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)
        return str(folder / "node_modules")


class KafkaJs(Client):
    name = "kafkajs"
    can_produce = True
    produce_errors = (ClientError,)
    # Its encoder takes the length of a header's value before it looks whether there is one.
    sends_null_headers = False

    @functools.cached_property
    def driver(self) -> Driver:
        driver = Driver(
            ["node", str(PROJECT / "driver.mjs")], env={**os.environ, "NODE_MODULES": node_modules(), "KAFKAJS_NO_PARTITIONER_WARNING": "1"}
        )
        atexit.register(driver.close)
        return driver

    def produce(self, bootstrap, topic, partition, records, codec="none", idempotent=True, **_config):
        return self.driver.ask(
            "produce",
            bootstrap=bootstrap,
            topic=topic,
            partition=partition,
            codec=codec,
            idempotent=idempotent,
            records=[record.to_json() for record in records],
        )

    def close(self) -> None:
        if "driver" in self.__dict__:
            self.driver.close()
            del self.driver
