"""Carries out an inventory plan against a source and writes every answer to the ledger.

A walk that was interrupted starts again at the first question and finds the answers in the ledger: only
those that are missing, did not end well, or are of an earlier day and may have grown since, are asked. Begin a new
generation to ask everything anew.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from actors.dimse.find import Answers, decode
from actors.source import FindAnswer, FindEnd, Source, SourceUnreachable, StudyFound, StudyWindow
from cluster.inventory.completeness import Signal
from cluster.inventory.cuts import Settled, Verdict
from cluster.inventory.options import InventoryOptions
from cluster.inventory.plan import Plan
from cluster.inventory.recount import RecountPlan
from cluster.inventory.remedies import REMEDIES
from cluster.inventory.unnamed import NAMED, unnamed
from storage.ledger.ledger import Ledger
from storage.ledger.records import Json, Problem, Severity
from storage.ledger.records import Verdict as Recorded

ATTEMPTS = 3
"""Times a question is asked whose answer was lost: archives drop associations when they restart."""

PAUSE = 2.0
"""Seconds before a lost question is asked again, doubled each time."""


class Reuse(StrEnum):
    """Which answers in the ledger save a question."""

    THIS_GENERATION = "this generation"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the walk is; holds nothing from the archive but counts and dates."""

    stage: str
    day: date | None
    """First day of the window last asked."""
    asked: int = 0
    reused: int = 0
    """Questions whose answers the ledger had from an interrupted walk."""
    rows: int = 0
    """Records received, repeats included."""
    new: int = 0
    changed: int = 0
    undecodable: int = 0
    unsplittable: int = 0
    two_patients: int = 0
    cap: int | None = None
    """The cap that answers have shown."""

    def __add__(self, later: "Progress") -> "Progress":
        """Both walks together; where they are is where the later one is."""
        return Progress(
            stage=later.stage,
            day=later.day or self.day,
            asked=self.asked + later.asked,
            reused=self.reused + later.reused,
            rows=self.rows + later.rows,
            new=self.new + later.new,
            changed=self.changed + later.changed,
            undecodable=self.undecodable + later.undecodable,
            unsplittable=self.unsplittable + later.unsplittable,
            two_patients=self.two_patients + later.two_patients,
            cap=later.cap or self.cap,
        )


