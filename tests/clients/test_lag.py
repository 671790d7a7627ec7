"""How far groups are behind, for dashboards: /metrics tells it of every group and partition."""

import confluent_kafka
import pytest

from harness import wire
from harness.broker import await_until
from harness.clients import ALL
from harness.records import Record

pytestmark = pytest.mark.buslane_only(reason="about Buslane's own /metrics; Apache Kafka has an exporter beside it")


def test_lag_follows_commits_and_records(new_broker, topic):
    broker = new_broker(http=True).start()
    broker.create_topic(topic, 2)
    for partition, count in ((0, 10), (1, 4)):
        ALL["confluent"].produce(broker.bootstrap, topic, partition, [Record(None, b"v")] * count)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "billing", "enable.auto.commit": False})
    offsets = [confluent_kafka.TopicPartition(topic, 0, 7), confluent_kafka.TopicPartition(topic, 1, 4)]
    consumer.commit(offsets=offsets, asynchronous=False)

    def told(name: str, partition: int) -> float:
        return broker.metric(name, group="billing", topic=topic, partition=partition)

    assert [told("buslane_group_lag", p) for p in (0, 1)] == [3, 0]
    assert [told("buslane_group_offset", p) for p in (0, 1)] == [7, 4]
    assert broker.metric("buslane_group_members", group="billing", type="classic", state="Empty") == 0
    ALL["confluent"].produce(broker.bootstrap, topic, 1, [Record(None, b"v")] * 5)
    assert [told("buslane_group_lag", p) for p in (0, 1)] == [3, 5]
    consumer.subscribe([topic])
    await_until(lambda: consumer.poll(0.1) is not None, "the consumer is a member")
    assert broker.metric("buslane_group_members", group="billing", type="classic", state="Stable") == 1
    consumer.close()
    # What is gone is not told of any more.
    with broker.connect() as connection:
        assert wire.delete_topic(connection, topic) == 0
    with pytest.raises(AssertionError, match="no buslane_group_lag"):
        told("buslane_group_lag", 0)
    broker.stop()
