"""kill -9 of an agent and of its broker at random moments under services that send events; see scripts/agent-loop.

Each service sends one event after another under its own key and an id, at a random level, and sends it again until it is
answered. After every few rounds the spool is awaited empty, and then: every acknowledged event is in the topic, exactly once,
at the place that was told, and each service's events stand in the order in which they were acknowledged.
"""

import argparse
import http.client
import random
import shutil
import sys
import threading
import time

from harness import wire
from harness.agent import Agent, send
from harness.broker import BuslaneBroker, KafkaBroker, StartFailed, await_until
from harness.streams import stored

TOPIC = "agent-loop"
PARTITIONS = 3
SERVICES = 6
DRAIN_DEADLINE_S = 120
# So often all that was acknowledged is compared with the topic.
CHECK_EVERY = 5


class Violation(Exception):
    """What was found; the folders are kept."""


class Service(threading.Thread):
    """Sends events until it is told to pause, each until it is answered."""

    def __init__(self, agent: Agent, name: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.agent, self.name_of_it = agent, name
        self.random = random.Random(seed)
        self.going, self.ended, self.resting = threading.Event(), threading.Event(), threading.Event()
        self.acknowledged: list[tuple[bytes, tuple[int, int] | None]] = []
        self.sent_again = 0
        self.wrong: str | None = None

    def run(self) -> None:
        connection = None
        number = 0
        while not self.ended.is_set():
            if not self.going.is_set():
                self.resting.set()
                self.going.wait(0.05)
                continue
            self.resting.clear()
            value = f"{self.name_of_it}:{number}".encode()
            level = self.random.choice(["memory", "memory", "disk", "cluster"])
            body = value + b" " + b"x" * self.random.choice([0, 10, 500, 5_000])
            place = None
            while not self.ended.is_set():
                try:
                    connection = connection or self.agent.connect(timeout=30)
                    path = f"/v1/channels/orders/events?level={level}&timeout=5s"
                    reply = send(connection, "POST", path, body, {"Buslane-Id": value.decode(), "Buslane-Key": self.name_of_it})
                except (OSError, http.client.HTTPException):
                    self.sent_again += 1
                    if connection:
                        connection.close()
                    connection = None
                    time.sleep(0.02)
                    continue
                if reply.status in (200, 202):
                    if reply.json.get("offset") is not None:
                        place = (reply.json["partition"], reply.json["offset"])
                    self.acknowledged.append((value, place))
                    break
                if reply.status not in (429, 503):
                    self.wrong = f"{value}: {reply}"
                    return
                time.sleep(0.05)
            number += 1

    def pause(self) -> None:
        self.going.clear()
        await_until(lambda: self.resting.is_set() or self.wrong or not self.is_alive(), "a service rests", 60, 0.01)

    def end(self) -> None:
        self.ended.set()
        self.join(60)


class Loop:
    def __init__(self, broker, agent: Agent, seed: int) -> None:
        self.broker, self.agent = broker, agent
        self.random = random.Random(seed)
        self.services = [Service(agent, f"s{n}", seed * 100 + n) for n in range(SERVICES)]
        self.kills = {"agent": 0, "broker": 0, "agent while starting": 0}

    def round(self) -> None:
        time.sleep(self.random.uniform(0.05, 1.0))
        victims = self.random.choice([["agent"], ["agent"], ["broker"], ["agent", "broker"], ["broker", "agent"]])
        for victim in victims:
            self.kills[victim] += 1
            (self.agent if victim == "agent" else self.broker).kill()
            time.sleep(self.random.choice([0.0, 0.05, 0.3]))
        if "agent" in victims and self.random.random() < 0.4:
            self.kills["agent while starting"] += 1
            self.agent.spawn()
            time.sleep(self.random.uniform(0.0, 0.3))
            self.agent.kill()
        self.random.shuffle(victims)
        for victim in victims:
            (self.agent if victim == "agent" else self.broker).start()
            time.sleep(self.random.choice([0.0, 0.1]))

    def check(self) -> int:
        for service in self.services:
            service.pause()
            if service.wrong:
                raise Violation(service.wrong)
        self.agent.await_drained("orders", DRAIN_DEADLINE_S)
        rows = {p: stored(self.broker, TOPIC, p) for p in range(PARTITIONS)}
        places: dict[bytes, tuple[int, int]] = {}
        for partition, records in rows.items():
            for offset, value in records:
                name = value.split(b" ")[0]
                if name in places:
                    raise Violation(f"{name} is stored twice: at {places[name]} and {(partition, offset)}")
                places[name] = (partition, offset)
        count = 0
        for service in self.services:
            told = list(service.acknowledged)
            count += len(told)
            last = (None, -1)
            for value, place in told:
                if value not in places:
                    raise Violation(f"{value} was acknowledged and is not stored")
                if place and places[value] != place:
                    raise Violation(f"{value} was acknowledged at {place} and is stored at {places[value]}")
                partition, offset = places[value]
                if last[0] not in (None, partition) or offset <= last[1]:
                    raise Violation(f"{value} at {(partition, offset)} stands behind what was sent before it, at {last}")
                last = (partition, offset)
        if len(places) != count:
            acknowledged = {value for service in self.services for value, _ in service.acknowledged}
            raise Violation(f"{len(places)} stored, {count} acknowledged; beyond those: {sorted(set(places) - acknowledged)[:5]}")
        return count


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/agent-loop")
    parser.add_argument("rounds", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--broker", choices=["buslane", "kafka"], default="buslane")
    arguments = parser.parse_args()

    broker = BuslaneBroker() if arguments.broker == "buslane" else KafkaBroker()
    agent = Agent(broker.bootstrap, {"orders": {"topic": TOPIC, "linger": "5ms", "compression": "none"}}, shutdown_deadline="5s")
    loop = Loop(broker, agent, arguments.seed)
    print(f"agent loop: {arguments.rounds} rounds, seed {arguments.seed}, spool {agent.root}, data {broker.data}", flush=True)
    began = time.monotonic()
    done = count = 0
    try:
        broker.start()
        broker.create_topic(TOPIC, PARTITIONS)
        agent.start()
        for service in loop.services:
            service.start()
        for done in range(arguments.rounds):
            for service in loop.services:
                service.going.set()
            loop.round()
            if (done + 1) % CHECK_EVERY == 0 or done + 1 == arguments.rounds:
                count = loop.check()
                print(f"round {done + 1:3}: {count} events acknowledged and stored, {time.monotonic() - began:.0f} s", flush=True)
        for service in loop.services:
            service.end()
        agent.stop()
        broker.stop()
    except (Violation, AssertionError, StartFailed, wire.ConnectionClosed, OSError) as failure:
        agent.kill()
        broker.kill()
        print(f"\nVIOLATION in round {done + 1} of {arguments.rounds}, seed {arguments.seed}: {failure}")
        print(f"kept: {agent.root} (spool, log), {broker.data}, {broker.log_path}")
        return 1
    finally:
        agent.kill()
        broker.kill()
    shutil.rmtree(agent.root, ignore_errors=True)
    broker.remove()
    kills = ", ".join(f"{n} of the {name}" for name, n in loop.kills.items())
    again = sum(service.sent_again for service in loop.services)
    print(
        f"\nagent loop: {arguments.rounds} rounds, kills: {kills}; seed {arguments.seed}, {time.monotonic() - began:.0f} s: "
        f"{count} events acknowledged, each stored once and in order; requests sent again {again}"
    )
    print(f"{arguments.rounds} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
