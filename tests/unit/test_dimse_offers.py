"""Contexts for C-GET: never more than there may be, and each class of the study in every transfer syntax."""

import pytest

from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE
from actors.dimse.offers import ROOM, offers

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
JPEG = "1.2.840.10008.1.2.4.50"
PRIVATE = "1.2.840.113619.4.30"


def syntaxes(classes: tuple[str, ...], of: str) -> list[tuple[str, ...]]:
    return [each for name, each in offers(classes) if name == of]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 40, 64, 125, 500])
def test_there_are_never_more_contexts_than_fit_and_every_class_takes_every_syntax(count: int) -> None:
    classes = tuple(f"1.2.3.{n}" for n in range(count))

    offered = offers(classes)

    every = {syntax for name, group in offered if name == offered[0][0] for syntax in group}
    assert len(offered) <= ROOM
    assert {IMPLICIT_LE, EXPLICIT_LE, JPEG} <= every
    for each in classes[:ROOM] if count <= ROOM else ():
        assert {syntax for group in syntaxes(classes, each) for syntax in group} == every


def test_a_class_of_the_study_leaves_the_archive_no_choice_of_syntax() -> None:
    assert all(len(group) == 1 for each in (CT, PRIVATE) for group in syntaxes((CT, PRIVATE), each))
    assert syntaxes((CT, PRIVATE), CT)[0] == (EXPLICIT_LE,)


def test_classes_that_a_list_left_out_can_be_sent_all_the_same() -> None:
    assert len(syntaxes((CT,), MR)) == 2
    assert len(syntaxes((), CT)) == 2


def test_what_is_no_storage_class_is_not_offered() -> None:
    assert syntaxes(("1.2.840.10008.5.1.4.1.2.2.1", "", CT), "1.2.840.10008.5.1.4.1.2.2.1") == []
