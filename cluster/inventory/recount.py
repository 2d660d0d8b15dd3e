"""Asks again for studies by their UIDs: what is younger than its study date, or changed after it.

    lists of UIDs -> those a list did not bring, one by one -> done

A list that brings nothing at all is one the archive does not understand, so that no further list is tried.
"""

from collections import deque
from collections.abc import Iterable
from itertools import islice

from actors.source import FindAnswer, FindEnd, StudyWindow
from cluster.inventory.completeness import Caps, Signal
from cluster.inventory.cuts import Settled, Verdict
from cluster.inventory.plan import Stage
from imaging.uid import Uid

LIST_LENGTH = 50
"""UIDs in one question: about 3 KB, which fits the smallest PDUs in use; archives with list limits allow 100."""


class RecountPlan:
    """The same verbs as `Plan`: alternate `question` and `take` until `question` gives None."""

    def __init__(self, uids: Iterable[Uid]) -> None:
        """`uids` is read as questions are asked, so it may be as long as the archive."""
        self.caps = Caps(None)
        self.stage = Stage.RECOUNT
        self._uids = iter(uids)
        self._single: deque[tuple[Uid, StudyWindow | None]] = deque()
        """Studies to be asked for alone, and the list that did not bring them."""
        self._lists = True
        self._next: StudyWindow | None = None
        self._settled: list[Settled] = []

    def question(self) -> StudyWindow | None:
        """The next window to ask, the same one until its answer is taken; None when all is settled."""
        if self._next is None:
            uids = self._batch()
            self._next = StudyWindow(study_uids=uids) if uids else None
            self.stage = Stage.RECOUNT if uids else Stage.DONE
        return self._next

    def take(self, answer: FindAnswer) -> None:
        """The answer to `question` is taken into account."""
        if self._next is None or answer.window != self._next:
            raise ValueError("not the answer to the question that was asked")
        self._next = None
        brought = {study.study_uid for study in answer.studies}
        left = [uid for uid in answer.window.study_uids if uid not in brought]
        whole = answer.end is FindEnd.SUCCESS
        if len(answer.window.study_uids) == 1:
            # A study that an honest answer does not bring is gone from the archive.
            parent = self._single.popleft()[1] if self._single else None
            self._settle(answer, Verdict.COMPLETE if whole or brought else Verdict.UNSPLITTABLE, parent)
            return
        self._lists = self._lists and bool(brought)
        self._single += ((uid, answer.window) for uid in left)
        self._settle(answer, Verdict.SPLIT if left else Verdict.COMPLETE, None)

    def settled(self) -> list[Settled]:
        """Verdicts reached since the last call, oldest first."""
        found, self._settled = self._settled, []
        return found

    def _batch(self) -> tuple[Uid, ...]:
        if self._single:
            return (self._single[0][0],)
        length = LIST_LENGTH if self._lists else 1
        return tuple(islice(self._uids, length))

    def _settle(self, answer: FindAnswer, verdict: Verdict, parent: StudyWindow | None) -> None:
        signal = Signal.ENDED if verdict is Verdict.UNSPLITTABLE else None
        self._settled.append(
            Settled(window=answer.window, verdict=verdict, rows=len(answer.studies), signal=signal, parent=parent)
        )
