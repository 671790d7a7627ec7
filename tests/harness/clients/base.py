"""What every driven client offers. `bootstrap` is "host:port"; further keyword arguments are the client's own settings."""

from ..records import Record

# Where a consumer starts: an offset, or a word.
Start = int | str
EARLIEST, LATEST = "earliest", "latest"

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class Client:
    name: str
    can_produce = False
    can_consume = False

    # What a client cannot say or show, each with the reason where it is set. The tests send or expect less then.
    sends_text_only = False
    sends_null_headers = True
    sends_timestamps = True
    # What `produce` raises when the broker refuses.
    produce_errors: tuple[type[Exception], ...] = (Exception,)

    def produce(
        self, bootstrap: str, topic: str, partition: int, records: list[Record], codec: str = "none", idempotent: bool = True, **config
    ) -> list[int] | None:
        """Sends all with acks=all and waits. The offsets, in order, or None where the client does not tell them."""
        raise NotImplementedError

    def consume(
        self, bootstrap: str, topic: str, partition: int, start: Start, count: int, deadline_s: float = 15.0, **config
    ) -> list[Record]:
        """Reads an assigned partition, without a group: `count` records, or what came before the deadline."""
        raise NotImplementedError

    def offsets_for_times(self, bootstrap: str, topic: str, partition: int, timestamps: list[int]) -> dict[int, int | None]:
        """For each timestamp the first offset at or after it, None where there is none."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what the client keeps running."""
