"""Asks the source for a little of everything a run needs: a list, a study, the same study again."""

import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from actors.dimse.incoming import Incoming
from actors.dimse.receiver import Receiver
from actors.options import DimseSource as SourceOptions
from actors.options import Receiver as ReceiverOptions
from actors.source import FindAnswer, FindEnd, MoveEnd, MoveTarget, Source, SourceUnreachable, StudyFound, StudyWindow
from cluster.check import Mark, Row
from imaging.elements import scan
from imaging.errors import MalformedDataset
from imaging.octets import MemoryOctets
from imaging.syntaxes import encoding_of
from storage.budget import MemoryBudget
from storage.spool import LandingPlace, Spool

LOOK_BACK = (1, 7, 31, 366, 3660)
"""Days in which a study is looked for, nearest first: small answers from a live archive, any from a dead one."""

MEMORY = 64 << 20
IN_MEMORY = 8 << 20
"""Bytes: the check shares the machine with whatever else runs there; larger instances go to its spool."""

UTF_8 = "ISO_IR 192"
_CHARSET = 0x00080005

_KEYS = (
    ("instance counts", "instance_count"),
    ("series counts", "series_count"),
    ("modalities", "modalities"),
    ("accession numbers", "accession"),
    ("issuers of patient ids", "issuer"),
)


class SourceCheck:
    """One round of probes; `rows` yields them as they end, `learnt` is what of a source's profile was seen by then."""

    def __init__(
        self, source: Source, options: SourceOptions, receivers: tuple[ReceiverOptions, ...], folder: Path, today: date
    ) -> None:
        self.learnt: dict[str, bool | str] = {}
        self._asked = ""
        """Which studies the last list was of, in words."""
        self._source = source
        self._options = options
        self._receivers = receivers
        self._folder = folder
        self._today = today

    def rows(self) -> Iterator[Row]:
        """Every probe of the source, until one makes the rest pointless."""
        try:
            self._source.echo()
            yield Row(what="source: C-ECHO", mark=Mark.OK, detail=f"{self._options.ae_title} answers")
            yield from self._ask()
        except SourceUnreachable as error:
            step = (
                f"Check ae_title in [source] ({self._options.ae_title}); if it is right, have the archive's "
                f"administrator register the calling AE title {self._options.calling_ae_title}."
                if error.refused
                else "Correct host and port in [source], or open the firewall."
            )
            yield Row(what="source", mark=Mark.FAIL, detail=str(error), next_step=step)

    def _ask(self) -> Iterator[Row]:
        answer = self._recent()
        if answer.end is not FindEnd.SUCCESS and not answer.studies:
            yield Row(
                what="source: C-FIND",
                mark=Mark.FAIL,
                detail=f"ended with {answer.end.value}, status {answer.status}",
                next_step="Have the archive's administrator allow queries at STUDY level (Study Root).",
            )
            return
        if not answer.studies:
            yield Row(
                what="source: C-FIND",
                mark=Mark.WARN,
                detail=f"no study {self._asked}",
                next_step="Check that the archive lets our AE title see its studies.",
            )
            return
        counted = any(study.instance_count is not None for study in answer.studies)
        self.learnt["study_counts"] = counted
        yield from self._charset(answer)
        came = [name for name, field in _KEYS if any(getattr(study, field) is not None for study in answer.studies)]
        counts = f"asked for studies {self._asked} only: {len(answer.studies)}, {answer.undecodable} undecodable"
        yield Row(
            what="source: C-FIND",
            mark=Mark.WARN if answer.undecodable else Mark.OK,
            detail=f"{counts}; returns {', '.join(came) or 'required keys only'}",
        )
        yield from self._retrieve(_smallest(answer.studies))

    def _charset(self, answer: FindAnswer) -> Iterator[Row]:
        undeclared = [text for raw in answer.raw if (text := undeclared_text(raw, answer.transfer_syntax))]
        if not undeclared:
            return
        utf8 = all(map(_is_utf8, undeclared))
        if utf8:
            self.learnt["charset"] = UTF_8
        yield Row(
            what="source: character set",
            mark=Mark.OK if utf8 else Mark.WARN,
            detail=f"{len(undeclared)} answers declare none{' and are UTF-8' if utf8 else ', and are not UTF-8'}",
            next_step="" if utf8 else "Name it in source.profile.charset, or names will be read wrongly.",
        )

    def _recent(self) -> FindAnswer:
        self._asked = "of today"
        answer = self._source.find_studies(StudyWindow(date_from=self._today, date_to=self._today))
        for days in LOOK_BACK:
            if answer.studies:
                break
            self._asked = f"of the last {days + 1} days"
            window = StudyWindow(date_from=self._today - timedelta(days=days), date_to=self._today)
            answer = self._source.find_studies(window)
        return answer

    def _retrieve(self, study: StudyFound) -> Iterator[Row]:
        listed = self._source.list_instances(study.study_uid)
        expected = {str(ref.sop_uid) for ref in listed.instances}
        image_level = listed.complete and bool(expected)
        self.learnt["image_level"] = image_level
        yield Row(
            what="source: image-level C-FIND",
            mark=Mark.OK if image_level else Mark.WARN,
            detail=f"{len(expected)} instances listed, {listed.repeated} of them repeatedly",
            next_step="" if image_level else "Completeness will be judged by counts and by retrieving twice.",
        )
        first: dict[str, bytes] | None = None
        for options in self._receivers:
            row, held = self._through(options, study, expected)
            yield row
            if held and first is None:
                first = held
                yield self._again(options, study, held, expected)

    def _through(self, options: ReceiverOptions, study: StudyFound, expected: set[str]) -> tuple[Row, dict[str, bytes]]:
        what = f"source: C-MOVE to {options.ae_title}"
        try:
            end, held = self._fetch(options, study, expected)
        except OSError as error:
            return Row(
                what=what,
                mark=Mark.FAIL,
                detail=f"port {options.port}: {error.strerror}",
                next_step="End what listens there, or correct [[receivers]].",
            ), {}
        missing, surplus = len(expected - held.keys()), len(held.keys() - expected)
        if end is MoveEnd.UNKNOWN_DESTINATION:
            step = f"Have the archive register {options.ae_title} with this machine's address and port {options.port}."
            return Row(what=what, mark=Mark.FAIL, detail="the archive does not know this AE title", next_step=step), {}
        if not held or (expected and missing):
            step = f"Check that the archive reaches port {options.port} of this machine under {options.ae_title}."
            detail = f"ended with {end.value}; {len(held)} instances came, {missing} are missing"
            return Row(what=what, mark=Mark.FAIL, detail=detail, next_step=step), held
        detail = f"{len(held)} instances came, {surplus} not listed"
        return Row(what=what, mark=Mark.WARN if expected and surplus else Mark.OK, detail=detail), held

    def _again(self, options: ReceiverOptions, study: StudyFound, held: dict[str, bytes], expected: set[str]) -> Row:
        _, second = self._fetch(options, study, expected)
        stable = second == held
        self.learnt["stable"] = stable
        if stable:
            return Row(what="source: the same study twice", mark=Mark.OK, detail="equal UIDs and equal bytes")
        detail = "other bytes under equal UIDs" if second.keys() == held.keys() else "other UIDs than before"
        step = "Switch off whatever rewrites objects on retrieve; until then no copy can be proven true."
        return Row(what="source: the same study twice", mark=Mark.WARN, detail=detail, next_step=step)

    def _fetch(
        self, options: ReceiverOptions, study: StudyFound, expected: set[str]
    ) -> tuple[MoveEnd, dict[str, bytes]]:
        spool = Spool(self._folder / "check")
        shelf = _Shelf()
        place = LandingPlace(spool, MemoryBudget(MEMORY), IN_MEMORY)
        receiver = Receiver(options, place.open, shelf.take)
        try:
            receiver.start()
            outcome = self._source.retrieve(MoveTarget(study_uid=study.study_uid), options.ae_title, lambda: False)
            if outcome.end in (MoveEnd.SUCCESS, MoveEnd.PARTIAL):
                shelf.wait(expected, self._options.quiet.total_seconds(), self._options.quiet_limit.total_seconds())
            return outcome.end, shelf.held()
        finally:
            receiver.stop()
            spool.close()


