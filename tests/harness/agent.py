"""A Databus agent under test: the process, its configuration file, and requests as a service of its host sends them."""

import http.client
import json
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .broker import START_DEADLINE_S, STOP_DEADLINE_S, StartFailed, await_until, buslane_binary, free_port


@dataclass
class Reply:
    """An answer over HTTP. `json` is its body, where that is JSON."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Agent:
    """One agent on a spool of its own. `start` again after `stop` or `kill` continues with the same spool.

    `bootstrap`: the cluster "main". `channels`: their sections, {"orders": {"level": "disk"}}.
    """

    def __init__(self, bootstrap: str, channels: dict[str, dict[str, object]], **agent: object) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="buslane-test-agent-"))
        self.port = free_port()
        self.socket = self.root / "agent.sock"
        self.clusters: dict[str, dict[str, object]] = {"main": {"bootstrap": [bootstrap]}}
        self.channels = channels
        self.agent = {
            "listen": f"127.0.0.1:{self.port}",
            "socket": str(self.socket),
            "spool": str(self.root / "spool"),
            "disk_reserve": "1MiB",
            **agent,
        }
        self.config_path = self.root / "agent.toml"
        self.log_path = self.root / "agent.log"
        self.process: subprocess.Popen | None = None

    def write_config(self) -> None:
        """The file as it is to be now; replaced in one step."""
        lines = ["[agent]", *_keys(self.agent)]
        for name, keys in self.clusters.items():
            lines += [f"[clusters.{name}]", *_keys({k: v for k, v in keys.items() if not isinstance(v, dict)})]
            for part, inner in keys.items():
                if isinstance(inner, dict):
                    lines += [f"[clusters.{name}.{part}]", *_keys(inner)]
        for name, keys in self.channels.items():
            lines += [f"[channels.{json.dumps(name)}]", *_keys(keys)]
        written = self.config_path.with_suffix(".new")
        written.write_text("\n".join(lines) + "\n")
        written.replace(self.config_path)

    def spawn(self) -> int:
        """Starts the process without waiting for it; returns how much of the log there was before."""
        self.write_config()
        command = [str(buslane_binary()), "agent", "--config", str(self.config_path)]
        with open(self.log_path, "ab") as log:
            written_before = log.tell()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return written_before

    def start(self) -> "Agent":
        written_before = self.spawn()
        end = time.monotonic() + START_DEADLINE_S
        while not self.answers():
            code = self.process.poll()
            if code is not None or time.monotonic() > end:
                self.kill()
                raise StartFailed(code, self.log_path.read_bytes()[written_before:].decode(errors="replace"))
            time.sleep(0.01)
        return self

    def answers(self) -> bool:
        try:
            return self.request("GET", "/healthz", timeout=2).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop(self) -> None:
        """SIGTERM; the exit must be clean and in time."""
        assert self.process is not None, "not started"
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running {STOP_DEADLINE_S} s after SIGTERM") from None
        self.process = None
        assert code == 0, f"exit code {code} after SIGTERM"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method: str, path: str, body: bytes | str | None = None, *, unix: bool = False, timeout: float = 30, **headers) -> Reply:
        """`headers`: underscores stand for dashes."""
        connection = UnixConnection(self.socket, timeout) if unix else self.connect(timeout)
        try:
            return send(connection, method, path, body, headers)
        finally:
            connection.close()

    def post(self, channel: str, body: bytes | str, query: str = "", **options) -> Reply:
        """One event."""
        return self.request("POST", f"/v1/channels/{channel}/events{query}", body, **options)

    def post_batch(self, channel: str, body: bytes | str, content_type: str = "application/x-ndjson", query: str = "", **options) -> Reply:
        return self.request("POST", f"/v1/channels/{channel}/events:batch{query}", body, Content_Type=content_type, **options)

    def channel(self, name: str) -> dict:
        """What the agent says of a channel, of one too that only empties its spool."""
        listed = self.request("GET", "/v1/channels").json["channels"]
        return next(channel for channel in listed if channel["name"] == name)

    def version(self) -> int:
        return self.request("GET", "/v1/channels").json["version"]

    def metric(self, name: str, channel: str) -> float:
        lines = self.request("GET", "/metrics").body.decode().splitlines()
        assert lines[-1] == "# EOF"
        series = f'buslane_agent_{name}{{channel="{channel}"}} '
        return next(float(line.removeprefix(series)) for line in lines if line.startswith(series))

    def await_drained(self, channel: str, deadline_s: float = 60) -> None:
        await_until(lambda: self.channel(channel)["waiting_events"] == 0, f"{channel} is in the cluster", deadline_s, 0.05)

    def memory_kib(self) -> int:
        """Anonymous resident memory (RssAnon) in KiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
        raise AssertionError("no RssAnon in /proc/PID/status")


def send(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | str | None, headers: dict[str, str]) -> Reply:
    """A request over an open connection."""
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def _keys(keys: dict[str, object]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
