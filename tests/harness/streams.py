"""Idempotent producers that go on while the broker is stopped, killed and started, and the proof of what they were told.

A stream sends numbered values "name:n" round robin over the partitions, and keeps what was acknowledged where.
"""

import logging
import threading
import time
from dataclasses import dataclass, field

import confluent_kafka

from . import wire
from .broker import Broker, await_until
from .clients import ALL

# While the broker is down librdkafka would complain several times a second.
_QUIET = logging.getLogger("librdkafka")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


@dataclass
class Told:
    """What a stream was told: for each partition its acknowledged (number, offset) in order, and all failures."""

    name: str
    acknowledged: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    sent: int = 0

    @property
    def count(self) -> int:
        return sum(len(rows) for rows in self.acknowledged.values())


class ConfluentStream:
    """librdkafka's idempotent producer in a thread."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, name: str, pause_s: float = 0.0005, **config) -> None:
        self.told = Told(name)
        self._topic, self._partitions, self._pause_s = topic, partitions, pause_s
        self._stopping = threading.Event()
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 2,
                "message.timeout.ms": 60_000,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "retry.backoff.ms": 20,
                "retry.backoff.max.ms": 100,
                "topic.metadata.refresh.fast.interval.ms": 50,
                **config,
            },
            logger=_QUIET,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        n = 0
        while not self._stopping.is_set():
            try:
                self._producer.produce(
                    self._topic, b"%s:%d" % (self.told.name.encode(), n), partition=n % self._partitions, on_delivery=self._report(n)
                )
            except BufferError:
                self._producer.poll(0.01)
                continue
            except confluent_kafka.KafkaException as failure:  # a fatal error of the idempotent producer
                self.told.failures.append(f"{n}: {failure}")
                return
            n += 1
            self.told.sent = n
            self._producer.poll(0)
            time.sleep(self._pause_s)

    def _report(self, number: int):
        def report(error, message):
            if error is None:
                self.told.acknowledged.setdefault(message.partition(), []).append((number, message.offset()))
            else:
                self.told.failures.append(f"{number}: {error}")

        return report

    @property
    def acknowledged_so_far(self) -> int:
        return self.told.count

    def stop(self, deadline_s: float = 60) -> Told:
        self._stopping.set()
        self._thread.join(10)
        left = self._producer.flush(deadline_s)
        if left:
            self.told.failures.append(f"{left} messages neither acknowledged nor failed after {deadline_s} s")
        return self.told


class JavaStream:
    """The Java client's idempotent producer, in the driver's JVM."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, name: str, pause_s: float = 0.0005, **config) -> None:
        self._name = name
        ALL["java"].driver.ask(
            "stream-start",
            bootstrap=bootstrap,
            topic=topic,
            partitions=partitions,
            name=name,
            pause_us=int(pause_s * 1e6),
            config={"reconnect.backoff.ms": "20", "retry.backoff.ms": "20", **config},
        )

    @property
    def acknowledged_so_far(self) -> int:
        return ALL["java"].driver.ask("stream-progress", name=self._name)

    def stop(self, deadline_s: float = 60) -> Told:
        answer = ALL["java"].driver.ask("stream-stop", name=self._name, deadline_s=deadline_s + 30)
        acknowledged = {int(partition): [tuple(row) for row in rows] for partition, rows in answer["acknowledged"].items()}
        return Told(self._name, acknowledged, answer["failures"], answer["sent"])


def stored(broker: Broker, topic: str, partition: int, start: int | None = None) -> list[tuple[int, bytes]]:
    """Every record of a partition from `start` (or the log start) on as (offset, value), read by raw fetches; checks CRCs
    and that offsets are contiguous."""
    rows: list[tuple[int, bytes]] = []
    with broker.connect(timeout=30) as connection:
        end = await_until(
            lambda: (found := wire.list_offset(connection, topic, partition, wire.LATEST)).error == 0 and found,
            f"{topic}-{partition} is led",
        ).offset
        at = wire.list_offset(connection, topic, partition, wire.EARLIEST).offset if start is None else start
        while at < end:
            found = wire.fetch(connection, {(topic, partition): at}).partitions[topic, partition]
            assert found.error == 0, f"{topic}-{partition} at {at}: {wire.error_name(found.error)}"
            assert found.batches, f"{topic}-{partition}: nothing to read at {at}, and the log end is {end}"
            for batch in found.batches:
                assert batch.crc_is_right, f"{topic}-{partition}: wrong CRC at {batch.base_offset}"
                rows += [(batch.base_offset + i, value) for i, value in enumerate(batch.values) if batch.base_offset + i >= at]
                at = batch.last_offset + 1
    offsets = [offset for offset, _ in rows]
    assert offsets == list(range(offsets[0], offsets[0] + len(offsets))) if offsets else True, f"{topic}-{partition}: gaps between offsets"
    return rows


def violations(rows: list[tuple[int, bytes]], partition: int, told: Told) -> list[str]:
    """What contradicts "acknowledged = stored, exactly once, in order, at the told offset" for one stream and partition."""
    found: list[str] = []
    prefix = told.name.encode() + b":"
    numbers = [(int(value[len(prefix) :]), offset) for offset, value in rows if value is not None and value.startswith(prefix)]
    seen: dict[int, int] = {}
    last = -1
    for number, offset in numbers:
        if number in seen:
            found.append(f"partition {partition}: {told.name}:{number} is stored twice, at {seen[number]} and {offset}")
            continue
        if number < last:
            found.append(f"partition {partition}: {told.name}:{number} at {offset} stands behind {last}")
        seen[number] = offset
        last = max(last, number)
    for number, offset in told.acknowledged.get(partition, []):
        if number not in seen:
            found.append(f"partition {partition}: {told.name}:{number} was acknowledged at {offset} and is not stored")
        elif seen[number] != offset:
            found.append(f"partition {partition}: {told.name}:{number} was acknowledged at {offset} and is stored at {seen[number]}")
    return found
