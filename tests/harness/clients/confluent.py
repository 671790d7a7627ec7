"""confluent-kafka: librdkafka's Python face."""

import time

import confluent_kafka
from confluent_kafka import TopicPartition

from ..records import Record
from .base import EARLIEST, LATEST, Client, Start

TIMESTAMP_TYPES = {confluent_kafka.TIMESTAMP_CREATE_TIME: "CreateTime", confluent_kafka.TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime"}
OFFSETS = {EARLIEST: confluent_kafka.OFFSET_BEGINNING, LATEST: confluent_kafka.OFFSET_END}


def as_record(message: confluent_kafka.Message) -> Record:
    kind, timestamp = message.timestamp()
    return Record(
        key=message.key(),
        value=message.value(),
        headers=tuple(message.headers() or ()),
        timestamp=timestamp,
        offset=message.offset(),
        timestamp_type=TIMESTAMP_TYPES.get(kind),
    )


def open_consumer(bootstrap: str, topic: str, partition: int, start: Start, **config) -> confluent_kafka.Consumer:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused: partitions are assigned, nothing is committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            **config,
        }
    )
    consumer.assign([TopicPartition(topic, partition, OFFSETS.get(start, start))])
    return consumer


def read(consumer: confluent_kafka.Consumer, count: int, deadline_s: float) -> list[Record]:
    """`count` records, or what came before the deadline. An error that the client reports is raised."""
    records: list[Record] = []
    end = time.monotonic() + deadline_s
    while len(records) < count and time.monotonic() < end:
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            raise confluent_kafka.KafkaException(message.error())
        records.append(as_record(message))
    return records


class Confluent(Client):
    name = "confluent"
    can_produce = True
    can_consume = True
    produce_errors = (confluent_kafka.KafkaException,)

    def produce(self, bootstrap, topic, partition, records, codec="none", idempotent=True, **config):
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": idempotent,
                "acks": "all",
                "compression.type": codec,
                "linger.ms": 5,
                # Without idempotence a retry reorders what is under way behind it.
                "max.in.flight": 5 if idempotent else 1,
                "batch.num.messages": 25,
                "delivery.timeout.ms": 20000,
                **config,
            }
        )
        offsets: dict[int, int] = {}
        failures = []

        def delivered(index):
            def report(error, message):
                if error:
                    failures.append(error)
                else:
                    offsets[index] = message.offset()

            return report

        for index, record in enumerate(records):
            stamp = {} if record.timestamp is None else {"timestamp": record.timestamp}
            producer.produce(topic, record.value, record.key, partition, delivered(index), headers=list(record.headers), **stamp)
            producer.poll(0)
        left = producer.flush(30)
        if failures:
            raise confluent_kafka.KafkaException(failures[0])
        assert left == 0, f"{left} messages are still undelivered after 30 s"
        return [offsets[index] for index in range(len(records))]

    def consume(self, bootstrap, topic, partition, start: Start, count, deadline_s=15.0, **config):
        consumer = open_consumer(bootstrap, topic, partition, start, **config)
        try:
            return read(consumer, count, deadline_s)
        finally:
            consumer.close()

    def offsets_for_times(self, bootstrap, topic, partition, timestamps):
        consumer = open_consumer(bootstrap, topic, partition, LATEST)
        try:
            found = {t: consumer.offsets_for_times([TopicPartition(topic, partition, t)], 10)[0].offset for t in timestamps}
            return {t: None if offset == confluent_kafka.OFFSET_END else offset for t, offset in found.items()}
        finally:
            consumer.close()
