"""Where a received instance belongs.

The key is the Study Instance UID of the dataset, looked up among the studies that are being pulled: Move
Originator fields are optional and several archives fill them wrongly (PS3.7 9.1.1.1), so they only serve
as evidence. In order: an open intake of this process; the process that holds the study's claim, when
several share the AE title; otherwise nobody asked, and the bytes are made durable before they are
acknowledged.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from actors.dimse.incoming import Incoming
from actors.intake import Intake
from imaging.uid import Uid


class Peers(Protocol):
    """The other processes that serve the same AE title on this node."""

    def offer(self, study_uid: Uid, incoming: Incoming) -> int | None:
        """The C-STORE status of the process that holds the study, or None when none does."""
        ...

    def rejected(self, incoming: Incoming) -> None:
        """Each of them knows that the instance came and cannot be understood; whose it is cannot be told."""
        ...


class Router:
    """The open intakes of one process, by study."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._open: dict[Uid, Intake] = {}
        self._finishing: set[Uid] = set()
        """Nothing is taken for them any more, and the ledger does not say yet what became of them."""

    @contextmanager
    def serving(self, intake: Intake) -> Iterator[Intake]:
        """Instances of the study reach `intake` until the block ends; then the intake is closed, and the study is
        finishing until `settled`."""
        with self._lock:
            if intake.study_uid in self._open:
                raise RuntimeError("one study is being pulled twice in one process")
            self._open[intake.study_uid] = intake
            self._finishing.discard(intake.study_uid)
        try:
            yield intake
        finally:
            with self._lock:
                del self._open[intake.study_uid]
                self._finishing.add(intake.study_uid)
            intake.close()

    def settled(self, study_uid: Uid) -> None:
        """The ledger says what became of the study."""
        with self._lock:
            self._finishing.discard(study_uid)
            self._lock.notify_all()

    def wait_settled(self, study_uid: Uid, patience: timedelta) -> bool:
        """Whether the ledger can be asked about the study: it is not finishing, or was settled within `patience`."""
        with self._lock:
            return self._lock.wait_for(lambda: study_uid not in self._finishing, patience.total_seconds())

    def find(self, study_uid: Uid) -> Intake | None:
        return self._open.get(study_uid)

    def open_intakes(self) -> tuple[Intake, ...]:
        with self._lock:
            return tuple(self._open.values())