class _Shelf:
    """What has arrived: RAW1 by SOP Instance UID. The bytes are let go."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[str, bytes] = {}

    def take(self, incoming: Incoming) -> int:
        with self._changed:
            self._held[incoming.sop_uid] = incoming.raw1
            self._changed.notify_all()
        return 0x0000

    def wait(self, expected: set[str], quiet: float, limit: float) -> None:
        """Everything expected is here, or nothing came for `quiet` seconds: a final answer can precede the images."""
        until = time.monotonic() + limit
        with self._changed:
            while not (expected and expected <= self._held.keys()):
                if not self._changed.wait(min(quiet, until - time.monotonic())):
                    return

    def held(self) -> dict[str, bytes]:
        with self._changed:
            return dict(self._held)


def undeclared_text(identifier: bytes, transfer_syntax: str) -> bytes:
    """The text outside ASCII of an answer that declares no character set; empty when there is none."""
    try:
        elements = scan(MemoryOctets(identifier), 0, encoding_of(transfer_syntax)).elements
    except MalformedDataset:
        return b""
    if any(element.tag == _CHARSET for element in elements):
        return b""
    values = (identifier[element.value : element.end] for element in elements)
    return b"\n".join(value for value in values if not value.isascii())


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _smallest(studies: tuple[StudyFound, ...]) -> StudyFound:
    """The study that costs the archive least, among those that have instances as far as it says."""
    counted = [study for study in studies if study.instance_count]
    return min(counted, key=lambda study: study.instance_count or 0) if counted else studies[0]
