"""Whose the data folder is: one process at a time, this cluster's, this format's. A refusal names the file and changes nothing."""

import json
import shutil

import pytest

from harness import wire
from harness.broker import BuslaneBroker, StartFailed, await_until
from harness.wire import Batch


@pytest.fixture
def stopped(new_broker):
    """A broker that has written something and was stopped."""
    broker = new_broker().start()
    broker.create_topic("kept")
    with broker.connect() as connection:
        wire.produce(connection, {("kept", 0): Batch(values=[b"kept"]).encode()})
    broker.stop()
    return broker


def refused(broker) -> str:
    """What a start says that must fail, with nothing changed in the folder."""
    before = snapshot(broker)
    with pytest.raises(StartFailed) as failed:
        broker.start()
    assert failed.value.code not in (0, None, 101), failed.value
    assert snapshot(broker) == before, "a refused start changed the folder"
    return failed.value.output


def snapshot(broker) -> dict[str, bytes]:
    return {str(path.relative_to(broker.data)): path.read_bytes() for path in sorted(broker.data.rglob("*")) if path.is_file()}


def assert_all_there(broker) -> None:
    broker.start()
    with broker.connect() as connection:
        await_until(lambda: wire.list_offset(connection, "kept", 0, wire.LATEST).error == 0, "the partition is led")
        assert wire.fetch(connection, {("kept", 0): 0}).partitions["kept", 0].batches[0].values == [b"kept"]
    broker.stop()


def test_a_second_process_on_the_same_folder_is_refused_and_the_first_goes_on(new_broker, topic):
    first = new_broker().start()
    first.create_topic(topic)
    second = new_broker(data=first.data)
    with pytest.raises(StartFailed) as failed:
        second.start()
    assert failed.value.code not in (0, None, 101)
    assert str(first.data) in failed.value.output and "in use" in failed.value.output, failed.value.output
    with first.connect() as connection:
        assert wire.produce(connection, {(topic, 0): Batch().encode()})[topic, 0].error == 0
    first.kill()
    # A killed process holds no lock.
    second.start().stop()


def test_a_newer_format_is_refused(stopped):
    path = stopped.data / "buslane.json"
    original = path.read_text()
    path.write_text(json.dumps({**json.loads(original), "format": 99}))
    output = refused(stopped)
    assert "buslane.json" in output and "99" in output and "newer" in output, output
    path.write_text(original)
    assert_all_there(stopped)


@pytest.mark.parametrize("text", ["", "{", "not JSON at all", '{"format": 1}', "[]", '{"format": "one", "cluster_id": 5, "node_id": "x"}'])
def test_an_unreadable_identity_is_refused(stopped, text):
    path = stopped.data / "buslane.json"
    original = path.read_text()
    path.write_text(text)
    output = refused(stopped)
    assert str(path) in output, output
    path.write_text(original)
    assert_all_there(stopped)


def test_a_missing_identity_beside_data_is_refused(stopped):
    path = stopped.data / "buslane.json"
    original = path.read_text()
    path.unlink()
    with pytest.raises(StartFailed) as failed:
        stopped.start()
    assert "buslane.json" in failed.value.output, failed.value.output
    assert not path.exists(), "an identity was made up for data that belongs to somebody"
    path.write_text(original)
    assert_all_there(stopped)


def test_another_nodes_folder_is_refused(stopped):
    node_id = json.loads((stopped.data / "buslane.json").read_text())["node_id"]
    other = BuslaneBroker({"server.node_id": node_id + 1}, data=stopped.data)
    try:
        output = refused(other)
        assert "buslane.json" in output and str(node_id) in output and str(node_id + 1) in output, output
    finally:
        other.remove()
    assert_all_there(stopped)


def test_the_identity_stays_over_kills_and_starts(stopped):
    before = json.loads((stopped.data / "buslane.json").read_text())
    for _ in range(3):
        stopped.start()
        stopped.kill()
    assert json.loads((stopped.data / "buslane.json").read_text()) == before
    assert_all_there(stopped)


class TestMetadata:
    """What stands under meta/ says what the segments are: without it, or with another one, they are not touched."""

    @staticmethod
    def refused(broker, *words: str) -> None:
        before = {name: content for name, content in snapshot(broker).items() if name.startswith(("log/", "orphans/"))}
        with pytest.raises(StartFailed) as failed:
            broker.start()
        assert failed.value.code not in (0, None, 101), failed.value
        for word in (str(broker.data / "meta"), *words):
            assert word in failed.value.output, failed.value.output
        assert {name: content for name, content in snapshot(broker).items() if name.startswith(("log/", "orphans/"))} == before

    @pytest.mark.parametrize("left", ["nothing", "an empty folder"])
    def test_segments_without_metadata_are_refused_and_kept(self, stopped, tmp_path, left):
        meta = stopped.data / "meta"
        shutil.move(meta, tmp_path / "meta")
        if left == "an empty folder":
            meta.mkdir()
        assert "bring back" in refused(stopped)
        shutil.rmtree(meta, ignore_errors=True)
        shutil.move(tmp_path / "meta", meta)
        assert_all_there(stopped)

    @pytest.mark.parametrize("ending", ["stop", "kill"])
    def test_an_older_copy_of_the_metadata_is_refused(self, stopped, tmp_path, ending):
        meta = stopped.data / "meta"
        shutil.copytree(meta, tmp_path / "older")
        stopped.start()
        with stopped.connect() as connection:
            wire.produce(connection, {("kept", 0): Batch(values=[b"later"]).encode()})
        getattr(stopped, ending)()
        shutil.move(meta, tmp_path / "newer")
        shutil.copytree(tmp_path / "older", meta)
        self.refused(stopped, "older than what stands beside it", "the whole data folder")
        shutil.rmtree(meta)
        shutil.move(tmp_path / "newer", meta)
        assert_all_there(stopped)

    def test_the_metadata_of_another_cluster_is_refused(self, stopped, new_broker, tmp_path):
        other = new_broker().start()
        other.create_topic("other")
        other.stop()
        meta = stopped.data / "meta"
        shutil.move(meta, tmp_path / "own")
        shutil.copytree(other.data / "meta", meta)
        self.refused(stopped, "belongs to cluster")
        shutil.rmtree(meta)
        shutil.move(tmp_path / "own", meta)
        assert_all_there(stopped)

    def test_a_store_that_was_moved_away_begins_above_the_runs_that_are_known(self, stopped):
        for _ in range(3):
            stopped.start().stop()
        (stopped.data / "store.journal").unlink()
        shutil.rmtree(stopped.data / "log")
        stopped.start()
        try:
            with stopped.connect() as connection:
                assert wire.list_offset(connection, "kept", 0, wire.LATEST).error != 0, "its segment is missed"
            stopped.create_topic("fresh")
        finally:
            stopped.stop()
