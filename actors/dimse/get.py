"""C-GET in the Study Root model (PS3.4 section C.4.3): the archive sends on the association that asks.

No AE title of ours has to be registered there, and nothing has to reach us. What arrives takes the receiver's own path.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta

from actors.dimse import move
from actors.dimse.connecting import Endpoint
from actors.dimse.conversation import Conversation
from actors.dimse.inbound import SUCCESS, Storage
from actors.dimse.incoming import InstanceHandler
from actors.dimse.landing import LandingFactory
from actors.dimse.limits import Limits
from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE
from actors.dimse.offers import MOST_CLASSES_ALONE, offers
from actors.source import Bound, MoveEnd, MoveOutcome, MoveTarget, SourceUnending, SourceUnreachable

STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"


class Getter:
    """One association that asks by C-GET and takes what comes. Not thread-safe; `abort` it after LOST."""

    def __init__(
        self,
        endpoint: Endpoint,
        questions: Sequence[tuple[str, Sequence[str]]],
        classes: Collection[str],
        landing: LandingFactory,
        handler: InstanceHandler,
    ) -> None:
        """The association is open; `classes` are what the study is known to hold, `questions` the contexts in which
        `conversation` is to ask other things, so that one association is enough.

        Raises
        ------
        SourceUnreachable
            As `Conversation`, or the archive offers no C-GET.
        """
        self._classes = frozenset(classes)
        self._came = self._held = 0
        offered = offers(classes)
        self.conversation = Conversation(
            endpoint,
            ((STUDY_ROOT_GET, (EXPLICIT_LE, IMPLICIT_LE)), *questions, *offered),
            sent_to_us=tuple(dict.fromkeys(name for name, _ in offered)),
            storage=Storage(landing=landing, handler=handler, longest=Limits().dataset, stored=self._count),
        )
        context = self.conversation.context(STUDY_ROOT_GET)
        if context is None:
            self.conversation.release()
            raise SourceUnreachable(
                f'{endpoint.called_ae} does not offer C-GET; source.retrieve = "c-move" needs [[receivers]] it knows',
                refused=True,
                permanent=True,
            )
        self._context = context

    def serves(self, classes: Collection[str]) -> bool:
        """Whether the association is healthy and has contexts of their own for these classes."""
        return self.conversation.usable and self._classes.issuperset(classes)

    def with_more(self, classes: Collection[str]) -> frozenset[str]:
        """What the next association should hold: a change back and forth between studies would open one for each."""
        both = self._classes | frozenset(classes)
        return both if len(both) <= MOST_CLASSES_ALONE else frozenset(classes)

    def retrieve(self, target: MoveTarget, patience: timedelta, stop: Callable[[], bool]) -> MoveOutcome:
        """The final answer to one C-GET. A success that counts more than was held here is none.

        Raises
        ------
        SourceUnending
            As `move.retrieve`, or instances come without end.
        """
        self._came = self._held = 0
        outcome = move.retrieve(self.conversation, self._context, target, None, patience, stop)
        counted = (outcome.completed or 0) + (outcome.warning or 0)
        if outcome.end is MoveEnd.SUCCESS and counted > self._held:
            return replace(outcome, end=MoveEnd.PARTIAL)
        return outcome

    def close(self) -> None:
        """The association is released."""
        self.conversation.release()

    def abort(self) -> None:
        self.conversation.abort()

    def _count(self, size: int, status: int) -> None:
        self._came += 1
        self._held += status == SUCCESS
        if self._came > move.PENDINGS:
            raise SourceUnending(Bound.ANSWERS)
