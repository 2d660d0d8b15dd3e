"""The table of planted faults: a miss and a false alarm are both wrong, whatever else is right."""

import pytest

from perf.planted import confusion
from perf.planted_archive import CLASSES, planted_hospital

PLANTED = {"1.1": frozenset(["PID_MISSING"]), "1.2": frozenset[str]()}


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({"1.1": frozenset(["PID_MISSING"])}, 0),
        ({}, 1),
        ({"1.1": frozenset(["PID_MISSING"]), "1.2": frozenset(["PID_FORMAT"])}, 1),
        ({"1.1": frozenset(["PID_FORMAT"])}, 2),
        ({"1.1": frozenset(["PID_MISSING", "OTHER"])}, 1),
        ({"1.1": frozenset(["PID_MISSING"]), "1.9": frozenset(["UID_INVALID"])}, 1),
    ],
)
def test_whatever_was_missed_or_told_in_vain_counts(found: dict[str, frozenset[str]], wrong: int) -> None:
    assert confusion(PLANTED, found)[1] == wrong


def test_every_class_is_planted_as_often_as_was_asked() -> None:
    planted = planted_hospital(studies=60, each=2, seed=3).planted

    assert {kind: sum(kind in kinds for kinds in planted.values()) for kind in CLASSES} == dict.fromkeys(CLASSES, 2)
    assert len(planted) == 60
    assert planted == planted_hospital(studies=60, each=2, seed=3).planted
