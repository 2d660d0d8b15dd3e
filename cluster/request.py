"""What a run is asked to do, and what it would do."""

from dataclasses import dataclass
from enum import StrEnum

from cluster.inventory.take import Pass
from imaging.uid import Uid
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState
from storage.ledger.records import LeaseKind


class Phase(StrEnum):
    """How far a run goes."""

    INVENTORY = "inventory"
    MOVE = "move"
    VALIDATE = "validate"
    ALL = "all"


KINDS: dict[Phase, tuple[LeaseKind, ...]] = {
    Phase.INVENTORY: (),
    Phase.MOVE: (LeaseKind.PULL, LeaseKind.FEED),
    Phase.VALIDATE: (LeaseKind.VALIDATE,),
    Phase.ALL: (LeaseKind.PULL, LeaseKind.FEED, LeaseKind.VALIDATE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one run was asked to do."""

    phase: Phase = Phase.ALL
    studies: tuple[Uid, ...] | None = None
    """Only these; None: all."""
    limit: int | None = None
    """At most this many studies that are not delivered yet."""
    inventory: Pass = Pass.CONTINUE
    destination: str | None = None
    """Only what this one waits for is written; None: every destination."""

    @property
    def partial(self) -> bool:
        """It was asked to leave something for later."""
        asked_for_less = self.studies is not None or self.limit is not None or self.destination is not None
        return asked_for_less or self.phase in (Phase.INVENTORY, Phase.MOVE)

    def kinds(self, inline: str) -> tuple[LeaseKind, ...]:
        """What is claimed; the inline destination is pulled to, and no other."""
        if self.destination is None:
            return KINDS[self.phase]
        unused = LeaseKind.FEED if self.destination == inline else LeaseKind.PULL
        return tuple(kind for kind in KINDS[self.phase] if kind is not unused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a run would do: the answer to --dry-run."""

    studies: int
    """In the ledger; an inventory may find more."""
    to_plan: int
    to_pull: int
    to_feed: int
    to_validate: int


def outlook(ledger: Ledger, inline: str, request: Request) -> Outlook:
    """What a run would do, by the ledger: nobody is asked and nothing is changed."""
    pulls = feeds = reads = 0
    for row in ledger.status.deliveries():
        if row.state is DeliveryState.PENDING:
            pulls += row.deliveries if row.destination == inline else 0
            feeds += row.deliveries if row.destination != inline else 0
        elif row.state in (DeliveryState.WRITTEN, DeliveryState.ARRIVED):
            reads += row.deliveries
    return Outlook(
        studies=sum(ledger.status.studies().values()),
        to_plan=ledger.status.to_plan(),
        to_pull=pulls if request.limit is None else min(pulls, request.limit),
        to_feed=feeds,
        to_validate=reads,
    )
