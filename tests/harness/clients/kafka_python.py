"""kafka-python."""

import time

import kafka
import kafka.errors

from ..records import Record
from .base import EARLIEST, LATEST, Client, Start

TIMESTAMP_TYPES = {0: "CreateTime", 1: "LogAppendTime"}


def as_record(message) -> Record:
    return Record(
        key=message.key,
        value=message.value,
        headers=tuple(message.headers),
        timestamp=message.timestamp,
        offset=message.offset,
        timestamp_type=TIMESTAMP_TYPES.get(message.timestamp_type),
    )


class KafkaPython(Client):
    name = "kafka-python"
    can_produce = True
    can_consume = True
    # "All headers items must be (str, bytes) tuples".
    sends_null_headers = False
    produce_errors = (kafka.errors.KafkaError,)

    def produce(self, bootstrap, topic, partition, records, codec="none", idempotent=True, **config):
        producer = kafka.KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=idempotent,
            linger_ms=5,
            max_block_ms=15000,
            compression_type=None if codec == "none" else codec,
            delivery_timeout_ms=20000,
            request_timeout_ms=10000,
            max_in_flight_requests_per_connection=5 if idempotent else 1,
            **config,
        )
        try:
            sent = [producer.send(topic, record.value, record.key, list(record.headers), partition, record.timestamp) for record in records]
            producer.flush(20)
            return [one.get(20).offset for one in sent]
        finally:
            producer.close(5)

    def consume(self, bootstrap, topic, partition, start: Start, count, deadline_s=15.0, **config):
        consumer = kafka.KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none", **config)
        assigned = kafka.TopicPartition(topic, partition)
        try:
            consumer.assign([assigned])
            if start == EARLIEST:
                consumer.seek_to_beginning(assigned)
            elif start == LATEST:
                consumer.seek_to_end(assigned)
            else:
                consumer.seek(assigned, start)
            records: list[Record] = []
            end = time.monotonic() + deadline_s
            while len(records) < count and time.monotonic() < end:
                for messages in consumer.poll(200).values():
                    records += [as_record(message) for message in messages]
            return records
        finally:
            consumer.close()

    def offsets_for_times(self, bootstrap, topic, partition, timestamps):
        consumer = kafka.KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        assigned = kafka.TopicPartition(topic, partition)
        try:
            consumer.assign([assigned])
            found = {t: consumer.offsets_for_times({assigned: t})[assigned] for t in timestamps}
            return {t: None if one is None else one.offset for t, one in found.items()}
        finally:
            consumer.close()
