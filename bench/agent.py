#!/usr/bin/env python3
"""The agent's figures: events for a second of its CPU, drain to a running broker included, and added latency.

    bench/agent.py [--rounds 3] [--seconds 5] [--only cost,latency,memory] [--markdown FILE]

Agent on core 0, broker and services on core 1, loopback. Every round measures each cell one after the other; the table shows
medians with the spread. Beside each: requests without a body that the same agent answers at once, its HTTP alone. Needs the
release binaries: `cargo build --release -p buslane -p buslane-bench` (BUSLANE_RELEASE names their folder).
"""

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from sides import BIN, BROKER_CORE, LOAD_CORE, Broker, Server, limit, machine, middle, run


class LoadedBroker(Broker):
    """The broker that the agent writes to; its CPU is not the agent's."""

    def start(self, port: int = 0) -> "LoadedBroker":
        super().start(port)
        run(["taskset", "-a", "-p", "-c", LOAD_CORE, self.pid])
        return self


class Agent(Server):
    """`buslane agent` on core 0."""

    def __init__(self, folder: Path, bootstrap: str, **channel: object) -> None:
        folder.mkdir(parents=True)
        self.data = folder
        lines = ["[agent]", 'listen = "127.0.0.1:0"', f'spool = "{folder}/spool"', "[clusters.main]", f'bootstrap = ["{bootstrap}"]']
        for level in ("memory", "disk"):
            lines += [f"[channels.{level}]", 'topic = "events"', f'level = "{level}"', *(f"{k} = {json.dumps(v)}" for k, v in channel.items())]
        (folder / "agent.toml").write_text("\n".join(lines))

    def start(self) -> "Agent":
        command = ["taskset", "-c", BROKER_CORE, BIN / "buslane", "agent", "--config", self.data / "agent.toml", "--json", "--log-level", "warn"]
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
        self.http = json.loads(self.process.stdout.readline())["http"]
        self.pid = self.process.pid
        self.running.add(self.pid)
        return self

    def shut_down(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.running.discard(self.pid)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=30) as answer:
            return answer.read()

    def drained(self) -> None:
        while any(channel["waiting_events"] for channel in json.loads(self.get("/v1/channels"))["channels"]):
            time.sleep(0.02)

    def post(self, folder: Path, level: str, events: int, seconds: int, rate: int = 0) -> tuple[dict, float]:
        """What the services saw, and the agent's CPU seconds until all is in the cluster."""
        to = f"POST /v1/channels/{level}/events" + (":batch" if events > 1 else "")
        before = self.cpu()
        told = limit(folder, "post", "--agent", self.http, "--to", to, "--events", events, "--seconds", seconds, "--rate", rate)
        self.drained()
        return told, self.cpu() - before


CELLS = [("single events", "memory", 1, 40_000), ("single events", "disk", 1, 25_000), ("NDJSON, 500 a request", "memory", 500, 300_000)]


def cost(folder: Path, broker: Broker, args) -> list[str]:
    lines = ["| events of 1 KiB, 64 connections | codec | events a CPU second of the agent | wall, events/s | HTTP alone, requests a CPU second | target | |",
             "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for codec in ("none", "lz4"):
        agent = Agent(folder / f"cost-{codec}", broker.bootstrap, compression=codec).start()
        found: dict[tuple, list] = {cell: [] for cell in CELLS}
        bare = []
        for _ in range(args.rounds):
            before = agent.cpu()
            told = limit(folder, "post", "--agent", agent.http, "--to", "GET /healthz", "--events", "0", "--seconds", args.seconds)
            bare.append(told["requests"] / (agent.cpu() - before))
            for cell in CELLS:
                told, cpu = agent.post(folder, cell[1], cell[2], args.seconds)
                found[cell].append((told["events"] / cpu, told["events"] / told["seconds"]))
        agent.stop()
        for cell, rows in found.items():
            name, level, _, target = cell
            each = [row[0] for row in rows]
            told = "" if codec != "none" else "met" if statistics.median(each) >= target else "**missed**"
            goal = f"{target:,}" if codec == "none" else ""
            lines.append(f"| {name} at `{level}` | {codec} | {middle(each, '{:,.0f}')} | {statistics.median(row[1] for row in rows):,.0f} | {middle(bare, '{:,.0f}')} | {goal} | {told} |")
    return lines


def latency(folder: Path, broker: Broker, args) -> list[str]:
    agent = Agent(folder / "latency", broker.bootstrap, compression="none").start()
    memory, disk, bare = [], [], []
    for _ in range(args.rounds):
        memory.append(agent.post(folder, "memory", 1, args.seconds, 5_000)[0]["p99_ms"])
        disk.append(agent.post(folder, "disk", 1, args.seconds, 5_000)[0]["p99_ms"])
        bare.append(limit(folder, "fsync", "--seconds", args.seconds)["p99_us"] / 1e3)
    agent.stop()
    bound = 2 * statistics.median(bare) + 1
    return [
        "| latency of single events at 5,000/s, open loop | p99, ms | group fdatasync of the same bytes, p99, ms | target | |",
        "| --- | --- | --- | --- | --- |",
        f"| `memory` | {middle(memory)} | | 1 | {'met' if statistics.median(memory) <= 1 else '**missed**'} |",
        f"| `disk` | {middle(disk)} | {middle(bare)} | {bound:.2f} | {'met' if statistics.median(disk) <= bound else '**missed**'} |",
    ]


def memory(folder: Path, broker: Broker, args) -> list[str]:
    agent = Agent(folder / "memory", broker.bootstrap).start()
    time.sleep(2)
    idle = agent.anonymous_mib()
    agent.post(folder, "memory", 500, args.seconds)
    time.sleep(2)
    after = agent.anonymous_mib()
    agent.stop()
    return ["| anonymous memory, MiB | | target | |", "| --- | --- | --- | --- |",
            f"| idle | {idle:.1f} | 20 | {'met' if idle <= 20 else '**missed**'} |", f"| idle again after {args.seconds} s of load | {after:.1f} | | |"]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only", default="cost,latency,memory")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--dir", type=Path, help="folder for spools and data; the default is a new one in the system's")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="buslane-agent-bench-", dir=args.dir))
    try:
        broker = LoadedBroker(folder / "broker", 'topics.retention_check = "1s"', 'topics.retention_bytes = "256MiB"', 'topics.segment_bytes = "64MiB"').start()
        broker.create("events", 16)
        lines = [f"{machine()}; {args.rounds} rounds of {args.seconds} s", ""]
        for part in args.only.split(","):
            lines += globals()[part](folder, broker, args) + [""]
            print("\n".join(lines[-12:]), flush=True)
        broker.stop()
    finally:
        Server.kill_all()
        shutil.rmtree(folder, ignore_errors=True)
    if args.markdown:
        args.markdown.write_text("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
