"""Making way at a service that keeps what it has: the instance of an earlier revision is taken back before the new one.

Only what is certainly an older version of the very instance is taken back: it has the same pixels, or, where there are
none (reports, presentation states), an earlier revision delivered exactly it. The new version is durable elsewhere
meanwhile: in the pack it is fed from, or at the source.
"""

from collections.abc import Callable

from imaging.facts import InstanceFacts
from imaging.octets import Octets
from imaging.uid import Uid
from storage.dicomweb.client import WebClient
from storage.dicomweb.options import WebAccess
from storage.dicomweb.orthanc import OrthancArchive
from storage.errors import AlreadyThere, StorageError
from storage.sinks.protocol import Probe
from storage.sinks.sameness import held_instance, is_same

Delivered = Callable[[Uid], frozenset[bytes]]
"""CAN1 of every version of an instance that earlier revisions of the study delivered."""


class Withdrawal:
    """Takes old versions back through Orthanc's REST API. Safe to use from several threads."""

    def __init__(self, access: WebAccess) -> None:
        self._archive = OrthancArchive(WebClient(access))

    def probe(self) -> Probe:
        """Whether Orthanc answers with our credentials; taking back is not tried."""
        try:
            self._archive.reach()
        except StorageError as error:
            return Probe(what="takes back", ok=False, detail=str(error), place=error.place, code=error.code)
        return Probe(what="takes back", ok=True, detail="its REST API answers; nothing is taken back for a trial")

    def make_way(self, facts: InstanceFacts, part10: Octets, delivered: Delivered) -> bool:
        """No other version of the instance is there any more; whether this one is there already.

        Raises
        ------
        AlreadyThere
            Something else has its SOP Instance UID; nothing was taken back.
        Retryable, Rejected
            As `WebClient.exchange`.
        """
        same, older = False, list[str]()
        for copy in self._archive.copies(facts.sop_uid):
            found = held_instance(facts, part10, self._archive.file(copy))
            if found is not None and is_same(facts, found) and not same:
                same = True
            elif found is not None and _is_older(found, facts, delivered):
                older.append(copy)
            else:
                raise AlreadyThere(
                    "it holds something else under that UID, which is not taken back",
                    operation="withdraw",
                    place=self._archive.place,
                )
        for copy in older:
            self._archive.withdraw(copy)
        return same


def _is_older(found: InstanceFacts, facts: InstanceFacts, delivered: Delivered) -> bool:
    if (found.study_uid, found.sop_uid, found.sop_class) != (facts.study_uid, facts.sop_uid, facts.sop_class):
        return False
    if found.pd1 is not None or facts.pd1 is not None:
        return found.pd1 == facts.pd1 and found.transfer_syntax == facts.transfer_syntax
    return found.can1 in delivered(facts.sop_uid)
