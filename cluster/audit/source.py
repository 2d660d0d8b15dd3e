"""Takes an audit of what the source has, before anything is moved: the same three instances of each series are
retrieved, counted and let go."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from actors.dimse.incoming import Incoming
from actors.source import MoveTarget, Source, SourceUnending
from cluster.audit.take import three_of
from cluster.audit.tally import Tally
from cluster.inventory.sample import CANNOT_UNDERSTAND, GLANCE, HELD, by_series, retrieved, was_sent
from imaging.errors import Refused
from imaging.header import read_header
from imaging.uid import Uid
from storage.ledger.audits import ChosenStudy


class Counter:
    """What arrives is counted and let go; also what nobody waits for any more is."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._awaited: dict[str, tuple[Uid, int | None]] = {}
        self.tally = Tally()

    def expect(self, study: ChosenStudy, sop_uids: Sequence[Uid]) -> None:
        """These are to be counted when they come."""
        with self._changed:
            self._awaited |= {uid: (study.study_uid, study.year) for uid in sop_uids}

    def take(self, incoming: Incoming) -> int:
        """A receiver's handler."""
        with self._changed:
            awaited = self._awaited.pop(incoming.sop_uid.rstrip("\0 "), None)
            status = HELD
            if awaited is not None:
                try:
                    header = read_header(incoming.part10, incoming.dataset_offset, incoming.transfer_syntax)
                    self.tally.add(awaited[0], header, awaited[1])
                except Refused:
                    self.tally.unreadable += 1
                    status = CANNOT_UNDERSTAND
            self._changed.notify_all()
        return status

    def give_up(self, patience: timedelta) -> int:
        """Waits so long for what is expected; how many did not come."""
        with self._changed:
            self._changed.wait_for(lambda: not self._awaited, patience.total_seconds())
            missing = len(self._awaited)
            self._awaited.clear()
        return missing


def count_source(
    source: Source,
    receiver: str,
    counter: Counter,
    studies: Sequence[ChosenStudy],
    *,
    quiet: timedelta,
    report: Callable[[int], None] = lambda studies: None,
) -> None:
    """Three instances of each series of these studies are in the counter's tally; those that the source lists and
    does not send count as unreadable. `report` is called with the number of studies that are behind it.

    Raises
    ------
    SamplingRefused, SourceUnreachable
        The archive sends nothing to us, or is away.
    """
    for number, study in enumerate(studies):
        report(number)
        try:
            listed = source.list_instances(study.study_uid)
        except SourceUnending:
            continue
        for series_uid, refs in by_series(listed.instances):
            chosen = tuple(ref.sop_uid for ref in three_of(refs))
            counter.expect(study, chosen)
            target = MoveTarget(study_uid=study.study_uid, series_uid=series_uid, sop_uids=chosen)
            outcome = retrieved(source, target, receiver)
            sent = outcome is not None and was_sent(outcome)
            counter.tally.unreadable += counter.give_up(quiet if sent else GLANCE)
