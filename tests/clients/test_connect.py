"""Kafka Connect, standalone, with the connectors that come with it: lines of a file into a topic, and into another file."""

import subprocess

import pytest

from harness.broker import await_until, free_port
from harness.clients import ALL, EARLIEST
from harness.tools import command


class Worker:
    """`connect-standalone` with a source from `lines.txt` and a sink to `copy.txt`."""

    def __init__(self, broker, folder, topic: str) -> None:
        self.folder = folder
        string = "org.apache.kafka.connect.storage.StringConverter"
        self.write(
            "worker.properties",
            bootstrap_servers=broker.bootstrap,
            key_converter=string,
            value_converter=string,
            offset_storage_file_filename=folder / "offsets",
            offset_flush_interval_ms=500,
            listeners=f"http://127.0.0.1:{free_port()}",
        )
        connectors = "org.apache.kafka.connect.file"
        self.write("source.properties", name="lines", connector_class=f"{connectors}.FileStreamSourceConnector", file=folder / "lines.txt", topic=topic)
        self.write("sink.properties", name="copy", connector_class=f"{connectors}.FileStreamSinkConnector", file=folder / "copy.txt", topics=topic)

    def write(self, file_name: str, **settings: object) -> None:
        lines = [f"{key.replace('_', '.')}={value}" for key, value in settings.items()]
        (self.folder / file_name).write_text("\n".join([*lines, "tasks.max=1", ""]))

    def __enter__(self) -> "Worker":
        files = [self.folder / f"{name}.properties" for name in ("worker", "source", "sink")]
        log = open(self.folder / "worker.log", "ab")
        self.process = subprocess.Popen(command("connect-standalone", *files), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait(60)

    def append(self, lines: list[str]) -> None:
        with open(self.folder / "lines.txt", "a") as file:
            file.writelines(line + "\n" for line in lines)

    def await_copied(self, lines: list[str]) -> None:
        def copied() -> bool:
            assert self.process.poll() is None, (self.folder / "worker.log").read_text()
            copy = self.folder / "copy.txt"
            return copy.exists() and copy.read_text().splitlines() == lines

        await_until(copied, "all lines are in the copy", deadline_s=90, every_s=0.2)


@pytest.mark.timeout(300)
def test_a_file_goes_through_a_topic_into_another_and_goes_on_after_a_restart(broker, topic, tmp_path):
    broker.create_topic(topic)  # one partition keeps the lines in order
    worker = Worker(broker, tmp_path, topic)
    first, more = ([f"{name} {n}" for n in range(50)] for name in ("first", "more"))
    worker.append(first)
    with worker:
        worker.await_copied(first)
    # What comes while the worker is away is taken up after it, once, from where source and sink stood.
    worker.append(more)
    with worker:
        worker.await_copied(first + more)
    received = ALL["confluent"].consume(broker.bootstrap, topic, 0, EARLIEST, 100)
    assert [record.value.decode() for record in received] == first + more
