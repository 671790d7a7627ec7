"""The tables of docs/compatibility.md, so that tests can hold the document to what brokers do, and to its tests."""

import re
from dataclasses import dataclass

from .cache import CHECKOUT

DOCUMENT = CHECKOUT / "docs" / "compatibility.md"
TOPIC_HONOURED, TOPIC_FIXED, SERVER = "Topic settings: honoured", "Topic settings: known, with one value", "Server settings"


def section(heading: str) -> str:
    """The text under a heading."""
    found = [part for part in DOCUMENT.read_text().split("\n## ") if part.startswith(heading + "\n")]
    assert len(found) == 1, f"{len(found)} sections '{heading}' in {DOCUMENT}"
    return found[0]


def table(heading: str) -> list[dict[str, str]]:
    """The rows of the table under a heading, by the names of its columns. Code marks around a whole cell are left out."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])] for line in lines]
    names, _, *rows = cells
    assert all(len(row) == len(names) for row in rows), f"'{heading}': a row has more or fewer cells than the table"
    return [dict(zip(names, (re.sub(r"^`([^`]*)`$", r"\1", cell) for cell in row))) for row in rows]


@dataclass(frozen=True)
class Link:
    """A test that the document names: `path::function`, or a whole file."""

    path: str
    function: str | None

    def is_there(self) -> bool:
        file = CHECKOUT / self.path
        if not file.is_file():
            return False
        if self.function is None:
            return True
        definition = {".py": rf"^def {self.function}\(", ".rs": rf"#\[(tokio::)?test[^\n]*\n\s*(async )?fn {self.function}\("}[file.suffix]
        return bool(re.search(definition, file.read_text(), re.MULTILINE))

    def __str__(self) -> str:
        return self.path if self.function is None else f"{self.path}::{self.function}"


def links(text: str) -> list[Link]:
    """The tests named in a cell or a paragraph."""
    found = re.findall(r"`?\b((?:tests|core|cli)/[\w./-]+\.(?:py|rs))(?:::(\w+))?`?", text)
    return [Link(path, function or None) for path, function in found]
