"""Which question to ask next, decided from the answers so far. Pure: no source, no clock, no ledger.

    dates -> unrestricted -> patient ids -> patient names -> peaks -> done

Dates: windows from the earliest to the latest date, wide where the archive is thin. Unrestricted: one
question without any key, which brings undated studies if the archive is small enough. The two sweeps
reach studies without a date or a time, and are a second and third count of everything else. Peaks: the
longest answers are asked again in parts, because a silent cap would look like them.

An answer that may be cut is cut into parts along one way; all parts are asked; parts that may be cut
themselves go deeper. When the parts missed studies that the whole had shown, the next way is taken. A
window with no way left is `Verdict.UNSPLITTABLE`: an exception that a person settles with a database
export. Deterministic: the same answers give the same questions, which is how a walk resumes.
"""

from collections import Counter, deque
from collections.abc import Iterator
from datetime import date, timedelta
from enum import StrEnum

from actors.source import FindAnswer, FindEnd, StudyWindow
from cluster.inventory.completeness import Caps, Signal
from cluster.inventory.cuts import Cut, Doubt, Settled, Verdict, same, twins
from cluster.inventory.options import InventoryOptions
from cluster.inventory.windows import Way, askable, cut, prefix_of, ways
from imaging.uid import Uid

FILL = 0.6
"""Share of the cap a date window aims at: weekdays hold several times what Sundays hold."""

EASY_ANSWER = 20_000
"""Studies a date window aims at where no cap is known: twenty seconds of answers at the usual 1,000/s."""

WIDEST = timedelta(days=3650)
"""Largest date window: an empty decade costs one question."""

PREFIX_DEPTH = 5
"""Longest prefix whose known studies are counted; site codes and leading zeros are mostly shorter."""

FIRST_DATED = date(1900, 1, 1)
"""Up to here lie the sentinels (18991230, 19000101, 11111111): one window asks for them all."""

_EVERYTHING = StudyWindow()


class Stage(StrEnum):
    """What is being asked."""

    DATES = "dates"
    UNRESTRICTED = "unrestricted"
    PATIENT_IDS = "patient ids"
    PATIENT_NAMES = "patient names"
    PEAKS = "peaks"
    RECOUNT = "recount"
    """Only in a delta inventory: known studies by their UIDs."""
    DONE = "done"


