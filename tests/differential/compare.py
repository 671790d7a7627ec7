"""Two transcripts side by side: where they differ, and how that is shown."""

import itertools
from dataclasses import dataclass

from .script import Step

ABSENT = "<absent>"


@dataclass(frozen=True)
class Difference:
    """`step` counts from 0. `request` is the step's label, `path` leads to a value of its answer ("topics/orders/errorCode")."""

    step: int
    request: str
    path: str
    kafka: object
    buslane: object


def show(found: list[Difference]) -> str:
    lines = []
    for (step, request), of_step in itertools.groupby(found, lambda one: (one.step, one.request)):
        lines.append(f"  step {step}: {_short(request, 400)}")
        lines += [f"    {one.path or 'answer'}: kafka {_short(one.kafka)}, buslane {_short(one.buslane)}" for one in of_step]
    return "\n".join(lines)


def _short(value: object, longest: int = 600) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"


def differences(kafka: list[Step], buslane: list[Step]) -> list[Difference]:
    found = []
    for number, (theirs, ours) in enumerate(itertools.zip_longest(kafka, buslane, fillvalue=(ABSENT, ABSENT))):
        if theirs[0] != ours[0]:
            # From here on they went different ways.
            found.append(Difference(number, theirs[0], "request", theirs[0], ours[0]))
            break
        found += [Difference(number, theirs[0], "/".join(path), *pair) for path, pair in _differing(theirs[1], ours[1], ())]
    return found


# Items of a list that have one of these go by it, others by their place.
NAMES = (
    "name",
    "topicName",
    "topic",
    "groupId",
    "group",
    "resourceName",
    "memberId",
    "topicId",
    "partitionIndex",
    "partition",
    "apiKey",
    "key",
)


def _differing(theirs: object, ours: object, path: tuple[str, ...]):
    """Yields (path, (theirs, ours)) for each value that differs, as deep as both have one."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys(), key=str):
            yield from _differing(theirs.get(key, ABSENT), ours.get(key, ABSENT), (*path, str(key)))
    elif isinstance(theirs, list) and isinstance(ours, list) and _named(theirs) is not None and _named(ours) is not None:
        yield from _differing(_named(theirs), _named(ours), path)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for place, pair in enumerate(zip(theirs, ours)):
            yield from _differing(*pair, (*path, str(place)))
    elif theirs != ours and not _explains_more(theirs, ours, path):
        yield path, (theirs, ours)


def _explains_more(theirs: object, ours: object, path: tuple[str, ...]) -> bool:
    """A text for people where Kafka has none does no harm."""
    return bool(path) and path[-1].endswith("rrorMessage") and theirs in (None, "") and ours == "<text>"


def _named(items: list) -> dict[str, object] | None:
    """The items by their names, where each has one of its own."""
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    for name in NAMES:
        names = [item.get(name) for item in items]
        if None not in names and len(set(map(str, names))) == len(names):
            return dict(zip(map(str, names), items))
    return None
