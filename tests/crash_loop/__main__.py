"""kill -9 of the broker at random moments under idempotent producers of two clients; see scripts/crash-loop.

After every round, and once more for everything at the end: each acknowledged message is stored at the offset that its
producer was told, nothing is stored twice, and each producer's messages stand in the order in which it sent them.
"""

import argparse
import random
import sys
import time

from harness import wire
from harness.broker import Broker, BuslaneBroker, KafkaBroker, StartFailed, await_until
from harness.clients import ALL
from harness.streams import ConfluentStream, JavaStream, Told, stored, violations

TOPIC = "crash-loop"
PARTITIONS = 3
# After so many rounds new producers replace the running ones: an old one's retries and a new one's first batch meet a crash.
ROUNDS_A_PRODUCER = 8
PROGRESS_DEADLINE_S = 60
# A record read in the last round is read again in this one, so that a log that shrank or changed below its end shows.
OVERLAP = 200


class Violation(Exception):
    """What was found; the data folder is kept."""


class Loop:
    def __init__(self, broker: Broker, seed: int) -> None:
        self.broker = broker
        self.random = random.Random(seed)
        self.told: list[Told] = []
        self.streams: list[ConfluentStream | JavaStream] = []
        self.read: dict[int, list[tuple[int, bytes]]] = {p: [] for p in range(PARTITIONS)}
        self.kills_while_starting = 0
        self.stored = 0

    def start_producers(self, generation: int) -> None:
        for kind, name in ((ConfluentStream, "librdkafka"), (JavaStream, "java")):
            self.streams.append(kind(self.broker.bootstrap, TOPIC, PARTITIONS, f"{name}-{generation}", 0.0004))

    def stop_producers(self) -> None:
        for stream in self.streams:
            told = stream.stop()
            if told.failures:
                raise Violation(f"{told.name}: an idempotent producer should see a pause, never an error: {told.failures[:5]}")
            self.told.append(told)
        self.streams.clear()

    def round(self) -> None:
        """One kill -9 with producers at work, a restart (sometimes killed as well), and proof of progress."""
        time.sleep(self.random.uniform(0.05, 1.2))
        self.broker.kill()
        if isinstance(self.broker, BuslaneBroker) and self.random.random() < 0.3:
            self.kills_while_starting += 1
            self.broker.spawn()
            time.sleep(self.random.uniform(0.0, 0.15))
            self.broker.kill()
        time.sleep(self.random.choice([0.0, 0.0, 0.1, 0.4]))
        before = [stream.acknowledged_so_far for stream in self.streams]
        self.broker.start()
        for stream, so_far in zip(self.streams, before, strict=True):
            await_until(lambda s=stream, n=so_far: s.acknowledged_so_far > n, "a producer is acknowledged again", PROGRESS_DEADLINE_S, 0.05)

    def read_on(self) -> None:
        """What is new in each partition; what was read before must still be there as it was."""
        for partition, rows in self.read.items():
            again = rows[-OVERLAP:]
            found = stored(self.broker, TOPIC, partition, again[0][0] if again else 0)
            if found[: len(again)] != again:
                raise Violation(f"partition {partition}: the records from {again[0][0]} to {again[-1][0]} are no longer what they were")
            rows += found[len(again) :]

    def check_running(self) -> None:
        """librdkafka's acknowledgements can be read while it runs; Java's are checked when it ends."""
        for stream in self.streams:
            if isinstance(stream, ConfluentStream):
                so_far = Told(stream.told.name, {p: list(rows) for p, rows in dict(stream.told.acknowledged).items()})
                self.read_on()
                for partition, rows in self.read.items():
                    self.report(violations(rows, partition, so_far))

    def check_all(self) -> None:
        for partition in range(PARTITIONS):
            rows = stored(self.broker, TOPIC, partition)
            self.stored += len(rows)
            if rows[: len(self.read[partition])] != self.read[partition]:
                raise Violation(f"partition {partition}: what is stored is not what was read before")
            for told in self.told:
                self.report(violations(rows, partition, told))
            extra = len(rows) - sum(len(told.acknowledged.get(partition, [])) for told in self.told)
            if extra:
                raise Violation(f"partition {partition}: {extra} records are stored though all producers were flushed without failures")

    @staticmethod
    def report(found: list[str]) -> None:
        if found:
            raise Violation("\n".join(found[:20]) + (f"\n... and {len(found) - 20} more" if len(found) > 20 else ""))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/crash-loop")
    parser.add_argument("rounds", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--broker", choices=["buslane", "kafka"], default="buslane")
    arguments = parser.parse_args()

    broker: Broker = BuslaneBroker() if arguments.broker == "buslane" else KafkaBroker()
    loop = Loop(broker, arguments.seed)
    print(f"crash loop: {arguments.rounds} rounds, seed {arguments.seed}, data {broker.data}", flush=True)
    began = time.monotonic()
    done = 0
    try:
        broker.start()
        broker.create_topic(TOPIC, PARTITIONS)
        for done in range(arguments.rounds):
            if done % ROUNDS_A_PRODUCER == 0:
                loop.stop_producers()
                loop.start_producers(done // ROUNDS_A_PRODUCER)
                for stream in loop.streams:
                    await_until(lambda s=stream: s.acknowledged_so_far > 0, "a new producer is acknowledged", PROGRESS_DEADLINE_S, 0.05)
            loop.round()
            loop.check_running()
            count = sum(len(rows) for rows in loop.read.values())
            print(f"round {done + 1:3}: {count} records stored, {time.monotonic() - began:.0f} s", flush=True)
        loop.stop_producers()
        loop.check_all()
        broker.stop()
    except (Violation, AssertionError, StartFailed, wire.ConnectionClosed, OSError) as failure:
        broker.kill()
        print(f"\nVIOLATION in round {done + 1} of {arguments.rounds}, seed {arguments.seed}: {failure}")
        print(f"the data folder is kept: {broker.data}\nthe broker's log: {broker.log_path}")
        print(f"again: scripts/crash-loop {arguments.rounds} --seed {arguments.seed}")
        return 1
    finally:
        broker.kill()  # also when interrupted; after a clean stop there is nothing to kill
        ALL["java"].close()
    acknowledged = {name: sum(t.count for t in loop.told if t.name.startswith(name)) for name in ("librdkafka", "java")}
    broker.remove()
    print(
        f"\ncrash loop: {arguments.rounds} kills under load and {loop.kills_while_starting} while starting, seed {arguments.seed}, "
        f"{time.monotonic() - began:.0f} s: acknowledged {acknowledged['librdkafka']} (librdkafka) + {acknowledged['java']} (Java), "
        f"stored {loop.stored}, each once and in order"
    )
    print(f"{arguments.rounds} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
