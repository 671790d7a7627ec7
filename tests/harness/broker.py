"""The broker under test: Buslane, or a real Apache Kafka that proves the tests true. Both offer the same handles."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from . import wire
from .cache import CHECKOUT, cache_root

START_DEADLINE_S = 60
STOP_DEADLINE_S = 30


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def await_until(condition, what: str, deadline_s: float = 20.0, every_s: float = 0.02):
    """Calls `condition` until it returns something true, and returns that; fails with `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(every_s)


class StartFailed(Exception):
    """The broker ended, or did not answer in time. `output` is all that it said, `code` its exit code or None."""

    def __init__(self, code: int | None, output: str) -> None:
        super().__init__(f"exit code {code}; its output:\n{output}")
        self.code = code
        self.output = output


class Broker:
    """One broker process on a data folder of its own. `start` again after `stop` or `kill` continues with the same data."""

    kind: str

    def __init__(self, settings: dict[str, object] | None = None, data: Path | None = None) -> None:
        self.settings = settings or {}
        self.root = Path(tempfile.mkdtemp(prefix=f"buslane-test-{self.kind}-"))
        self.data = data or self.root / "data"
        self.port = free_port()
        self.log_path = self.root / "broker.log"
        self.pid: int | None = None

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connect(self, timeout: float = 10.0, client_id: str | None = "raw") -> wire.Connection:
        return wire.Connection(self.address, timeout, client_id)

    def answers(self) -> bool:
        """True once an ApiVersions request is answered and a topic can be led: what "ready" means to a client."""
        try:
            with self.connect(timeout=2.0) as connection:
                wire.api_versions(connection)
            return True
        except (OSError, wire.ConnectionClosed, TimeoutError, AssertionError):
            return False

    def create_topic(self, topic: str, partitions: int = 1, **config: str) -> None:
        """Creates the topic and waits until every partition is led. `config` keys have underscores for dots."""
        with self.connect() as connection:
            error, message = wire.create_topic(
                connection, topic, partitions, {name.replace("_", "."): str(value) for name, value in config.items()}
            )
            assert error == 0, f"{wire.error_name(error)}: {message}"
            # ListOffsets is answered by the partition's leader itself, so it proves more than Metadata does.
            for partition in range(partitions):
                await_until(
                    lambda p=partition: wire.list_offset(connection, topic, p, wire.LATEST).error == 0, f"{topic}-{partition} is led"
                )

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def memory_kib(self) -> int:
        """Anonymous resident memory (RssAnon) in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
        raise AssertionError("no RssAnon in /proc/PID/status")

    def remove(self) -> None:
        """Ends the process if it runs and deletes everything."""
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def start(self) -> "Broker":
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        raise NotImplementedError


def buslane_binary() -> Path:
    """BUSLANE_BIN, or a debug build in the shared target folder (cargo decides what there is to do)."""
    if os.environ.get("BUSLANE_BIN"):
        return Path(os.environ["BUSLANE_BIN"]).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR") or cache_root() / "target")
    subprocess.run(
        ["cargo", "build", "--locked", "-q", "-p", "buslane"],
        cwd=CHECKOUT,
        env={**os.environ, "CARGO_TARGET_DIR": str(target)},
        check=True,
    )
    binary = target / "debug" / "buslane"
    os.environ["BUSLANE_BIN"] = str(binary)
    return binary


class BuslaneBroker(Broker):
    """`buslane server`. `settings` are keys of its configuration file with their sections: {"limits.memory": "256MiB"}.
    With `http` it has its HTTP listener."""

    kind = "buslane"

    def __init__(self, settings: dict[str, object] | None = None, data: Path | None = None, http: bool = False) -> None:
        super().__init__(settings, data)
        self.http = f"127.0.0.1:{free_port()}" if http else "off"
        self.process: subprocess.Popen | None = None

    def command(self) -> list[str]:
        command = [str(buslane_binary()), "server", "--data", str(self.data), "--listen", self.bootstrap, "--http", self.http]
        if self.settings:
            config = self.root / "buslane.toml"
            config.write_text(toml(self.settings))
            command += ["--config", str(config)]
        return command

    def metric(self, name: str, **labels: object) -> float:
        """The value of a metric with these labels and no others, as /metrics tells it. It must have its HELP."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        helped = any(line.startswith(f"# HELP {name.removesuffix('_total')} ") for line in lines)
        assert lines[-1] == "# EOF" and lines.count("# EOF") == 1
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        for line in lines:
            series, _, value = line.rpartition(" ")
            found, _, told = series.partition("{")
            if found == name and set(told.rstrip("}").split(",")) - {""} == wanted:
                assert helped, f"{name} has no HELP"
                return float(value)
        raise AssertionError(f"no {name} with {labels} among {[line for line in lines if line.startswith(name)]}")

    def spawn(self) -> int:
        """Starts the process without waiting for it; returns how much of the log there was before."""
        with open(self.log_path, "ab") as log:
            written_before = log.tell()
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = self.process.pid
        return written_before

    def start(self) -> "BuslaneBroker":
        written_before = self.spawn()
        end = time.monotonic() + START_DEADLINE_S
        while not self.answers():
            code = self.process.poll()
            if code is not None or time.monotonic() > end:
                self.kill()
                raise StartFailed(code, self.log_path.read_bytes()[written_before:].decode(errors="replace"))
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """SIGTERM; the exit must be clean and in time."""
        assert self.process is not None, "not started"
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running {STOP_DEADLINE_S} s after SIGTERM") from None
        self.process, self.pid = None, None
        assert code == 0, f"exit code {code} after SIGTERM"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process, self.pid = None, None


class KafkaBroker(Broker):
    """Apache Kafka through scripts/apache-kafka. `settings` are lines of server.properties."""

    kind = "kafka"
    script = CHECKOUT / "scripts" / "apache-kafka"

    def __init__(self, settings: dict[str, object] | None = None, data: Path | None = None) -> None:
        super().__init__(settings, data)
        self.log_path = self.data / "kafka.log"

    def start(self) -> "KafkaBroker":
        command = [str(self.script), "start", "--port", str(self.port), "--data", str(self.data)]
        for name, value in self.settings.items():
            command += ["--set", f"{name}={value}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise StartFailed(done.returncode, done.stderr)
        self.pid = int(done.stdout)
        await_until(self.answers, "Apache Kafka answers ApiVersions", START_DEADLINE_S)
        return self

    def stop(self) -> None:
        subprocess.run([str(self.script), "stop", "--data", str(self.data)], check=True, stdin=subprocess.DEVNULL)
        self.pid = None

    def kill(self) -> None:
        if self.pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        await_until(lambda: not _is_alive(self.pid), "the killed Apache Kafka is gone")
        self.pid = None


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def toml(settings: dict[str, object]) -> str:
    """A TOML document of dotted keys. Strings are quoted, the rest stands as it is."""

    def literal(value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return str(value)

    return "".join(f"{name} = {literal(value)}\n" for name, value in settings.items())
