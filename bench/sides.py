"""What the benchmarks share: the brokers that are compared, each on its core, and how figures are told."""

import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

BROKER_CORE, LOAD_CORE = "0", "1"
TICKS = os.sysconf("SC_CLK_TCK")
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "buslane/target")
BIN = Path(os.environ.get("BUSLANE_RELEASE") or TARGET / "release")


def run(command: list, core: str | None = None) -> str:
    pinned = ["taskset", "-c", core, *command] if core else command
    done = subprocess.run([str(c) for c in pinned], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nexit code {done.returncode}\n{done.stderr}")
    return done.stdout


def first_line(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(name))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A broker on its core, with a data folder of its own."""

    data: Path
    pid: int
    bootstrap: str
    running: set[int] = set()

    @classmethod
    def kill_all(cls) -> None:
        """What a benchmark that failed has left running."""
        for pid in cls.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def shut_down(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """The end of it and of its data."""
        self.shut_down()
        shutil.rmtree(self.data, ignore_errors=True)

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def anonymous_mib(self) -> float:
        return int(first_line(f"/proc/{self.pid}/status", "RssAnon").split()[0]) / 1024

    def resident_mib(self) -> float:
        return int(first_line(f"/proc/{self.pid}/status", "VmRSS").split()[0]) / 1024

    def bench(self, verb: str, topic: str, *options: str) -> dict:
        return json.loads(run(self.bench_command(verb, topic, *options), LOAD_CORE))

    def bench_command(self, verb: str, topic: str, *options: str) -> list:
        return [BIN / "buslane", "bench", verb, topic, "-b", self.bootstrap, "--json", "-q", *options]

    def create(self, topic: str, partitions: int, **config: object) -> None:
        settings = [part for key, value in config.items() for part in ("--config", f"{key.replace('_', '.')}={value}")]
        run([BIN / "buslane", "topic", "create", "-b", self.bootstrap, topic, "--partitions", str(partitions), *settings])
        # Tells offsets of every partition: each is led by then.
        run([BIN / "buslane", "topic", "describe", "-b", self.bootstrap, topic, "--timeout", "60s"])


class Broker(Server):
    """`buslane server`."""

    name = "Buslane"

    def __init__(self, data: Path, *settings: str) -> None:
        self.data, self.settings, self.process = data, settings, None

    def start(self, port: int = 0) -> "Broker":
        config = self.data.with_suffix(".toml")
        config.write_text("\n".join(self.settings))
        command = ["taskset", "-c", BROKER_CORE, BIN / "buslane", "server", "--config", config, "--data", self.data]
        command += ["--listen", f"127.0.0.1:{port}", "--http", "off", "--json", "--log-level", "warn"]
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
        self.bootstrap = json.loads(self.process.stdout.readline())["kafka"]
        self.pid = self.process.pid
        self.running.add(self.pid)
        return self

    def kill(self) -> None:
        self.running.discard(self.pid)
        self.process.kill()
        self.process.wait()

    def shut_down(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.running.discard(self.pid)


class Kafka(Server):
    """Apache Kafka with the settings of scripts/apache-kafka, which are Kafka's own but for what one node needs."""

    name = "Apache Kafka"
    script = Path(__file__).resolve().parent.parent / "scripts" / "apache-kafka"

    def __init__(self, data: Path, heap: str = "1g", **settings: object) -> None:
        self.data, self.heap, self.settings = data, heap, settings

    def start(self, port: int = 0) -> "Kafka":
        port = port or free_port()
        sets = [part for key, value in self.settings.items() for part in ("--set", f"{key.replace('_', '.')}={value}")]
        started = run([self.script, "start", "--port", port, "--data", self.data, "--heap", self.heap, *sets], BROKER_CORE)
        self.pid, self.bootstrap = int(started), f"127.0.0.1:{port}"
        self.running.add(self.pid)
        return self

    def shut_down(self) -> None:
        run([self.script, "stop", "--data", self.data])
        self.running.discard(self.pid)

    @staticmethod
    def version() -> str:
        return run([Kafka.script, "version"]).strip()

def limit(folder: Path, *mode: str) -> dict:
    return json.loads(run([BIN / "buslane-limits", "--dir", folder, *mode]))


def middle(values: list[float], form: str = "{:.2f}") -> str:
    spread = f"{form.format(min(values))} to {form.format(max(values))}"
    return f"{form.format(statistics.median(values))} ({spread})"


def verdict(ratio: float, target: float) -> str:
    return "met" if ratio <= target else "**missed**"


def begun(server: Server) -> float:
    """Milliseconds from a broker's start to the acknowledgement of the first record; its client tries each millisecond, and was started
    before."""
    port = free_port()
    command = [BIN / "buslane-limits", "first", "--bootstrap", f"127.0.0.1:{port}", "--topic", "first"]
    client = subprocess.Popen(["taskset", "-c", LOAD_CORE, *map(str, command)], stdout=subprocess.PIPE, text=True)
    began = time.monotonic()
    server.start(port)
    told, _ = client.communicate(timeout=180)
    return (json.loads(told)["acknowledged_s"] - began) * 1e3


def machine() -> str:
    commit = run(["git", "rev-parse", "--short", "HEAD"]).strip()
    cpu = first_line("/proc/cpuinfo", "model name")
    return f"commit {commit}; {os.cpu_count()} cores of {cpu}, Linux {platform.release()}"
