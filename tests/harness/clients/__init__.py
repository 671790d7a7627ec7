"""Every outside client, driven through one interface (base.py)."""

from .aio import AioKafka
from .base import CODECS, EARLIEST, LATEST, Client
from .confluent import Confluent
from .driver import ClientError
from .go import FranzGo, Sarama
from .java import Java
from .kafka_python import KafkaPython
from .kafkajs import KafkaJs
from .kcat import Kcat

ALL: dict[str, Client] = {
    client.name: client for client in (Kcat(), Confluent(), AioKafka(), KafkaPython(), Java(), KafkaJs(), FranzGo(), Sarama())
}
PRODUCERS = [name for name, client in ALL.items() if client.can_produce]
CONSUMERS = [name for name, client in ALL.items() if client.can_consume]

__all__ = ["ALL", "CODECS", "CONSUMERS", "EARLIEST", "LATEST", "PRODUCERS", "Client", "ClientError"]
