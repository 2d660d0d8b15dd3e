"""Asks the source for a little of everything a run needs: a list, a study, the same study again."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from actors.dimse.incoming import Incoming
from actors.dimse.receiver import Receiver
from actors.options import DicomwebSource
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the probes are called, and what to do when one fails."""

    echo: str
    find: str
    images: str
    get: str
    """A retrieve without a receiver."""
    peer: str
    if_refused: str
    if_away: str
    if_not_asked: str
    if_not_sent: str


def words_of(options: SourceOptions | DicomwebSource) -> Words:
    """For a PACS or a DICOMweb service."""
    if isinstance(options, DicomwebSource):
        return Words(
            echo="QIDO-RS",
            find="list of studies (QIDO-RS)",
            images="list of instances (QIDO-RS)",
            get="WADO-RS",
            peer=options.url,
            if_refused="Check token, or user and password, in [source].",
            if_away="Correct url in [source], or open the firewall.",
            if_not_asked="Have the service's administrator allow searches for studies.",
            if_not_sent="Have the service's administrator allow retrieval of studies (WADO-RS), as stored.",
        )
    return Words(
        echo="C-ECHO",
        find="C-FIND",
        images="image-level C-FIND",
        get="C-GET",
        peer=options.ae_title,
        if_refused=f"Check ae_title in [source] ({options.ae_title}); if it is right, have the archive's administrator "
        f"register the calling AE title {options.calling_ae_title}.",
        if_away="Correct host and port in [source], or open the firewall.",
        if_not_asked="Have the archive's administrator allow queries at STUDY level (Study Root).",
        if_not_sent="Have the archive's administrator allow C-GET of all classes and syntaxes, or register a receiver.",
    )


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
        self,
        source: Source,
        options: SourceOptions | DicomwebSource,
        receivers: tuple[ReceiverOptions, ...],
        shelf: "Shelf",
        folder: Path,
        today: date,
    ) -> None:
        """`shelf` gets what the source hands over itself, by C-GET, or what each receiver is sent."""
        self.learnt: dict[str, bool | str] = {}
        self._asked = ""
        """Which studies the last list was of, in words."""
        self._source = source
        self._options = options
        self._words = words_of(options)
        self._receivers = receivers
        self._shelf = shelf
        self._folder = folder
        self._today = today

    def rows(self) -> Iterator[Row]:
        """Every probe of the source, until one makes the rest pointless."""
        try:
            self._source.echo()
            yield Row(what=f"source: {self._words.echo}", mark=Mark.OK, detail=f"{self._words.peer} answers")
            yield from self._ask()
        except SourceUnreachable as error:
            step = self._words.if_refused if error.refused else self._words.if_away
            yield Row(what="source", mark=Mark.FAIL, detail=str(error), next_step=step)

    def _ask(self) -> Iterator[Row]:
        answer = self._recent()
        if answer.end is not FindEnd.SUCCESS and not answer.studies:
            yield Row(
                what=f"source: {self._words.find}",
                mark=Mark.FAIL,
                detail=f"ended with {answer.end.value}, status {answer.status}",
                next_step=self._words.if_not_asked,
            )
            return
        if not answer.studies:
            yield Row(
                what=f"source: {self._words.find}",
                mark=Mark.WARN,
                detail=f"no study {self._asked}",
                next_step="Check that the archive lets us see its studies.",
            )
            return
        counted = any(study.instance_count is not None for study in answer.studies)
        self.learnt["study_counts"] = counted
        yield from self._charset(answer)
        came = [name for name, field in _KEYS if any(getattr(study, field) is not None for study in answer.studies)]
        counts = f"asked for studies {self._asked} only: {len(answer.studies)}, {answer.undecodable} undecodable"
        yield Row(
            what=f"source: {self._words.find}",
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
            what=f"source: {self._words.images}",
            mark=Mark.OK if image_level else Mark.WARN,
            detail=f"{len(expected)} instances listed, {listed.repeated} of them repeatedly",
            next_step="" if image_level else "Completeness will be judged by counts and by retrieving twice.",
        )
        first: dict[str, bytes] | None = None
        for options in self._receivers or (None,):
            row, held = self._through(options, study, expected)
            yield row
            if held and first is None:
                first = held
                yield self._again(options, study, held, expected)

    def _through(
        self, options: ReceiverOptions | None, study: StudyFound, expected: set[str]
    ) -> tuple[Row, dict[str, bytes]]:
        what = f"source: {self._words.get}" if options is None else f"source: C-MOVE to {options.ae_title}"
        try:
            end, held = self._fetch(options, study, expected)
        except OSError as error:
            port, step = ("", "") if options is None else (f"port {options.port}: ", "correct [[receivers]]")
            return Row(
                what=what,
                mark=Mark.FAIL,
                detail=f"{port}{error.strerror}",
                next_step=f"End what listens there, or {step}." if step else "",
            ), {}
        missing, surplus = len(expected - held.keys()), len(held.keys() - expected)
        if options is not None and end is MoveEnd.UNKNOWN_DESTINATION:
            step = f"Have the archive register {options.ae_title} with this machine's address and port {options.port}."
            return Row(what=what, mark=Mark.FAIL, detail="the archive does not know this AE title", next_step=step), {}
        if not held or (expected and missing):
            step = (
                self._words.if_not_sent
                if options is None
                else f"Check that the archive reaches port {options.port} of this machine under {options.ae_title}."
            )
            detail = f"ended with {end.value}; {len(held)} instances came, {missing} are missing"
            return Row(what=what, mark=Mark.FAIL, detail=detail, next_step=step), held
        detail = f"{len(held)} instances came, {surplus} not listed"
        return Row(what=what, mark=Mark.WARN if expected and surplus else Mark.OK, detail=detail), held

    def _again(
        self, options: ReceiverOptions | None, study: StudyFound, held: dict[str, bytes], expected: set[str]
    ) -> Row:
        _, second = self._fetch(options, study, expected)
        stable = second == held
        self.learnt["stable"] = stable
        if stable:
            return Row(what="source: the same study twice", mark=Mark.OK, detail="equal UIDs and equal bytes")
        detail = "other bytes under equal UIDs" if second.keys() == held.keys() else "other UIDs than before"
        step = "Switch off whatever rewrites objects on retrieve; until then no copy can be proven true."
        return Row(what="source: the same study twice", mark=Mark.WARN, detail=detail, next_step=step)

    def _fetch(
        self, options: ReceiverOptions | None, study: StudyFound, expected: set[str]
    ) -> tuple[MoveEnd, dict[str, bytes]]:
        self._shelf.clear()
        with self._listening(options) as ae_title:
            outcome = self._source.retrieve(MoveTarget(study_uid=study.study_uid), ae_title, lambda: False)
            if outcome.end in (MoveEnd.SUCCESS, MoveEnd.PARTIAL):
                quiet, limit = self._options.quiet, self._options.quiet_limit
                self._shelf.wait(expected, quiet.total_seconds(), limit.total_seconds())
            return outcome.end, self._shelf.held()

    @contextmanager
    def _listening(self, options: ReceiverOptions | None) -> Iterator[str]:
        """The AE title to which the source sends; none where it hands over itself."""
        if options is None:
            yield ""
            return
        spool = Spool(self._folder / "check")
        receiver = Receiver(options, LandingPlace(spool, MemoryBudget(MEMORY), IN_MEMORY).open, self._shelf.take)
        try:
            receiver.start()
            yield options.ae_title
        finally:
            receiver.stop()
            spool.close()


class Shelf:
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

    def clear(self) -> None:
        with self._changed:
            self._held.clear()


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
