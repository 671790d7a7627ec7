"""aiokafka."""

import asyncio
import time

import aiokafka
import aiokafka.errors

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


class AioKafka(Client):
    name = "aiokafka"
    can_produce = True
    can_consume = True
    produce_errors = (aiokafka.errors.KafkaError,)

    def produce(self, bootstrap, topic, partition, records, codec="none", idempotent=True, **config):
        async def work():
            config.setdefault("max_batch_size", 16384)
            producer = aiokafka.AIOKafkaProducer(
                bootstrap_servers=bootstrap,
                acks="all",
                enable_idempotence=idempotent,
                linger_ms=5,
                compression_type=None if codec == "none" else codec,
                request_timeout_ms=15000,
                **config,
            )
            await producer.start()
            try:
                sent = [
                    await producer.send(
                        topic,
                        value=record.value,
                        key=record.key,
                        partition=partition,
                        timestamp_ms=record.timestamp,
                        headers=list(record.headers),
                    )
                    for record in records
                ]
                return [(await one).offset for one in sent]
            finally:
                await producer.stop()

        return asyncio.run(work())

    def consume(self, bootstrap, topic, partition, start: Start, count, deadline_s=15.0, **config):
        async def work():
            consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none", **config)
            assigned = aiokafka.TopicPartition(topic, partition)
            await consumer.start()
            try:
                consumer.assign([assigned])
                if start == EARLIEST:
                    await consumer.seek_to_beginning(assigned)
                elif start == LATEST:
                    await consumer.seek_to_end(assigned)
                else:
                    consumer.seek(assigned, start)
                records: list[Record] = []
                end = time.monotonic() + deadline_s
                while len(records) < count and time.monotonic() < end:
                    for messages in (await consumer.getmany(assigned, timeout_ms=200)).values():
                        records += [as_record(message) for message in messages]
                return records
            finally:
                await consumer.stop()

        return asyncio.run(work())

    def offsets_for_times(self, bootstrap, topic, partition, timestamps):
        async def work():
            consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
            assigned = aiokafka.TopicPartition(topic, partition)
            await consumer.start()
            try:
                consumer.assign([assigned])
                found = {t: (await consumer.offsets_for_times({assigned: t}))[assigned] for t in timestamps}
                return {t: None if one is None else one.offset for t, one in found.items()}
            finally:
                await consumer.stop()

        return asyncio.run(work())
