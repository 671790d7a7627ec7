#!/usr/bin/env python3
"""Buslane beside Apache Kafka, in interleaved rounds of one run.

    bench/kafka.py [--rounds 5] [--seconds 5] [--warm-up 60] [--only produce,fetch,latency,memory,start,groups] [--markdown FILE]

Each broker is alone on core 0, the load (unmodified librdkafka, by `buslane bench`) on core 1; loopback. Kafka is warmed
up first, then every round measures the two one after the other. The table shows medians with the spread (least to
greatest) and the median of the rounds' ratios, Buslane to Kafka. Where the load generator is above 90 % of its core, its
MB/s say nothing about a broker: such cells are marked and judged by CPU alone. Needs the release binaries:
`cargo build --release -p buslane -p buslane-bench` (BUSLANE_RELEASE names their folder when it is not the target's).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from sides import LOAD_CORE, Broker, Kafka, Server, begun, limit, machine, middle, verdict

GENERATOR_IS_THE_LIMIT = 90  # per cent of its core


@dataclass
class Sides:
    """A figure of each broker in each round."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def add(self, server: Server, value: float) -> None:
        (self.ours if isinstance(server, Broker) else self.theirs).append(value)

    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs)]

    def row(self, what: str, form: str, target: str, judged) -> str:
        ratio = statistics.median(self.ratios())
        fine = "{:.3f}" if ratio < 0.1 else "{:.2f}"
        return f"| {what} | {middle(self.ours, form)} | {middle(self.theirs, form)} | {middle(self.ratios(), fine)}x | {target} | {judged(ratio)} |"


def pair(folder: Path, name: str, *settings: str, **kafka: object) -> tuple[Broker, Kafka]:
    return Broker(folder / f"{name}-buslane", *settings).start(), Kafka(folder / f"{name}-kafka", **kafka).start()


def stop(*servers: Server) -> None:
    for server in servers:
        server.stop()


def warm(kafka: Kafka, seconds: int, *load: str) -> None:
    """The JVM compiles what is hot: reads and writes of the kind to be measured."""
    if seconds:
        kafka.bench("produce", "warm", "-p", "16", "-d", f"{seconds}s", *load)
        kafka.bench("consume", "warm", "-C", "4", "-d", f"{max(seconds // 4, 1)}s")


def at_least(ratio: float, least: float) -> str:
    return "met" if ratio >= least else "**missed**"


def loads() -> list[tuple[str, list[str]]]:
    cells = []
    for size, text in (("1KiB", "1 KiB"), ("100", "100 B")):
        for producers in (1, 32):
            for codec in ("none", "lz4"):
                options = ["-s", size, "-P", str(producers), "-k", "10000", "--acks", "all", "-z", codec, "--linger", "5ms"]
                # Random bytes would make a codec pointless.
                options += ["--payload", "text" if codec != "none" else "random"]
                cells.append((f"{text} keyed, {producers} producer{'s' * (producers > 1)}, {codec}", options))
    return cells


def produce(folder: Path, args) -> list[str]:
    """Broker CPU per MB and MB/s of produce, old segments being dropped meanwhile."""
    keep = {"retention_bytes": 64 << 20, "segment_bytes": 32 << 20}
    servers = pair(folder, "produce", 'topics.retention_check = "5s"', log_retention_check_interval_ms=5000)
    warm(servers[1], args.warm_up, "-k", "10000")
    rows = []
    for number, (what, load) in enumerate(loads()):
        cost, speed, busy = Sides(), Sides(), Sides()
        for server in servers:
            server.create(f"load-{number}", 16, **keep)
            server.bench("produce", f"load-{number}", *load, "-d", "2s")
        for _ in range(args.rounds):
            for server in servers:
                before = server.cpu()
                result = server.bench("produce", f"load-{number}", *load, "-d", f"{args.seconds}s")
                cost.add(server, (server.cpu() - before) * 1e3 / (result["bytes"] / 1e6))
                speed.add(server, result["bytes_per_second"] / 1e6)
                busy.add(server, 100 * result["client_cpu_seconds"] / result["seconds"])
        rows.append(cost.row(f"produce {what}: broker CPU, ms per MB", "{:.2f}", "at most 0.5x", half))
        rows.append(speed.row(f"the same: MB/s{generator(busy)}", "{:.0f}", "at least 0.95x", judge_speed(busy)))
    stop(*servers)
    return rows