class Plan:
    """The state of one inventory. Alternate `question` and `take` until `question` gives None."""

    def __init__(self, options: InventoryOptions, *, cap: int | None, today: date, since: date | None = None) -> None:
        """`today` is the archive's; `since` leaves out all that is dated earlier, and what has no date."""
        self.caps = Caps(cap)
        self.stage = Stage.DATES
        self.asked = 0
        self._options = options
        self._today = today
        self._span = timedelta(days=options.first_window_days)
        self._partial = since is not None
        self._cursor: date | None = since
        """First day that no date window has covered yet; None before the first window."""
        self._before: frozenset[Uid] = frozenset()
        """What the previous date window brought."""
        self._next: StudyWindow | None = None
        self._cuts: list[Cut] = []
        self._settled: list[Settled] = []
        self._peaks: list[Doubt] = []
        self._useless: set[Way] = set()
        """Keys the source ignores or refuses."""
        self._characters: dict[Way, set[str]] = {way: set() for way in Way}
        self._prefixes: dict[Way, Counter[str]] = {Way.PATIENT_ID: Counter(), Way.PATIENT_NAME: Counter()}
        self._known: set[Uid] | None = set()
        """Every study seen; None once they are too many for an unrestricted question anyway."""
        self._whole: Doubt | None = None
        """The answer to the unrestricted question."""
        self._loose: set[Uid] = set()
        """Studies of the unrestricted answer that nothing else has brought."""
        self._swept: set[str] = set()

    def question(self) -> StudyWindow | None:
        """The next window to ask, the same one until its answer is taken; None when all is settled."""
        while self._next is None and self.stage is not Stage.DONE:
            self._next = self._within_cut(self._cuts[-1]) if self._cuts else self._of_stage()
        return self._next

    def take(self, answer: FindAnswer) -> None:
        """The answer to `question` is taken into account."""
        if self._next is None or answer.window != self._next:
            raise ValueError("not the answer to the question that was asked")
        self._next = None
        self.asked += 1
        uids = frozenset(study.study_uid for study in answer.studies)
        # Records, not studies: a cap counts what it sends, repeats and damaged ones included.
        rows = max(len(answer.raw), len(answer.studies) + answer.undecodable)
        signal = self.caps.judge(answer.end, rows, uids)
        doubt = Doubt(answer.window, uids, rows, signal)
        for open_cut in self._cuts:
            open_cut.unseen -= uids
        if self._cuts:
            self._take_part(self._cuts[-1], answer.end, doubt)
        elif self.stage is Stage.UNRESTRICTED:
            self._whole = doubt
            self._loose = set(uids - (self._known or set()))
        else:
            self._take_dates(doubt)
        self._learn(answer)

    def settled(self) -> list[Settled]:
        """Verdicts reached since the last call, oldest first."""
        found, self._settled = self._settled, []
        return found

    # Stages

    def _of_stage(self) -> StudyWindow | None:
        match self.stage:
            case Stage.DATES:
                window = self._next_dates()
                if window is not None:
                    return window
                self.stage = Stage.UNRESTRICTED
            case Stage.UNRESTRICTED:
                if "unrestricted" in self._options.sweeps and self._known is not None and self._whole is None:
                    return _EVERYTHING
                self._sweep(Stage.PATIENT_IDS, Way.PATIENT_ID)
            case Stage.PATIENT_IDS:
                self._sweep(Stage.PATIENT_NAMES, Way.PATIENT_NAME)
            case Stage.PATIENT_NAMES:
                if not self._partial:
                    self._close_sweeps()
                self.stage = Stage.PEAKS
            case Stage.PEAKS:
                self._next_peak()
            case Stage.RECOUNT | Stage.DONE:
                pass
        return None

    def _next_dates(self) -> StudyWindow | None:
        tomorrow = self._today + timedelta(days=1)
        if Way.DATE in self._useless or (self._cursor is not None and self._cursor > tomorrow):
            return None
        if self._cursor is None:
            return StudyWindow(date_to=FIRST_DATED)
        if self._cursor == tomorrow:
            return StudyWindow(date_from=tomorrow)
        last = min(self._cursor + self._span - timedelta(days=1), self._today)
        return StudyWindow(date_from=self._cursor, date_to=last)

    def _take_dates(self, doubt: Doubt) -> None:
        window = doubt.window
        last = window.date_to or self._today + timedelta(days=1)
        self._cursor = last + timedelta(days=1)
        if window.date_from is not None and window.date_to is not None:
            self._adapt((last - window.date_from).days + 1, doubt.rows)
        if same(min(len(doubt.uids), len(self._before)), doubt.uids & self._before):
            self._useless.add(Way.DATE)
        self._before = doubt.uids
        self._weigh(doubt, None)

    def _adapt(self, days: int, rows: int) -> None:
        aim = FILL * self.caps.believed if self.caps.believed else EASY_ANSWER
        fitting = int(days * aim / rows) if rows else 2 * days
        self._span = timedelta(days=max(1, min(fitting, 2 * days, WIDEST.days)))

    def _sweep(self, stage: Stage, way: Way) -> None:
        self.stage = stage
        if way.value in self._options.sweeps:
            whole = self._whole or Doubt(_EVERYTHING, frozenset(), 0, Signal.EXPECTED)
            self._cuts.append(self._cut(whole, way, ()))

    def _close_sweeps(self) -> None:
        """The unrestricted question, asked or not, is settled by what the sweeps brought."""
        whole = self._whole or Doubt(_EVERYTHING, frozenset(), 0, Signal.EXPECTED)
        wanted = {Way.PATIENT_ID.value, Way.PATIENT_NAME.value} & set(self._options.sweeps)
        # Something else must have counted the archive: without it the longest answer says nothing about itself.
        counted = wanted <= self._swept if wanted else Way.DATE not in self._useless
        longest = whole.signal is Signal.PEAK and self._known is not None and self._known <= whole.uids
        if whole.signal is None or (counted and (longest or (wanted and not self._loose))):
            self._settle(whole, Verdict.COMPLETE, None)
        else:
            self._settle(whole, Verdict.UNSPLITTABLE, None, signal=Signal.UNACCOUNTED)

    def _next_peak(self) -> None:
        peak = self._peaks.pop() if self._peaks else None
        if peak is None:
            self.stage = Stage.DONE
        elif peak.rows < self.caps.largest:
            self._settle(peak, Verdict.COMPLETE, None)
        else:
            self._go_deeper(peak, None)

    # Parts of a doubted window

    def _take_part(self, current: Cut, end: FindEnd, doubt: Doubt) -> None:
        current.parts.popleft()
        current.note(end, doubt.window, doubt.uids)
        self._weigh(doubt, current)
        if current.refusing:
            current.parts.clear()

    def _weigh(self, doubt: Doubt, current: Cut | None) -> None:
        if doubt.signal is None:
            self._settle(doubt, Verdict.COMPLETE, current)
        elif doubt.signal is Signal.PEAK:
            self._settle(doubt, Verdict.OPEN, current)
            self._drop_peaks_below(doubt.rows)
            (current.peaks if current else self._peaks).append(doubt)
        elif current is not None:
            current.deeper.append(doubt)
        else:
            self._go_deeper(doubt, None)

    def _drop_peaks_below(self, rows: int) -> None:
        """Longer answers came: shorter ones were not cut."""
        for peak in self._peaks:
            if peak.rows < rows:
                self._settle(peak, Verdict.COMPLETE, None)
        self._peaks = [peak for peak in self._peaks if peak.rows >= rows]

    def _within_cut(self, current: Cut) -> StudyWindow | None:
        if current.parts:
            return current.parts[0]
        if current.pointless:
            self._give_up(current)
            return None
        self._peaks += current.peaks
        current.peaks = []
        if current.deeper:
            doubt = current.deeper.popleft()
            if any(twins(doubt, other, current.way) for other in current.deeper):
                self._settle(doubt, Verdict.COMPLETE, current)
            else:
                self._go_deeper(doubt, current)
        elif current.doubt.window == _EVERYTHING:
            # What both sweeps missed is weighed when they are over.
            self._cuts.pop()
            self._swept.add(current.way.value)
            self._loose &= current.unseen
        elif current.unseen and current.way is not Way.DATE:
            self._next_way(current, Signal.UNACCOUNTED)
        else:
            self._cuts.pop()
        return None

    def _give_up(self, current: Cut) -> None:
        # A day's studies may all bear one same time, so that TIME only seems to be ignored: tried again elsewhere.
        if current.way is not Way.TIME:
            self._useless.add(current.way)
        if current.way is Way.DATE and Way.PATIENT_ID.value in self._options.sweeps:
            # One sweep of the whole archive replaces the dates.
            self._cuts.clear()
        else:
            self._next_way(current, current.doubt.signal)

    def _next_way(self, current: Cut, signal: Signal | None) -> None:
        self._cuts.pop()
        further = tuple(way for way in current.further if way not in self._useless)
        if further:
            again = self._cut(current.doubt, further[0], further[1:])
            again.unseen = set(current.unseen)
            self._cuts.append(again)
        elif current.doubt.window != _EVERYTHING:
            self._settle(current.doubt, Verdict.UNSPLITTABLE, None, signal=signal)

    def _go_deeper(self, doubt: Doubt, current: Cut | None) -> None:
        since = current.way if current else None
        left = tuple(way for way in ways(doubt.window, since) if way not in self._useless)
        self._settle(doubt, Verdict.SPLIT if left else Verdict.UNSPLITTABLE, current)
        if left:
            self._cuts.append(self._cut(doubt, left[0], left[1:]))

    def _cut(self, doubt: Doubt, way: Way, further: tuple[Way, ...]) -> Cut:
        made = Cut(doubt, way, further, deque(), set(doubt.uids))
        for part in cut(doubt.window, way, self._characters[way]):
            if self._too_many(part, way):
                made.deeper.append(Doubt(part, frozenset(), 0, Signal.EXPECTED))
            else:
                made.parts.append(part)
        return made

    # What is known already

    def _too_many(self, part: StudyWindow, way: Way) -> bool:
        """The studies known already are more than one answer to `part` can bring."""
        prefix = prefix_of(part, way)
        if prefix is None or part.date_from is not None or part.date_to is not None or part.modality is not None:
            return False
        limit = self._options.largest_answer
        return self._prefixes[way][prefix] >= min(self.caps.believed or limit, limit)

    def _learn(self, answer: FindAnswer) -> None:
        met = {study.study_uid: study for study in answer.studies}
        if self._known is not None:
            self._known.update(met)
            if len(self._known) > self._options.largest_answer:
                self._known = None
        for study in met.values():
            patient_id, patient_name = study.patient_id or "", study.patient_name or ""
            self._characters[Way.MODALITY].update(study.modalities or ())
            self._characters[Way.PATIENT_ID] |= askable(patient_id)
            self._characters[Way.PATIENT_NAME] |= askable(patient_name)
            if self.stage is Stage.DATES and answer.window.modality is None and not self._cuts:
                # Whole date windows only, so that no study counts twice; a cut answer counts short.
                self._prefixes[Way.PATIENT_ID].update(_prefixes(patient_id))
                self._prefixes[Way.PATIENT_NAME].update(_prefixes(patient_name))

    def _settle(self, doubt: Doubt, verdict: Verdict, current: Cut | None, *, signal: Signal | None = None) -> None:
        self._settled.append(
            Settled(
                window=doubt.window,
                verdict=verdict,
                rows=doubt.rows,
                signal=None if verdict is Verdict.COMPLETE else signal or doubt.signal,
                parent=current.doubt.window if current else None,
            )
        )


def _prefixes(value: str) -> Iterator[str]:
    return (value[:length] for length in range(1, min(len(value), PREFIX_DEPTH) + 1))
