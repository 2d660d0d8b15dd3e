"""What a destination that keeps its first copy has to be told of: pure, from what it believes and what is planned.

A40 moves everything under a number. So it is told only where every study that the destination holds under the number is
planned under the same other one; a part of them would take the rest along. And only where the hospital said that the
number became that one: where a merge counts no more, the number is somebody else's again, with studies of its own.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from imaging.identity.people import NOBODY, Identifier, Person

Content: TypeAlias = dict[str, Any]

_WRITTEN = ("patient", "universal", "person", "accessions", "accession_rule")
"""Keys of a decision that say what headers shall say (`imaging.identity.planned`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One study of the destination."""

    study_key: int
    revision: int
    """The one that is planned."""
    waits: bool
    """The destination was not told of it yet."""
    believed: Content
    """The decision that the destination has it under."""
    planned: Content
    """The decision that holds."""
    ruled: bool
    """Rules of coercion may have changed something in it since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """One message, and the studies it is about."""

    old: Identifier | None
    """None: the number stays, and who the patient is has changed (A08)."""
    patient: Identifier
    person: Person
    studies: tuple[Held, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Everything that waits at one destination."""

    tells: tuple[Tell, ...]
    untellable: tuple[Held, ...]
    """No message says what became of these without saying something wrong of others, or there is none that says all."""


def telling(studies: Iterable[Held]) -> Telling:
    """Messages in an order in which they may be sent."""
    by_number: defaultdict[Identifier | None, list[Held]] = defaultdict(list)
    for study in studies:
        by_number[_patient(study.believed)].append(study)
    merges: list[Tell] = []
    updates: list[Tell] = []
    lost: list[Held] = []
    for old, held in sorted(by_number.items(), key=lambda each: each[0] or Identifier("", "")):
        waiting = tuple(study for study in held if study.waits)
        if not waiting:
            continue
        targets = {_patient(study.planned) for study in held}
        patient = targets.pop() if len(targets) == 1 else None
        if old is None or patient is None or (patient != old and not any(_led(old, study) for study in held)):
            lost += [study for study in waiting if _differs(study)]
        elif patient != old:
            merges.append(Tell(old=old, patient=patient, person=_person(waiting[0].planned), studies=waiting))
        else:
            changed = tuple(study for study in waiting if _person(study.planned) != _person(study.believed))
            lost += [study for study in waiting if study not in changed and _differs(study)]
            if changed:
                updates.append(Tell(old=None, patient=old, person=_person(changed[0].planned), studies=changed))
    tells = (*merges, *updates)
    lost += [study for tell in tells for study in tell.studies if _says_less(study)]
    return Telling(tells=tells, untellable=tuple(lost))


def _differs(study: Held) -> bool:
    """The destination has it otherwise than it is planned: not where a decision was taken back before it was told."""
    return study.ruled or any(study.believed.get(key) != study.planned.get(key) for key in _WRITTEN)


def _says_less(study: Held) -> bool:
    """Something else has changed, too, which no message of its patient says."""
    return study.ruled or study.believed.get("accessions", []) != study.planned.get("accessions", [])


def _led(old: Identifier, study: Held) -> bool:
    """The number led to the one that the study is planned under."""
    return any(Identifier(*number) == old for number in study.planned.get("numbers", ()))


def _patient(content: Content) -> Identifier | None:
    return Identifier(*content["patient"]) if "patient" in content else None


def _person(content: Content) -> Person:
    person = content.get("person", {})
    return Person(**person) if person else NOBODY