def generator(busy: Sides) -> str:
    return f" (generator at {statistics.median(busy.ours):.0f} and {statistics.median(busy.theirs):.0f} % of its core)"


def judge_speed(busy: Sides):
    """Of a generator that is itself the limit beside us, a lower figure is no fault of the broker's, nor a higher one its merit."""

    def judged(ratio: float) -> str:
        if statistics.median(busy.ours) > GENERATOR_IS_THE_LIMIT:
            return "generator-bound: judged by CPU"
        return at_least(ratio, 0.95)

    return judged


def fetch(folder: Path, args) -> list[str]:
    """Broker CPU per MB and MB/s of fetch from the page cache, beside bare sendfile in the same rounds."""
    servers = pair(folder, "fetch")
    warm(servers[1], args.warm_up)
    for server in servers:
        server.create("load", 16)
        server.bench("produce", "load", "-n", "1000000", "-s", "1KiB", "-X", "batch.size=65536")
    segment = max((folder / "fetch-buslane").glob("log/*/*/*.log"), key=lambda file: file.stat().st_size)
    readers = {
        "1 consumer, page cache": ["-C", "1"],
        "16 consumers that each read all, page cache": ["-C", "16", "--fan-out"],
    }
    rows = []
    for what, options in readers.items():
        cost, speed, busy, bare = Sides(), Sides(), Sides(), []
        for _ in range(args.rounds):
            bare.append(limit(folder, "sendfile", "--file", segment, "--chunk", "1048576")["cpu_ms_per_mb"])
            for server in servers:
                before = server.cpu()
                result = server.bench("consume", "load", *options, "-d", f"{args.seconds}s", "-X", "check.crcs=false")
                cost.add(server, (server.cpu() - before) * 1e3 / (result["bytes"] / 1e6))
                speed.add(server, result["bytes_per_second"] / 1e6)
                busy.add(server, 100 * result["client_cpu_seconds"] / result["seconds"])
        rows.append(cost.row(f"fetch, {what}: broker CPU, ms per MB", "{:.2f}", "at most 1x", lambda ratio: verdict(ratio, 1.0)))
        ratios = [ours / raw for ours, raw in zip(cost.ours, bare)]
        rows.append(f"| the same beside bare sendfile | {middle(cost.ours)} | sendfile {middle(bare)} | {middle(ratios)}x | at most 1.3x | {verdict(statistics.median(ratios), 1.3)} |")
        rows.append(speed.row(f"the same: MB/s{generator(busy)}", "{:.0f}", "at least 0.95x", judge_speed(busy)))
    rows += fetch_while_written(servers, args)
    stop(*servers)
    return rows


def fetch_while_written(servers, args) -> list[str]:
    """16 consumers of old records while producers write new ones: neither may starve the other."""
    cost, read, written = Sides(), Sides(), Sides()
    for _ in range(args.rounds):
        for server in servers:
            before = server.cpu()
            load = server.bench_command("produce", "fresh", "-p", "16", "-r", "20000", "-d", f"{args.seconds}s")
            producing = start_pinned(load)
            result = server.bench("consume", "load", "-C", "16", "--fan-out", "-d", f"{args.seconds}s", "-X", "check.crcs=false")
            fresh = finish(producing)
            cost.add(server, (server.cpu() - before) * 1e3 / ((result["bytes"] + fresh["bytes"]) / 1e6))
            read.add(server, result["bytes_per_second"] / 1e6)
            written.add(server, fresh["latency_ms"]["p99"])
    what = "16 consumers of old records while 20,000 records/s are produced"
    return [
        cost.row(f"{what}: broker CPU, ms per MB of both", "{:.2f}", "at most 1x", lambda ratio: verdict(ratio, 1.0)),
        read.row("the same: MB/s read", "{:.0f}", "at least 0.95x", lambda ratio: at_least(ratio, 0.95)),
        written.row("the same: p99 of the producers, ms", "{:.1f}", "", lambda _: "reported"),
    ]


