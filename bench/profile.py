#!/usr/bin/env python3
"""Where the broker's cycles go, for the produce and the fetch path, as text.

    bench/profile.py [--seconds 6] [--only produce,fetch] [--markdown FILE]

The loads are those of bench/log.py: 1 KiB records in batches of 64 KiB with acks=all, and reads from the page cache, 1 MiB at
once. `perf record` samples the broker's threads with their stacks meanwhile, by a clock, since
virtual machines have no counters of cycles; a sample belongs to the first part whose function
stands anywhere in its stack, so what a part calls counts as the part. Background write-back by the kernel's own threads is not in
it. Needs Linux `perf`, kernel symbols (root, or kernel.perf_event_paranoid of at most 1 and kernel.kptr_restrict of 0), and the
release binaries, as bench/log.py does.
"""

import argparse
import collections
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sides import Broker, Server, limit, machine, run

HERTZ = 1999

# Part: functions of which one stands in the stack. In this order.
PRODUCE = {
    "retention: pages of deleted segments": ("truncate_inode_pages_range", "evict", "ext4_evict_inode", "do_unlinkat"),
    "write: bytes into the page cache": ("copy_folio_from_iter_atomic", "copy_page_from_iter_atomic", "fault_in_iov_iter_readable"),
    "write: the file system's pages and blocks": ("vfs_writev", "vfs_write", "do_pwritev", "ext4_file_write_iter"),
    "socket: bytes out of it": ("skb_copy_datagram_iter", "tcp_recvmsg", "sock_recvmsg", "sock_read_iter"),
    "sync: writing back in the background": ("ext4_sync_file", "do_fsync", "file_write_and_wait_range", "sync_file_range"),
    "socket: answers sent": ("tcp_sendmsg", "sock_sendmsg", "sock_write_iter"),
    "network: packets received": ("net_rx_action", "__do_softirq", "handle_softirqs"),
    "waiting: epoll, futex, scheduling": ("epoll_wait", "do_epoll_wait", "futex", "schedule", "__schedule"),
    "CRC-32C of batches": ("crc32c",),
    "memory: page faults, mmap, malloc": ("asm_exc_page_fault", "exc_page_fault", "do_mmap", "madvise", "munmap", "malloc", "_int_free", "cfree"),
}
FETCH = {
    "sendfile: waking the reader": ("sock_def_readable", "try_to_wake_up", "ep_poll_callback"),
    "sendfile: TCP": ("tcp_sendmsg", "tcp_sendmsg_locked", "tcp_push", "__tcp_push_pending_frames", "tcp_write_xmit", "splice_to_socket"),
    "sendfile: pages of the file": ("filemap_splice_read", "ext4_file_splice_read", "splice_file_to_pipe", "splice_direct_to_actor"),
    "whether pages are in memory (preadv2)": ("do_preadv", "vfs_readv"),
    "network: acknowledgements": ("net_rx_action", "__do_softirq", "handle_softirqs"),
    "socket: requests read": ("tcp_recvmsg", "sock_recvmsg", "sock_read_iter"),
    "waiting: epoll, futex, scheduling": ("epoll_wait", "do_epoll_wait", "futex", "schedule", "__schedule"),
}


def stacks(data: Path) -> list[list[str]]:
    """The functions of each sample, from the innermost on."""
    text = run(["perf", "script", "-i", data, "-F", "ip,sym"])
    samples: list[list[str]] = [[]]
    for line in text.splitlines():
        match line.split(None, 1):
            case [_, function]:
                samples[-1].append(function)
            case _ if samples[-1]:
                samples.append([])
    return [sample for sample in samples if sample]


def part_of(stack: list[str], parts: dict[str, tuple[str, ...]]) -> str:
    for part, functions in parts.items():
        if any(called == function or (function == "crc32c" and function in called) for called in stack for function in functions):
            return part
    kernel = any(name in ("entry_SYSCALL_64_after_hwframe", "do_syscall_64", "asm_sysvec_apic_timer_interrupt") for name in stack)
    return "the kernel, else" if kernel else "the broker's own code, else"


def profile(folder: Path, broker: Broker, parts: dict, load) -> list[str]:
    """`load` does the work and returns results with their bytes."""
    data = folder / "perf.data"
    before = broker.cpu()
    recorder = subprocess.Popen(
        ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HERTZ), "-g", "-o", str(data), "-p", str(broker.pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    megabytes = sum(result["bytes"] for result in load()) / 1e6
    recorder.send_signal(signal.SIGINT)
    _, trouble = recorder.communicate(timeout=60)
    if not data.exists():
        sys.exit(f"perf record: {trouble}")
    cost = (broker.cpu() - before) * 1e3 / megabytes
    samples = stacks(data)
    shares = collections.Counter(part_of(stack, parts) for stack in samples)
    lines = [f"{len(samples)} samples, {cost:.2f} ms of CPU per MB.", "", "| part | share | ms per MB |", "| --- | --- | --- |"]
    for part, count in shares.most_common():
        share = count / len(samples)
        lines.append(f"| {part} | {share:.0%} | {share * cost:.3f} |")
    leaves = collections.Counter(stack[0] for stack in samples if stack)
    top = ", ".join(f"`{name}` {count / len(samples):.0%}" for name, count in leaves.most_common(12))
    return [*lines, "", f"Functions with most samples of their own: {top}."]


def produce(folder: Path, seconds: int) -> list[str]:
    broker = Broker(folder / "produce", 'topics.retention_check = "1s"', 'topics.retention_bytes = "512MiB"', 'topics.segment_bytes = "128MiB"').start()
    options = ["-p", "1", "-s", "1KiB", "--acks", "all", "-X", "batch.size=65536", "--linger", "5ms"]
    broker.bench("produce", "load", *options, "-d", "2s")
    lines = profile(folder, broker, PRODUCE, lambda: [broker.bench("produce", "load", *options, "-d", f"{seconds}s")])
    broker.stop()
    return lines


def fetch(folder: Path, seconds: int) -> list[str]:
    broker = Broker(folder / "fetch").start()
    broker.bench("produce", "load", "-p", "1", "-n", "1000000", "-s", "1KiB", "-X", "batch.size=65536")

    def read() -> list[dict]:
        results = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            results.append(limit(folder, "fetch", "--bootstrap", broker.bootstrap, "--topic", "load", "--chunk", "1048576"))
        return results

    limit(folder, "fetch", "--bootstrap", broker.bootstrap, "--topic", "load", "--chunk", "1048576")
    lines = profile(folder, broker, FETCH, read)
    broker.stop()
    return lines


PATHS = {"produce": produce, "fetch": fetch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=6, help="length of one profile")
    parser.add_argument("--only", default=",".join(PATHS), help="paths, separated by commas")
    parser.add_argument("--markdown", type=Path, help="file to which the text is written too")
    args = parser.parse_args()
    if not shutil.which("perf"):
        sys.exit("bench/profile.py: no perf; on Debian: apt-get install linux-perf")
    folder = Path(tempfile.mkdtemp(prefix="buslane-bench-", dir=os.environ.get("BUSLANE_BENCH_DIR")))
    lines = [f"Command: `bench/profile.py {' '.join(sys.argv[1:])}`; {machine()}."]
    try:
        for name in args.only.split(","):
            lines += ["", f"### {name}", "", *PATHS[name](folder, args.seconds)]
    finally:
        Server.kill_all()
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
