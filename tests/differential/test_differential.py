"""The same script on Buslane and on Apache Kafka: what it is answered must be the same, or stand in known.py."""

import pytest

from . import scenarios  # noqa: F401
from .compare import differences, show
from .known import KNOWN, matches
from .script import SCENARIOS

pytestmark = pytest.mark.buslane_only(reason="runs both brokers itself")

# Entries of KNOWN that a scenario needed, and the scenarios that were played.
_needed: set[int] = set()
_played: set[str] = set()


# Those that restart the brokers come first: Kafka takes long to start when there are many topics.
@pytest.mark.parametrize("name", sorted(SCENARIOS, key=lambda name: not SCENARIOS[name].restarts))
def test_buslane_answers_as_kafka_does(pair, name):
    scripts = pair.play(SCENARIOS[name])
    found = differences(scripts["kafka"].transcript, scripts["buslane"].transcript)
    unknown = []
    for one in found:
        covering = [number for number, known in enumerate(KNOWN) if known.covers(name, one)]
        _needed.update(covering)
        if not covering:
            unknown.append(one)
    _played.add(name)
    failed = [f"{kind}: {script.failure!r}" for kind, script in scripts.items() if hasattr(script, "failure")]
    if unknown or failed:
        pytest.fail(f"{len(unknown)} unknown differences; {' '.join(failed)}\n" + show(unknown), pytrace=False)


def test_every_known_difference_still_is_one():
    """Of the entries whose scenarios were all played."""
    complete = [number for number, one in enumerate(KNOWN) if all(name in _played for name in SCENARIOS if matches(name, one.scenario))]
    stale = [KNOWN[number] for number in complete if number not in _needed]
    assert not stale, "no longer needed in known.py:\n" + "\n".join(map(str, stale))
    for one in KNOWN:
        assert any(matches(name, one.scenario) for name in SCENARIOS), f"no such scenario: {one}"
