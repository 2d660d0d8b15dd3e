"""What each trigger of ADT means for identity: who survives, what moves, and what is no merge (HL7 v2 chapter 3).

An event pairs a field of MRG (what was) with one of PID or PV1 (what is). Fields are (segment, number).
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

Place: TypeAlias = tuple[str, int]

PATIENTS: Place = ("PID", 3)
PATIENT: Place = ("PID", 2)
ALTERNATE: Place = ("PID", 4)
ACCOUNT: Place = ("PID", 18)
VISIT: Place = ("PV1", 19)
OTHER_VISIT: Place = ("PV1", 50)
WERE_PATIENTS: Place = ("MRG", 1)
WAS_ALTERNATE: Place = ("MRG", 2)
WAS_ACCOUNT: Place = ("MRG", 3)
WAS_PATIENT: Place = ("MRG", 4)
WAS_VISIT: Place = ("MRG", 5)
WAS_OTHER_VISIT: Place = ("MRG", 6)


class Deed(Enum):
    """What happens to the pair."""

    MERGE = auto()
    """The old patient number's record becomes part of the new one's, which survives."""
    RENAME = auto()
    """The same record has a new patient number."""
    MOVE = auto()
    """A number that is the same on both sides has another owner; the owners are the rest of the lists."""
    MOVE_ACCOUNT = auto()
    MOVE_VISIT = auto()
    RENAME_ACCOUNT = auto()
    RENAME_VISIT = auto()
    LINK = auto()
    UNLINK = auto()
    DESCRIBE = auto()
    REGISTER = auto()
    DELETE = auto()


@dataclass(frozen=True, slots=True)
class Act:
    """One deed, and the pair of fields it is done to; `instead` where older senders leave the first pair empty."""

    deed: Deed
    old: Place | None = None
    new: Place | None = None
    instead: tuple[Place, Place] | None = None


_MERGE = Act(Deed.MERGE, WERE_PATIENTS, PATIENTS)
# PID-2 and MRG-4 went out of use with v2.3.1 and out of the standard with v2.7; people are then merged in the lists.
_MERGE_PERSON = Act(Deed.MERGE, WAS_PATIENT, PATIENT, (WERE_PATIENTS, PATIENTS))
_RENAME_PERSON = Act(Deed.RENAME, WAS_PATIENT, PATIENT, (WERE_PATIENTS, PATIENTS))
_ACCOUNT = Act(Deed.RENAME_ACCOUNT, WAS_ACCOUNT, ACCOUNT)
_VISIT = Act(Deed.RENAME_VISIT, WAS_VISIT, VISIT)

ACTS: dict[str, tuple[Act, ...]] = {
    "A18": (_MERGE,),
    "A34": (_MERGE,),
    "A36": (_MERGE, _ACCOUNT),
    "A40": (_MERGE,),
    "A30": (_MERGE_PERSON,),
    "A39": (_MERGE_PERSON,),
    # Accounts and visits are merged or renumbered within one patient: no patient's number changes.
    "A35": (_ACCOUNT,),
    "A41": (_ACCOUNT,),
    "A49": (_ACCOUNT,),
    "A42": (_VISIT,),
    "A50": (_VISIT,),
    "A51": (Act(Deed.RENAME_VISIT, WAS_OTHER_VISIT, OTHER_VISIT),),
    "A43": (Act(Deed.MOVE, WERE_PATIENTS, PATIENTS),),
    "A44": (Act(Deed.MOVE_ACCOUNT, WAS_ACCOUNT, ACCOUNT),),
    "A45": (Act(Deed.MOVE_VISIT, WAS_VISIT, VISIT),),
    "A46": (_RENAME_PERSON,),
    "A47": (Act(Deed.RENAME, WERE_PATIENTS, PATIENTS),),
    "A48": (Act(Deed.RENAME, WAS_ALTERNATE, ALTERNATE),),
    "A24": (Act(Deed.LINK),),
    "A37": (Act(Deed.UNLINK),),
    "A08": (Act(Deed.DESCRIBE),),
    "A31": (Act(Deed.DESCRIBE),),
    "A01": (Act(Deed.REGISTER),),
    "A04": (Act(Deed.REGISTER),),
    "A05": (Act(Deed.REGISTER),),
    "A28": (Act(Deed.REGISTER),),
    "A23": (Act(Deed.DELETE),),
    "A29": (Act(Deed.DELETE),),
}
"""Triggers that are not here say nothing about identity."""

PAIRED = frozenset(trigger for trigger, acts in ACTS.items() if any(act.old for act in acts))
"""Triggers with an MRG: to take one of them for another would merge the wrong records."""