def start_pinned(command: list) -> subprocess.Popen:
    return subprocess.Popen([str(c) for c in ["taskset", "-c", LOAD_CORE, *command]], stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> dict:
    out, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{process.args}: exit code {process.returncode}")
    return json.loads(out)


def latency(folder: Path, args) -> list[str]:
    """From the due time of a record to its arrival at a consumer, open loop."""
    rows = []
    for what, config in (("", {}), (", a roll of each segment every second", {"segment_ms": 1000})):
        # Kafka looks at ages when it appends; ours rolls by a tick.
        servers = pair(folder, f"latency-{len(rows)}")
        warm(servers[1], args.warm_up, "-r", "5000", "--linger", "0ms")
        quantiles = {"p99": Sides(), "p99.9": Sides()}
        for server in servers:
            server.create("load", 16, **config)
        for _ in range(args.rounds):
            for server in servers:
                seconds = 2 * args.seconds
                follow = server.bench_command("consume", "load", "--from", "end", "--follow", "-d", f"{seconds}s", "-w", "2s", "-X", "fetch.wait.max.ms=100")
                reading = start_pinned(follow)
                time.sleep(0.5)  # the consumer takes up its partitions, and the warm-up is longer still
                server.bench("produce", "load", "-r", "5000", "-s", "1KiB", "--linger", "0ms", "-d", f"{seconds - 1}s")
                told = finish(reading)["latency_ms"]
                for name, sides in quantiles.items():
                    sides.add(server, told[name])
        stop(*servers)
        rows.append(quantiles["p99"].row(f"end to end, 5,000 records/s over 16 partitions{what}: p99, ms", "{:.2f}", "at most 0.33x", lambda ratio: verdict(ratio, 1 / 3)))
        rows.append(quantiles["p99.9"].row("the same: p99.9, ms", "{:.2f}", "", lambda _: "reported"))
    return rows


def memory(folder: Path, args) -> list[str]:
    """1,000 partitions all written, then left alone, then under load again."""
    servers = pair(folder, "memory")
    idle, busy = Sides(), Sides()
    load = ["-s", "1KiB", "-X", "batch.size=65536", "--linger", "20ms"]
    for server in servers:
        resident = server.anonymous_mib if isinstance(server, Broker) else server.resident_mib
        server.create("load", 1000)
        server.bench("produce", "load", "-n", str(int(args.gigabytes * 1e9 / 1024)), *load)
        idle.add(server, resident())
        producing = start_pinned(server.bench_command("produce", "load", "-d", f"{args.seconds}s", *load))
        highest = 0.0
        while producing.poll() is None:
            highest = max(highest, resident())
            time.sleep(0.1)
        finish(producing)
        busy.add(server, highest)
    stop(*servers)
    what = "1,000 partitions all written"
    return [
        idle.row(f"{what}: anonymous memory of ours, resident of Kafka's (heap {servers[1].heap}), MiB", "{:.0f}", "at most 0.1x", lambda ratio: verdict(ratio, 0.1)),
        busy.row("the same under load, greatest of ten looks a second", "{:.0f}", "at most 0.1x", lambda ratio: verdict(ratio, 0.1)),
    ]


def start(folder: Path, args) -> list[str]:
    """Time from exec to the first acknowledged produce, which creates its topic; both data folders are there by then."""
    times = Sides()
    for n in range(args.rounds):
        for server in (Broker(folder / f"start-{n}-buslane"), Kafka(folder / f"start-{n}-kafka")):
            server.start()
            server.shut_down()  # its folder is formatted now
            times.add(server, begun(server))
            server.stop()
    return [times.row("start to first acknowledged produce, ms", "{:.0f}", "at most 0.05x", lambda ratio: verdict(ratio, 0.05))]


def half(ratio: float) -> str:
    return verdict(ratio, 0.5)


def groups(folder: Path, args) -> list[str]:
    """1,000 members in 100 groups that join at once; one of 100 members that is killed. Sessions are short on both sides,
    since a dead member is only missed when its session ends: that wait is the same whatever the broker."""
    seconds = 10
    servers = pair(
        folder,
        "groups",
        f'groups.consumer_session_timeout = "{seconds}s"',
        group_initial_rebalance_delay_ms=3000,  # Kafka's default, which scripts/apache-kafka shortens
        group_consumer_session_timeout_ms=seconds * 1000,
        group_consumer_min_session_timeout_ms=seconds * 1000,
    )
    patient = Broker(folder / "groups-patient", 'groups.initial_rebalance_delay = "3s"').start()

    def load(server: Server, protocol: str, topic: str, partitions: int, groups: int, members: int, *flags: str) -> dict:
        server.create(topic, partitions)
        flags += ("--consumer-protocol",) if protocol == "consumer" else ()
        shape = ["--partitions", str(partitions), "--groups", str(groups), "--members", str(members)]
        return limit(folder, "groups", "--bootstrap", server.bootstrap, "--session-timeout-ms", str(seconds * 1000), "--topic", topic, *shape, *flags)

    rows = []
    for protocol in ("classic", "consumer"):
        joined, alike, killed, noticed = Sides(), Sides(), Sides(), Sides()
        for number in range(args.rounds + 1):  # the first one warms the JVM up
            for server in servers:
                topic = f"{protocol}-{number}"
                many = load(server, protocol, topic, 20, 100, 10)
                one = load(server, protocol, topic + "-one", 200, 1, 100, "--kill")
                if number:
                    joined.add(server, many["joined_seconds"])
                    killed.add(server, one["settled_after_kill_seconds"])
                    noticed.add(server, one["settled_after_notice_seconds"])
            if number and protocol == "classic":
                alike.add(patient, load(patient, protocol, topic, 20, 100, 10)["joined_seconds"])
                alike.theirs.append(joined.theirs[-1])
        what = f"1,000 members in 100 groups join, {protocol} protocol: s until all have settled"
        rows.append(joined.row(what, "{:.2f}", "at most 0.5x", half))
        if protocol == "classic":
            rows.append(alike.row("the same with Kafka's initial delay of 3 s on both sides", "{:.2f}", "", lambda _: "reported"))
        rows.append(killed.row(f"one of 100 members killed, {protocol} protocol, sessions of {seconds} s: s until the others have settled", "{:.2f}", "at most 0.5x", half))
        rows.append(noticed.row("the same from when the first of them heard of it", "{:.2f}", "", lambda _: "reported"))
    stop(patient, *servers)
    return rows


CELLS = {"produce": produce, "fetch": fetch, "latency": latency, "memory": memory, "start": start, "groups": groups}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement")
    parser.add_argument("--warm-up", type=int, default=60, help="seconds of load for the JVM before each group of cells")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="data in the 1,000 partitions")
    parser.add_argument("--only", default=",".join(CELLS), help="groups of cells, separated by commas")
    parser.add_argument("--markdown", type=Path, help="file to which the table is written too")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="buslane-bench-", dir=os.environ.get("BUSLANE_BENCH_DIR")))
    lines = [
        f"Command: `bench/kafka.py {' '.join(sys.argv[1:])}`; {args.rounds} rounds; {machine()}. Apache Kafka {Kafka.version()}, "
        "Java with -Xms1g -Xmx1g -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35.",
        "",
        "| what | Buslane | Apache Kafka | ratio | target | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    try:
        for name in args.only.split(","):
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            rows = CELLS[name](folder, args)
            print("\n".join(rows), flush=True)
            lines += rows
    finally:
        Server.kill_all()
        shutil.rmtree(folder, ignore_errors=True)
    print("\n" + "\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
