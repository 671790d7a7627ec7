#!/usr/bin/env python3
"""The log's figures: the broker beside the machine's own limits, in interleaved rounds of one run.

    bench/log.py [--rounds 5] [--seconds 8] [--only produce,fetch,synced,start,memory] [--markdown FILE]

Broker on core 0, load on core 1, loopback. Every round measures limit and broker one after the other; the table shows
medians with the spread (least to greatest) and the median of the rounds' ratios. Needs the release binaries:
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
from pathlib import Path

from sides import BIN, Broker, Server, begun, limit, machine, middle, run, verdict

def produce(folder: Path, args) -> list[str]:
    """Broker CPU per MB of produce against the bare copy from a socket into the page cache."""
    broker = Broker(folder / "produce", "topics.retention_check = \"1s\"", "topics.retention_bytes = \"512MiB\"", "topics.segment_bytes = \"128MiB\"").start()
    load = ["-p", "1", "-s", "1KiB", "--acks", "all", "-d", f"{args.seconds}s", "-X", "batch.size=65536", "--linger", "5ms"]
    broker.bench("produce", "load", *load)
    bare, ours, ratios, speed, client = [], [], [], [], []
    for _ in range(args.rounds):
        bare.append(limit(folder, "copy", "--bytes", str(2 << 30), "--chunk", "65536")["cpu_ms_per_mb"])
        before = broker.cpu()
        result = broker.bench("produce", "load", *load)
        ours.append((broker.cpu() - before) * 1e3 / (result["bytes"] / 1e6))
        ratios.append(ours[-1] / bare[-1])
        speed.append(result["bytes_per_second"] / 1e6)
        client.append(100 * result["client_cpu_seconds"] / result["seconds"])
    broker.stop()
    ratio = statistics.median(ratios)
    return [
        f"| produce 1 KiB records, batches of 64 KiB, acks=all: broker CPU, ms per MB | {middle(ours)} | socket to page cache {middle(bare)} | {middle(ratios)}x | at most 2x | {verdict(ratio, 2)} |",
        f"| the same: MB/s (load generator at {statistics.median(client):.0f} % of its core) | {middle(speed, '{:.0f}')} | | | | |",
    ]


def fetch(folder: Path, args) -> list[str]:
    """Broker CPU per MB of fetch from the page cache against bare sendfile."""
    broker = Broker(folder / "fetch").start()
    broker.bench("produce", "load", "-p", "1", "-n", "1000000", "-s", "1KiB", "-X", "batch.size=65536")
    read = ["-X", "fetch.message.max.bytes=1048576", "-X", "check.crcs=false"]
    broker.bench("consume", "load", *read)
    # The same bytes on both sides: how the page cache holds a file depends on how it was written.
    segment = max((folder / "fetch").glob("log/*/*/*.log"), key=lambda file: file.stat().st_size)
    bare, stream, ours, ratios, other, speed, client = [], [], [], [], [], [], []

    def spent(read) -> tuple[float, list[dict]]:
        before, results = broker.cpu(), read()
        return (broker.cpu() - before) * 1e3 / (sum(r["bytes"] for r in results) / 1e6), results

    for _ in range(args.rounds):
        bare.append(limit(folder, "sendfile", "--file", segment, "--chunk", "1048576", "--asked")["cpu_ms_per_mb"])
        # The same reader on both sides: how often it has to be woken is no difference then.
        cost, _ = spent(lambda: [limit(folder, "fetch", "--bootstrap", broker.bootstrap, "--topic", "load", "--chunk", "1048576")])
        ours.append(cost)
        ratios.append(ours[-1] / bare[-1])
        stream.append(limit(folder, "sendfile", "--file", segment, "--chunk", "1048576")["cpu_ms_per_mb"])
        cost, results = spent(lambda: [broker.bench("consume", "load", *read) for _ in range(3)])
        other.append(cost)
        wall = sum(r["seconds"] for r in results)
        speed.append(sum(r["bytes"] for r in results) / wall / 1e6)
        client.append(100 * sum(r["client_cpu_seconds"] for r in results) / wall)
    broker.stop()
    ratio = statistics.median(ratios)
    return [
        f"| fetch from the page cache, 1 MiB at once: broker CPU, ms per MB | {middle(ours)} | sendfile of the same file, 1 MiB on each request, the same reader {middle(bare)} | {middle(ratios)}x | at most 1.3x | {verdict(ratio, 1.3)} |",
        f"| the same read by librdkafka, which sleeps more often: ms per MB | {middle(other)} | sendfile as one stream {middle(stream)} | | | |",
        f"| librdkafka's MB/s (load generator at {statistics.median(client):.0f} % of its core) | {middle(speed, '{:.0f}')} | | | | |",
    ]


def synced(folder: Path, args) -> list[str]:
    """Latency of synced appends by 64 producers against a bare group fdatasync. Nobody is pinned: latency, not CPU."""
    broker = Broker(folder / "synced").start()
    run([BIN / "buslane", "topic", "create", "-b", broker.bootstrap, "load", "--partitions", "1", "--config", "buslane.durability=synced"])
    bare, ours, excess = [], [], []
    for _ in range(args.rounds):
        bare.append(limit(folder, "fsync", "--writers", "64", "--seconds", str(args.seconds))["p99_us"] / 1e3)
        # Each producer has one record in flight, as each writer of the limit has.
        one = ["-P", "64", "-s", "1KiB", "--acks", "all", "-d", f"{args.seconds}s", "-w", "1s", "--linger", "0ms", "--rate", "4000"]
        result = broker.bench("produce", "load", *one, "-X", "max.in.flight=1")
        ours.append(result["latency_ms"]["p99"])
        excess.append(ours[-1] / (2 * bare[-1] + 2))
    broker.stop()
    worst = statistics.median(excess)
    return [f"| produce `synced`, 64 producers, 4,000 records/s: p99, ms | {middle(ours)} | group fdatasync, 64 closed loops {middle(bare)} | {middle([o / b for o, b in zip(ours, bare)])}x | at most 2x + 2 ms | {verdict(worst, 1)} |"]


def start(folder: Path, args) -> list[str]:
    """Time from exec to the first acknowledged produce, which creates its topic."""
    times = []
    for n in range(args.rounds):
        broker = Broker(folder / f"start-{n}")
        times.append(begun(broker))
        broker.stop()
    return [f"| start to first acknowledged produce, empty: ms | {middle(times, '{:.0f}')} | | | at most 200 ms | {verdict(statistics.median(times), 200)} |"]


def memory(folder: Path, args) -> list[str]:
    """1,000 partitions all written; then kill -9 and every partition acknowledged again."""
    broker = Broker(folder / "memory", "topics.retention = \"unlimited\"").start()
    gigabytes = args.gigabytes
    count = str(int(gigabytes * 1e9 / 1024))
    broker.bench("produce", "load", "-p", "1000", "-n", count, "-s", "1KiB", "--idempotent", "-X", "batch.size=65536", "--linger", "20ms")
    loaded = broker.anonymous_mib()
    broker.kill()
    began = time.monotonic()
    broker.start()
    # One record to each partition, as fast as they come.
    lines = "\n".join(json.dumps({"partition": p, "value": "again"}) for p in range(1000))
    subprocess.run([str(BIN / "buslane"), "produce", "load", "-b", broker.bootstrap, "--json"], input=lines, text=True, check=True, capture_output=True)
    back = time.monotonic() - began
    again = broker.anonymous_mib()
    broker.stop()
    return [
        f"| anonymous memory, 1,000 partitions all written ({gigabytes:g} GB): MiB after the load | {loaded:.0f} | | | at most 100 MiB | {verdict(loaded, 100)} |",
        f"| the same after a restart and a record to each partition: MiB | {again:.0f} | | | at most 100 MiB | {verdict(again, 100)} |",
        f"| kill -9, start, a record acknowledged in each of 1,000 partitions: s | {back:.2f} | | | at most 3 s | {verdict(back, 3)} |",
    ]


CELLS = {"produce": produce, "fetch": fetch, "synced": synced, "start": start, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8, help="length of one measurement")
    parser.add_argument("--gigabytes", type=float, default=5.0, help="data behind the restart")
    parser.add_argument("--only", default=",".join(CELLS), help="cells, separated by commas")
    parser.add_argument("--markdown", type=Path, help="file to which the table is written too")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="buslane-bench-", dir=os.environ.get("BUSLANE_BENCH_DIR")))
    lines = [
        f"Command: `bench/log.py {' '.join(sys.argv[1:])}`; {args.rounds} rounds; {machine()}.",
        "",
        "| what | Buslane | limit of the machine | ratio | target | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    try:
        for name in args.only.split(","):
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
