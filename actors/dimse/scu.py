"""A PACS as a `Source`: C-FIND, C-MOVE and C-ECHO over one association that is kept while it is healthy; C-GET over one
that is opened anew where a study needs other contexts."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta

from actors.dimse import find, move
from actors.dimse.command import Verb
from actors.dimse.connecting import Endpoint
from actors.dimse.conversation import Context, Conversation
from actors.dimse.get import Getter
from actors.dimse.incoming import InstanceHandler, nobody
from actors.dimse.landing import LandingFactory
from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE, VERIFICATION
from actors.dimse.tls import requestor_context
from actors.dimse.violation import PeerGone, ProtocolViolation
from actors.options import C_GET
from actors.options import DimseSource as DimseOptions
from actors.source import (
    Bound,
    FindAnswer,
    FindEnd,
    InstanceList,
    InstanceRef,
    MoveEnd,
    MoveOutcome,
    MoveTarget,
    SourceUnending,
    SourceUnreachable,
    StudyFound,
    StudyWindow,
    distinct,
)
from imaging.uid import Uid

FRESH = 60.0
"""Seconds after which an idle association is not trusted any more: firewalls drop its state without a word, and the
next question would wait for its whole time-out. A new association takes milliseconds."""
ECHO_PATIENCE = timedelta(seconds=30)
"""For the answer to C-ECHO, which needs no database."""

_SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE)
_QUESTIONS = ((find.STUDY_ROOT_FIND, _SYNTAXES), (VERIFICATION, (IMPLICIT_LE,)))
_OFFERS = (*_QUESTIONS, (move.STUDY_ROOT_MOVE, _SYNTAXES))


class DimseSource:
    """One conversation with a PACS; see `actors.source.Source`. Every method may raise `SourceUnreachable`."""

    def __init__(
        self, options: DimseOptions, handler: InstanceHandler = nobody, landing: LandingFactory | None = None
    ) -> None:
        """Where instances are asked for by C-GET, `handler` gets them, put down in `landing`; None for a source that is
        only asked."""
        self._options = options
        self._handler = handler
        self._landing = landing
        self._conversation: Conversation | None = None
        self._getter: Getter | None = None
        self._listed: tuple[Uid, frozenset[str]] | None = None
        """The study whose instances were listed last, and their classes."""

    def echo(self) -> None:
        conversation, context = self._open(VERIFICATION)
        try:
            for _ in conversation.ask(context, Verb.C_ECHO, {}, None, ECHO_PATIENCE):
                pass
        except (PeerGone, ProtocolViolation) as error:
            self._drop()
            raise SourceUnreachable(f"{self._options.ae_title} did not answer C-ECHO") from error

    def find_studies(self, window: StudyWindow) -> FindAnswer:
        keys = dict.fromkeys(find.STUDY_KEYS, "") | window.keys()
        answers = self._ask("STUDY", keys, find.STUDIES)
        studies: list[StudyFound] = []
        undecodable = 0
        for answer in find.decode(answers, self._options.profile.charset):
            study_uid = None if answer is None else answer.uid("StudyInstanceUID")
            if answer is None or study_uid is None:
                undecodable += 1
            else:
                studies.append(find.study_found(study_uid, answer))
        return FindAnswer(
            window=window,
            studies=tuple(studies),
            end=answers.end,
            status=answers.status,
            undecodable=undecodable,
            raw=answers.raw,
            transfer_syntax=answers.transfer_syntax,
        )

    def list_instances(self, study_uid: Uid) -> InstanceList:
        """Series by series: the baseline model wants every upper unique key in a query (PS3.4 C.4.1.3.1.1), and
        archives that would take less answer it wrongly as often as not."""
        study = {"StudyInstanceUID": str(study_uid)}
        series, complete, undecodable = self._uids("SERIES", study, "SeriesInstanceUID")
        refs: list[InstanceRef] = []
        for series_uid in dict.fromkeys(uid for uid, _ in series):
            keys = {**study, "SeriesInstanceUID": str(series_uid)}
            images, whole, broken = self._uids("IMAGE", keys, "SOPInstanceUID")
            refs += (InstanceRef(series_uid=series_uid, sop_uid=uid, sop_class=sop) for uid, sop in images)
            if len(refs) > find.MEMBERS.answers:
                raise SourceUnending(Bound.ANSWERS)
            complete &= whole
            undecodable += broken
        instances, repeated = distinct(refs)
        self._listed = study_uid, frozenset(ref.sop_class for ref in instances if ref.sop_class)
        return InstanceList(instances=instances, complete=complete, repeated=repeated, undecodable=undecodable)

    def retrieve(self, target: MoveTarget, receiver: str, stop: Callable[[], bool]) -> MoveOutcome:
        if self._options.retrieve == C_GET:
            return self._get(target, stop)
        conversation, context = self._open(move.STUDY_ROOT_MOVE)
        try:
            outcome = move.retrieve(conversation, context, target, receiver, self._options.move_timeout, stop)
        except SourceUnending:
            self._drop()
            raise
        if outcome.end is MoveEnd.LOST:
            self._drop()
        return outcome

    def close(self) -> None:
        if self._conversation is not None:
            self._conversation.release()
            self._conversation = None
        if self._getter is not None:
            self._getter.close()
            self._getter = None

    def _get(self, target: MoveTarget, stop: Callable[[], bool]) -> MoveOutcome:
        getter = self._open_getter(target.study_uid)
        try:
            outcome = getter.retrieve(target, self._options.move_timeout, stop)
        except SourceUnending:
            self._drop()
            raise
        if outcome.end is MoveEnd.LOST:
            self._drop()
        return outcome

    def _open_getter(self, study_uid: Uid) -> Getter:
        """An association whose contexts suit the study: those of its classes where a list has told them."""
        if self._landing is None:
            raise RuntimeError("this source was opened for questions only")
        listed = self._listed
        classes = listed[1] if listed is not None and listed[0] == study_uid else frozenset[str]()
        kept = self._getter
        if kept is not None and kept.serves(classes) and not _stale(kept.conversation):
            return kept
        if kept is not None:
            classes = kept.with_more(classes)
        # One association at a time, as with C-MOVE: that is what the archive's administrator was told.
        self.close()
        self._getter = Getter(self._endpoint(), _QUESTIONS, classes, self._landing, self._handler)
        return self._getter

    def _uids(self, level: str, keys: Mapping[str, str], wanted: str) -> tuple[list[tuple[Uid, str | None]], bool, int]:
        back = {wanted: ""} if level == "SERIES" else {wanted: "", "SOPClassUID": ""}
        answers = self._ask(level, {**back, **keys}, find.MEMBERS)
        if answers.beyond is not None:
            raise SourceUnending(answers.beyond)
        found: list[tuple[Uid, str | None]] = []
        undecodable = 0
        for answer in find.decode(answers, self._options.profile.charset):
            uid = None if answer is None else answer.uid(wanted)
            if answer is None or uid is None:
                undecodable += 1
            else:
                found.append((uid, answer.text("SOPClassUID") or None))
        return found, answers.end is FindEnd.SUCCESS, undecodable

    def _ask(self, level: str, keys: Mapping[str, str], bounds: find.Bounds) -> find.Answers:
        conversation, context = self._open(find.STUDY_ROOT_FIND)
        answers = find.ask(conversation, context, level, keys, self._options.find_timeout, bounds)
        if answers.end in (FindEnd.LOST, FindEnd.UNENDING):
            self._drop()
        return answers

    def _open(self, service: str) -> tuple[Conversation, Context]:
        kept = self._conversation if self._getter is None else self._getter.conversation
        if kept is not None and not kept.usable:
            self._drop()
        elif kept is not None and _stale(kept):
            self.close()
        kept = self._conversation if self._getter is None else self._getter.conversation
        if kept is None:
            kept = self._conversation = Conversation(
                self._endpoint(), _QUESTIONS if self._options.retrieve == C_GET else _OFFERS
            )
        context = kept.context(service)
        if context is None and self._getter is not None:
            # Some archives divide their services by association.
            self.close()
            return self._open(service)
        if context is None:
            raise SourceUnreachable(f"{self._options.ae_title} does not offer {service}", refused=True, permanent=True)
        return kept, context

    def _endpoint(self) -> Endpoint:
        options = self._options
        try:
            tls = None if options.tls is None else requestor_context(options.tls)
        except OSError as error:
            raise SourceUnreachable(str(error), permanent=True) from error
        return Endpoint(
            host=options.host,
            port=options.port,
            called_ae=options.ae_title,
            calling_ae=options.calling_ae_title,
            tls=tls,
        )

    def _drop(self) -> None:
        if self._conversation is not None:
            self._conversation.abort()
            self._conversation = None
        if self._getter is not None:
            self._getter.abort()
            self._getter = None


def _stale(conversation: Conversation) -> bool:
    return time.monotonic() - conversation.touched > FRESH
