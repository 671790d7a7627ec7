"""A partition that is not recovered yet does not answer as if it were: the ends of a log never move back for a client."""

import time

import pytest

from harness import wire
from harness.broker import await_until
from harness.wire import Batch

RECORDS = 500


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_the_end_of_the_log_is_never_told_too_low_after_a_restart(new_broker, kind, topic, ending):
    """Asked as soon as the port opens: an error that says "not yet", or the truth. A consumer that is told 0 starts over."""
    broker = new_broker().start()
    broker.create_topic(topic, 4)
    with broker.connect() as connection:
        for partition in range(4):
            for _ in range(RECORDS // 10):
                assert wire.produce(connection, {(topic, partition): Batch(values=[b"v"] * 10).encode()})[topic, partition].error == 0
    for _ in range(1 if kind == "kafka" else 5):
        getattr(broker, ending)()
        broker.start()
        with broker.connect() as connection:
            wrong = []
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                for partition in range(4):
                    latest = wire.list_offset(connection, topic, partition, wire.LATEST)
                    if latest.error == 0 and latest.offset != RECORDS:
                        wrong.append(f"ListOffsets tells the end of {partition} as {latest.offset}")
                    found = wire.fetch(connection, {(topic, partition): 0}, max_wait_ms=0).partitions[topic, partition]
                    if found.error == 0 and found.high_watermark != RECORDS:
                        wrong.append(f"Fetch tells the high watermark of {partition} as {found.high_watermark}")
                    beyond = wire.fetch(connection, {(topic, partition): RECORDS}, max_wait_ms=0).partitions[topic, partition]
                    if wire.error_name(beyond.error) == "OFFSET_OUT_OF_RANGE":
                        wrong.append(f"the end of {partition} is called out of range")
            assert wrong == []
            await_until(
                lambda: all(wire.list_offset(connection, topic, p, wire.LATEST).offset == RECORDS for p in range(4)), "all is served again"
            )
    broker.stop()