class Walk:
    """One inventory. Used by one thread."""

    def __init__(
        self,
        *,
        source: Source,
        ledger: Ledger,
        source_id: int,
        plan: Plan | RecountPlan,
        options: InventoryOptions,
        charset: str,
        report: Callable[[Progress], None],
        now: datetime,
        reuse: Reuse = Reuse.THIS_GENERATION,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`now` is in the archive's time zone."""
        self._source = source
        self._ledger = ledger
        self._source_id = source_id
        self._plan = plan
        self._options = options
        self._charset = charset
        self._report = report
        self._now = now
        self._reuse = reuse
        self._sleep = sleep
        self._windows: dict[StudyWindow, int] = {}
        """Row ids of windows that were cut: the parents of what is asked next."""
        self._progress = Progress(stage=plan.stage.value, day=None)
        self._lost = 0
        self._unnamed: dict[tuple[str, ...], dict[str, str]] = {}
        """What is known of answers that name no study, each once: wider and narrower questions bring them again."""

    def run(self) -> Progress:
        """Every question of the plan is answered in the ledger, and what no question settles is an exception.

        Raises
        ------
        SourceUnreachable
            The archive is away or drops one query after the other. What was answered is kept; run again.
        Retryable
            The ledger is away.
        """
        while (window := self._plan.question()) is not None:
            kept = self._kept(window)
            answer = kept or self._ask(window)
            self._plan.take(answer)
            settled = self._plan.settled()
            if kept is None:
                self._record(answer, settled)
            self._conclude(settled)
            self._advance(answer, asked=kept is None)
        self._conclude(self._plan.settled())
        if self._progress.undecodable:
            named = list(self._unnamed.values())
            self._open("INV_UNDECODABLE", Severity.WARNING, {"answers": self._progress.undecodable, "named": named})
        return self._progress

    def _kept(self, window: StudyWindow) -> FindAnswer | None:
        """The answer an interrupted walk of this generation had to the same question."""
        if self._reuse is Reuse.NOTHING:
            return None
        row = self._ledger.inventory.window(self._source_id, window.keys())
        if row is None or row.ended != FindEnd.SUCCESS.value or not self._stands(window, row.at):
            return None
        self._windows[window] = row.window_id
        raw = self._ledger.inventory.answers(row.window_id)
        answers = Answers(raw=raw, transfer_syntax=row.transfer_syntax, end=FindEnd.SUCCESS, status=row.status)
        studies: list[StudyFound] = []
        for identifier in decode(answers, self._charset):
            study_uid = None if identifier is None else identifier.uid("StudyInstanceUID")
            if identifier is not None and study_uid is not None:
                studies.append(
                    StudyFound(
                        study_uid=study_uid,
                        patient_id=identifier.text("PatientID"),
                        patient_name=identifier.text("PatientName"),
                        modalities=identifier.texts("ModalitiesInStudy"),
                    )
                )
        return FindAnswer(
            window=window,
            studies=tuple(studies),
            end=FindEnd.SUCCESS,
            status=row.status,
            undecodable=row.undecodable,
            raw=raw,
            transfer_syntax=row.transfer_syntax,
        )

    def _stands(self, window: StudyWindow, at: datetime) -> bool:
        """Whether the answer of that time may still be whole: what a modality sends is dated the day it comes, so
        a window of that day was half full then, and so was a question without dates."""
        asked = at.astimezone(self._now.tzinfo).date()
        return asked >= self._now.date() or (window.date_to is not None and window.date_to < asked)

    def _ask(self, window: StudyWindow) -> FindAnswer:
        answer = self._once(window)
        for attempt in range(1, ATTEMPTS):
            if answer is not None and answer.end is not FindEnd.LOST:
                self._lost = 0
                return answer
            self._sleep(PAUSE * 2 ** (attempt - 1))
            answer = self._once(window)
        if answer is None:
            raise SourceUnreachable(f"the archive could not be reached in {ATTEMPTS} attempts")
        self._lost = self._lost + 1 if answer.end is FindEnd.LOST else 0
        if self._lost >= self._options.lost_limit:
            raise SourceUnreachable(f"the archive dropped {self._lost} queries one after the other")
        return answer

    def _once(self, window: StudyWindow) -> FindAnswer | None:
        try:
            return self._source.find_studies(window)
        except SourceUnreachable as error:
            if error.refused or error.permanent:
                raise
            return None

    def _record(self, answer: FindAnswer, settled: list[Settled]) -> None:
        own = next((item for item in settled if item.window == answer.window), None)
        verdict = Recorded.SPLIT
        match own.verdict if own else None:
            case Verdict.COMPLETE | Verdict.OPEN:
                # A peak is believed until it is cut; the answer itself is whole for all that is known.
                verdict = Recorded.COMPLETE
            case Verdict.UNSPLITTABLE:
                verdict = Recorded.UNSPLITTABLE
            case Verdict.SPLIT | None:
                pass
        parent = self._windows.get(own.parent) if own and own.parent else None
        window_id, recorded = self._ledger.inventory.record_answer(self._source_id, answer, verdict, parent)
        if verdict is Recorded.SPLIT:
            self._windows[answer.window] = window_id
        self._progress = replace(
            self._progress,
            new=self._progress.new + recorded.new,
            changed=self._progress.changed + recorded.changed,
            two_patients=self._progress.two_patients + len(recorded.two_patients),
        )

    def _conclude(self, settled: list[Settled]) -> None:
        for item in settled:
            if item.verdict is not Verdict.UNSPLITTABLE:
                continue
            # A peak that cannot be cut is only the longest answer there was; a cut one is known to hide studies.
            severity = Severity.WARNING if item.signal is Signal.PEAK else Severity.ERROR
            signal = item.signal.value if item.signal else "unknown"
            self._open("INV_UNSPLITTABLE", severity, {"keys": item.window.keys(), "answers": item.rows, "why": signal})
            self._progress = replace(self._progress, unsplittable=self._progress.unsplittable + 1)

    def _remember_unnamed(self, answer: FindAnswer) -> None:
        for told in unnamed(answer, self._charset):
            if len(self._unnamed) < NAMED:
                self._unnamed[tuple(told.values())] = told

    def _open(self, kind: str, severity: Severity, evidence: Json) -> None:
        self._ledger.exceptions.open(
            Problem(kind=kind, severity=severity, blocking=False, remedy=REMEDIES[kind], evidence=evidence)
        )

    def _advance(self, answer: FindAnswer, *, asked: bool) -> None:
        if answer.undecodable:
            self._remember_unnamed(answer)
        self._progress = replace(
            self._progress,
            stage=self._plan.stage.value,
            day=answer.window.date_from or self._progress.day,
            asked=self._progress.asked + asked,
            reused=self._progress.reused + (not asked),
            rows=self._progress.rows + len(answer.studies),
            undecodable=self._progress.undecodable + answer.undecodable,
            cap=self._plan.caps.believed,
        )
        self._report(self._progress)
