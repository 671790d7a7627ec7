"""The judge of crash tests must itself be able to find each kind of fault."""

import pytest

from harness.streams import Told, violations


def told(*rows: tuple[int, int]) -> Told:
    return Told("p", {0: list(rows)})


STORED = [(0, b"p:0"), (1, b"other:0"), (2, b"p:1"), (3, b"p:2")]


def test_what_is_right_is_no_violation():
    assert violations(STORED, 0, told((0, 0), (1, 2), (2, 3))) == []
    assert violations(STORED, 0, told((0, 0))) == [], "stored though its acknowledgement was lost: allowed"


@pytest.mark.parametrize(
    ("rows", "acknowledged", "what"),
    [
        (STORED, [(3, 4)], "is not stored"),
        (STORED, [(1, 1)], "acknowledged at 1 and is stored at 2"),
        ([*STORED, (4, b"p:1")], [(1, 2)], "stored twice"),
        ([(0, b"p:1"), (1, b"p:0")], [], "stands behind"),
    ],
)
def test_each_kind_of_fault_is_found(rows, acknowledged, what):
    found = violations(rows, 0, told(*acknowledged))
    assert len(found) == 1 and what in found[0]
