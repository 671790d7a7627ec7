"""`buslane log verify` and `dump` as a user runs them, and data folders to run them on."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .broker import buslane_binary

OK, FAILED, USAGE, MISSING, DAMAGED = 0, 1, 2, 4, 5
DEADLINE_S = 30


@dataclass
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    def expect(self, code: int) -> "Done":
        assert self.code == code and "panicked" not in self.err, f"exit code {self.code}, expected {code}\n{self.out}\n{self.err}"
        return self

    @property
    def lines(self) -> list[dict]:
        """The output as JSON, every line of it."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("BUSLANE_", "RUST_"))}


def buslane(*arguments: object, cwd: Path | None = None) -> Done:
    command = [str(buslane_binary()), *(str(argument) for argument in arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S)
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class StoredBatch:
    """A batch of a log file, read by its length field alone."""

    start: int
    end: int
    base_offset: int


def batches(log: Path) -> list[StoredBatch]:
    data, found, at = log.read_bytes(), [], 0
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at + 8 : at + 12], "big")
        found.append(StoredBatch(at, end, int.from_bytes(data[at : at + 8], "big")))
        at = end
    return found


def flip(file: Path, position: int, bits: int = 0x04) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= bits
    file.write_bytes(data)


class DataFolder:
    """A data folder that no server uses, or whose server is somebody else's business."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def copy_to(self, target: Path) -> "DataFolder":
        shutil.copytree(self.path, target)
        return DataFolder(target)

    def files(self, extension: str, partition: int = 0) -> list[Path]:
        """The partition's files by offset."""
        return sorted(self.path.glob(f"log/*/{partition}/*.{extension}"))

    @property
    def journal(self) -> Path:
        return self.path / "store.journal"

    @property
    def meta_log(self) -> Path:
        return self.path / "meta" / "log"

    def contents(self) -> dict[str, bytes]:
        """Every file, but the lock, which is made anew."""
        files = (path for path in sorted(self.path.rglob("*")) if path.is_file() and path.name != "buslane.lock")
        return {str(path.relative_to(self.path)): path.read_bytes() for path in files}

    def verify(self, *arguments: object, code: int) -> Done:
        return buslane("log", "verify", "--data", self.path, *arguments).expect(code)

    def findings(self, *arguments: object, code: int) -> tuple[list[dict], dict]:
        """The findings and the summary of `verify --json`, each with every documented field."""
        lines = self.verify("--json", *arguments, code=code).lines
        *findings, summary = lines
        assert summary.pop("type") == "summary"
        assert set(summary) == {"copies", "batches", "bytes", "notes", "torn_ends", "damage", "repaired"}
        assert all(isinstance(number, int) for number in summary.values()), summary
        for finding in findings:
            assert finding.pop("type") == "finding"
            assert set(finding) == {"severity", "file", "position", "what", "remedy", "repaired", "topic", "partition"}, finding
            assert finding["severity"] in ("note", "torn_end", "damage")
            assert finding["what"] and finding["remedy"], finding
        for severity, counted in (("note", "notes"), ("torn_end", "torn_ends"), ("damage", "damage")):
            assert sum(f["severity"] == severity for f in findings) == summary[counted]
        assert sum(f["severity"] == "damage" and f["repaired"] is not None for f in findings) == summary["repaired"]
        assert code == (DAMAGED if summary["damage"] > summary["repaired"] else OK)
        return findings, summary

    def dump(self, *arguments: object, code: int = OK) -> Done:
        return buslane("log", "dump", *arguments).expect(code)

    def partition(self, topic: str, partition: int, *arguments: object, code: int = OK) -> Done:
        return self.dump("--data", self.path, "--topic", topic, "--partition", partition, *arguments, code=code)

    def chain(self, topic: str, partition: int) -> dict:
        """What the metadata says of the partition."""
        (line,) = self.partition(topic, partition, "--chain", "--json").lines
        assert line["type"] == "partition"
        return line

    def synced_position(self, log: Path) -> int:
        """Up to where the journal knows that this log is safe on the disk."""
        segment = log.stem.split("-")[1]
        about = f"{log.parent.parent.name}/{log.parent.name}#{segment}"
        found = 0
        for line in self.dump(self.journal, "--json").lines:
            point = re.search(r"synced to offset \d+, byte (\d+)", line.get("detail", ""))
            if line.get("about") == about and point:
                found = int(point[1])
        return found
