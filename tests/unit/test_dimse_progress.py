"""How long a retrieve's pending answers are left alone (`actors.dimse.move.Progress`)."""

from datetime import timedelta
from struct import pack

import pytest

from actors.dimse import move
from actors.dimse.command import RESPONSE, Command, Tag, Verb
from actors.dimse.conversation import Response

PATIENCE = timedelta(seconds=60)


def pending(*, done: int, left: int | None) -> Response:
    values = {int(Tag.COMPLETED): pack("<H", done)}
    if left is not None:
        values[int(Tag.REMAINING)] = pack("<H", left)
    command = Command(Verb.C_MOVE | RESPONSE, has_dataset=False, values=values)
    return Response(command=command, status=0xFF00, dataset=b"")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds it is; a test moves it on."""
    now = [1000.0]
    monkeypatch.setattr(move.time, "monotonic", lambda: now[0])
    return now


def test_half_of_what_is_left_is_waited_for(clock: list[float]) -> None:
    progress = move.Progress(PATIENCE)
    clock[0] += 0.010
    progress.note(pending(done=10, left=4))
    assert progress.lull() == pytest.approx(0.002)


def test_no_wait_is_longer_than_a_lull(clock: list[float]) -> None:
    progress = move.Progress(PATIENCE)
    clock[0] += 5.0
    progress.note(pending(done=1, left=60_000))
    assert progress.lull() == move.LULL


@pytest.mark.parametrize("answer", [pending(done=0, left=9), pending(done=9, left=0), pending(done=9, left=None)])
def test_the_next_answer_may_be_the_last(clock: list[float], answer: Response) -> None:
    progress = move.Progress(PATIENCE)
    clock[0] += 1.0
    progress.note(answer)
    assert progress.lull() == 0.0
