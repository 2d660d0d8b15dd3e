"""A hospital with known faults: its studies, what it tells of its patients, and which study has which fault.

Every fault is one that can be seen before anything moves. Clean studies come in all the variety that must not be taken
for a fault: other spellings, unpadded numbers, merged, moved and renamed patients.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from infra.simulator import Archive, Instance
from infra.simulator import attributes as at
from infra.simulator.content import MadeContent

CLASSES = (
    "PID_MISSING", "PID_FORMAT", "ISSUER_UNKNOWN", "PID_NOT_IN_MPI", "PID_AMBIGUOUS", "DEMOGRAPHIC_CONFLICT",
    "DEMOGRAPHIC_REVIEW", "DEMOGRAPHIC_NOTE", "MERGE_CYCLE", "MERGE_FORK", "MRN_REUSED", "MRN_MOVED",
    "STUDY_UID_MULTI_PATIENT", "ACC_MISSING", "ACC_OVERLONG", "ACC_UNFIT", "ACC_COLLISION_PATIENT",
    "ACC_COLLISION_SITE", "ACC_NO_ORDER", "UID_INVALID", "STUDY_DUPLICATED",
)  # fmt: skip
"""What is planted, each in as many studies."""

JOB = """
[identity]
default_issuer = "NORTH"

[[identity.issuers]]
name = "NORTH"
aliases = ["NH", "2.999.1"]
steps = [{ strip_prefix = ["NH-"] }, { pad = 8 }]
pattern = "[0-9]{8}"

[[identity.issuers]]
name = "SOUTH"
steps = [{ upper = true }]

[accession]
orders = "required"

[[accession.rules]]
name = "north"
pattern = "(RAD-)?[0-9]+"
steps = [{ strip_prefix = ["RAD-"] }, { pad = 8 }, { prefix = "N" }]

[[accession.rules]]
name = "practice"
pattern = "EXT-.*"
steps = [{ select = "[0-9]{6}$" }]
"""

_FAMILIES = (
    "Adler", "Brandt", "Castell", "Dornbusch", "Eichholz", "Falkner", "Grünwald", "Hallström", "Imhof", "Jaspers",
    "Kowalczyk", "Lindqvist", "Marchetti", "Nordgård", "Oberländer", "Pfeiffer", "Quandt", "Rosenzweig", "Szymański",
    "Tischler", "Umlauf", "Vogelsang", "Wiśniewska", "Xylander", "Yildirim", "Zimmermann",
)  # fmt: skip
_GIVEN = (
    "Anna", "Bertram", "Chiara", "Dagmar", "Emil", "Frieda", "Gustav", "Hedwig", "Ignaz", "Johanna", "Konrad", "Leonie",
    "Matthias", "Nadine", "Oskar", "Petra", "Quentin", "Rüdiger", "Sabine", "Thorsten", "Ursula", "Viktor", "Wanda",
)  # fmt: skip
_PLAIN = str.maketrans({"ü": "u", "ö": "o", "ä": "a", "å": "a", "ś": "s", "ń": "n"})


@dataclass(frozen=True, slots=True)
class _Patient:
    number: str
    name: str
    born: str
    sex: str


@dataclass(frozen=True, slots=True)
class _Header:
    """What a study says of its patient and order."""

    patient_id: str
    issuer: str
    name: str
    born: str
    sex: str
    accession: str
    date: str
    time: str


@dataclass(slots=True)
class Hospital:
    """Everything that is given to the command, and the truth."""

    archive: Archive
    adt: bytes
    index: str
    crosswalk: str
    orders: str
    planted: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """Classes by Study Instance UID; empty for a clean study."""


def planted_hospital(*, studies: int, each: int, seed: int) -> Hospital:
    """`studies` studies, `each` of them with every class of `CLASSES`; equal arguments make an equal hospital."""
    maker = _Maker(seed)
    for kind in CLASSES:
        for _ in range(each // maker.size_of(kind)):
            maker.plant(kind)
    while len(maker.planted) < studies:
        maker.clean()
    return maker.hospital()


class _Maker:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"planted {seed}")
        self._count = 0
        self._orders = 0
        self._instances: list[Instance] = []
        self._messages: list[str] = []
        self._index = ["issuer,id,name,birth_date,sex"]
        self._crosswalk = ["old_issuer,old_id,new_issuer,new_id,kind,effective_at"]
        self._ordered = ["accession,issuer,id,study_uid"]
        self.planted: dict[str, frozenset[str]] = {}
        self._faults: dict[str, Callable[[], None]] = {
            "PID_MISSING": self._pid_missing,
            "PID_FORMAT": partial(self._other_number, "ABC-12", "NORTH", "PID_FORMAT"),
            "ISSUER_UNKNOWN": partial(self._other_number, "4711", "NOWHERE", "ISSUER_UNKNOWN"),
            "PID_NOT_IN_MPI": self._unknown,
            "PID_AMBIGUOUS": self._ambiguous,
            "DEMOGRAPHIC_CONFLICT": self._somebody_else,
            "DEMOGRAPHIC_REVIEW": self._doubtful,
            "DEMOGRAPHIC_NOTE": self._married,
            "MERGE_CYCLE": self._cycle,
            "MERGE_FORK": self._fork,
            "MRN_REUSED": self._reused,
            "MRN_MOVED": self._moved,
            "STUDY_UID_MULTI_PATIENT": self._two_patients,
            "ACC_MISSING": partial(self._accession, "", "ACC_MISSING"),
            "ACC_OVERLONG": self._overlong,
            "ACC_UNFIT": partial(self._accession, "EXT-12X", "ACC_UNFIT"),
            "ACC_COLLISION_PATIENT": self._same_number_of_two,
            "ACC_COLLISION_SITE": self._two_numbers_become_one,
            "ACC_NO_ORDER": self._no_order,
            "UID_INVALID": self._odd_uid,
            "STUDY_DUPLICATED": self._twice,
        }

    def size_of(self, kind: str) -> int:
        """Studies that one planting of the class makes."""
        return 2 if kind in ("ACC_COLLISION_PATIENT", "ACC_COLLISION_SITE", "STUDY_DUPLICATED") else 1

    def plant(self, kind: str) -> None:
        self._faults[kind]()

    def hospital(self) -> Hospital:
        self._random.shuffle(self._messages)
        batch = ["FHS|^~\\&", "BHS|^~\\&", *self._messages, f"BTS|{len(self._messages)}", "FTS|1"]
        return Hospital(
            archive=Archive(self._instances),
            adt="\r\n".join(batch).encode("utf-8"),
            index="\n".join(self._index) + "\n",
            crosswalk="\n".join(self._crosswalk) + "\n",
            orders="\n".join(self._ordered) + "\n",
            planted=self.planted,
        )

    # Clean studies.

    def clean(self) -> None:
        patient = self._patient()
        kind = self._random.randrange(8)
        number, issuer = patient.number, "NORTH"
        header = self._header(patient)
        if kind == 0:
            number = f"NH-{patient.number.lstrip('0')}"
        elif kind == 1:
            issuer = "2.999.1"
        elif kind == 2:
            number = self._number()
            self._merge(number, patient, "20120301")
        elif kind == 3:
            middle, number = self._number(), self._number()
            self._merge(middle, patient, "20140301")
            self._message("A40", "20110301", self._pid(middle, patient), f"MRG|{number}^^^NH^MR")
        elif kind == 4:
            number = self._number()
            self._crosswalk.append(f"NORTH,{number},NORTH,{patient.number},rename,2015-01-01")
        elif kind == 5:
            issuer = ""
            header = _with(header, name=header.name.upper().translate(_PLAIN))
        elif kind == 6:
            family, _, given = header.name.partition("^")
            header = _with(header, name=f"{given}^{family}")
        self._study(_with(header, patient_id=number, issuer=issuer))

    # Faults, one method each.

    def _pid_missing(self) -> None:
        self._study(_with(self._header(self._patient()), patient_id=""), "PID_MISSING")

    def _other_number(self, number: str, issuer: str, kind: str) -> None:
        self._study(_with(self._header(self._patient()), patient_id=number, issuer=issuer), kind)

    def _unknown(self) -> None:
        patient = self._patient()
        if self._random.randrange(2):
            self._message("A23", "20200101", self._pid(patient.number, patient))
            self._index.pop()
            self._study(self._header(patient), "PID_NOT_IN_MPI")
        else:
            self._study(_with(self._header(patient), patient_id=self._number()), "PID_NOT_IN_MPI")

    def _ambiguous(self) -> None:
        patient, old = self._patient(), self._number()
        self._merge(old, patient, "20120301")
        pids = (self._pid(old, patient), self._pid(patient.number, patient))
        self._message("A37", "20130301", *pids)
        self._study(_with(self._header(patient), patient_id=old), "PID_AMBIGUOUS")

    def _somebody_else(self) -> None:
        patient, other = self._patient(), self._person()
        header = _with(self._header(patient), name=other.name, born="19110101", sex=patient.sex)
        self._study(header, "DEMOGRAPHIC_CONFLICT")

    def _doubtful(self) -> None:
        patient = self._patient()
        header, kind = self._header(patient), self._random.randrange(4)
        if kind == 0:
            header = _with(header, born=f"{patient.born[:3]}{(int(patient.born[3]) + 1) % 10}{patient.born[4:]}")
        elif kind == 1:
            header = _with(header, sex="F" if patient.sex == "M" else "M")
        elif kind == 2:
            header = _with(header, name=f"{patient.name.partition('^')[0]}^Zacharias")
        else:
            header = _with(header, born="")
        self._study(header, "DEMOGRAPHIC_REVIEW")

    def _married(self) -> None:
        patient, old = self._patient(), self._number()
        self._merge(old, patient, "20120301")
        given = patient.name.partition("^")[2]
        self._study(_with(self._header(patient), patient_id=old, name=f"Qwxyz^{given}"), "DEMOGRAPHIC_NOTE")

    def _cycle(self) -> None:
        patient, other = self._patient(), self._number()
        self._crosswalk.append(f"NORTH,{patient.number},NORTH,{other},merge,")
        self._crosswalk.append(f"NORTH,{other},NORTH,{patient.number},merge,")
        self._study(self._header(patient), "MERGE_CYCLE")

    def _fork(self) -> None:
        one, other, old = self._patient(), self._patient(), self._number()
        self._merge(old, one, "20120301")
        self._merge(old, other, "20130301")
        self._study(_with(self._header(one), patient_id=old), "MERGE_FORK")

    def _reused(self) -> None:
        patient, later, number = self._patient(), self._person(), self._number()
        self._merge(number, patient, "20120301")
        again = _Patient(number, later.name, "19110101", later.sex)
        self._message("A28", "20150610", self._pid(number, again))
        self._study(_with(self._header(patient), patient_id=number, date="20150612"), "MRN_REUSED")

    def _moved(self) -> None:
        one, other, number = self._patient(), self._patient(), self._number()
        for owner in (one, other):
            pid = f"PID|||{owner.number}^^^NH^MR~{number}^^^NH^PI||{_xpn(owner)}||{owner.born}|{owner.sex}"
            giver = self._number()
            self._message("A43", "20140301", pid, f"MRG|{giver}^^^NH^MR~{number}^^^NH^PI")
        self._study(_with(self._header(one), patient_id=number), "MRN_MOVED")

    def _two_patients(self) -> None:
        one, other = self._patient(), self._patient()
        header = self._header(one)
        uid = self._study(header, "STUDY_UID_MULTI_PATIENT")
        second = _with(header, patient_id=other.number, name=other.name, born=other.born, sex=other.sex)
        self._add(uid, 2, second)

    def _accession(self, accession: str, kind: str) -> None:
        self._study(_with(self._header(self._patient()), accession=accession), kind)

    def _overlong(self) -> None:
        self._accession(f"LEGACY-SITE-{self._count:06}", "ACC_OVERLONG")

    def _same_number_of_two(self) -> None:
        header = self._header(self._patient(), ordered_for_all=True)
        self._study(header, "ACC_COLLISION_PATIENT")
        self._study(_with(self._header(self._patient()), accession=header.accession), "ACC_COLLISION_PATIENT")

    def _two_numbers_become_one(self) -> None:
        patient = self._patient()
        header = self._header(patient)
        self._study(header, "ACC_COLLISION_SITE")
        turned = f"RAD-{header.accession}" if not header.accession.startswith("RAD-") else header.accession[4:]
        self._study(_with(header, accession=turned, time=self._time()), "ACC_COLLISION_SITE")

    def _no_order(self) -> None:
        self._accession(f"9{self._count:06}", "ACC_NO_ORDER")

    def _odd_uid(self) -> None:
        self._study(self._header(self._patient()), "UID_INVALID")

    def _twice(self) -> None:
        header = self._header(self._patient())
        self._study(header, "STUDY_DUPLICATED")
        self._study(header, "STUDY_DUPLICATED")

    # What faults are made of.

    def _number(self) -> str:
        self._count += 1
        return f"{10_000 + self._count:08}"

    def _time(self) -> str:
        self._orders += 1
        return f"{self._orders // 3600 % 24:02}{self._orders // 60 % 60:02}{self._orders % 60:02}"

    def _person(self) -> _Patient:
        chance = self._random
        born = f"{chance.randrange(1930, 2005)}{chance.randrange(1, 13):02}{chance.randrange(13, 29):02}"
        name = f"{chance.choice(_FAMILIES)}^{chance.choice(_GIVEN)}"
        return _Patient("", name, born, chance.choice("FM"))

    def _patient(self) -> _Patient:
        """Somebody whom the index knows."""
        person = self._person()
        patient = _Patient(self._number(), person.name, person.born, person.sex)
        self._index.append(f"NORTH,{patient.number},{patient.name},{patient.born},{patient.sex}")
        return patient

    def _header(self, patient: _Patient, *, ordered_for_all: bool = False) -> _Header:
        """A clean study's, with an order of its own."""
        time = self._time()
        accession = f"{'RAD-' if self._random.randrange(2) else ''}{self._orders}"
        who = "," if ordered_for_all else f"NORTH,{patient.number}"
        self._ordered.append(f"N{self._orders:08},{who},")
        date = (
            f"{self._random.randrange(2016, 2025)}{self._random.randrange(1, 13):02}{self._random.randrange(1, 29):02}"
        )
        return _Header(patient.number, "NORTH", patient.name, patient.born, patient.sex, accession, date, time)

    def _merge(self, old: str, survivor: _Patient, date: str) -> None:
        self._message("A40", date, self._pid(survivor.number, survivor), f"MRG|{old}^^^NH^MR")

    def _pid(self, number: str, who: _Patient) -> str:
        return f"PID|||{number}^^^NH^MR||{_xpn(who)}||{who.born}|{who.sex}"

    def _message(self, trigger: str, date: str, *segments: str) -> None:
        label = f"{trigger}-{len(self._messages)}"
        head = f"MSH|^~\\&|ADT|NH|||{date}||ADT^{trigger}|{label}|P|2.5||||||UNICODE UTF-8"
        self._messages.append("\r\n".join((head, f"EVN|{trigger}|{date}", *segments)))

    def _study(self, header: _Header, *kinds: str) -> str:
        number = len(self.planted) + 1
        uid = f"1.2.826.0.1.3680043.10.{'02.' if 'UID_INVALID' in kinds else '2.'}{number}"
        self.planted[uid] = frozenset(kinds)
        self._add(uid, 1, header)
        return uid

    def _add(self, uid: str, number: int, header: _Header) -> None:
        texts = {
            "SpecificCharacterSet": "ISO_IR 192", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
            "SOPInstanceUID": f"{uid}.1.{number}", "StudyDate": header.date, "StudyTime": header.time,
            "AccessionNumber": header.accession, "Modality": "OT", "PatientName": header.name,
            "PatientID": header.patient_id, "IssuerOfPatientID": header.issuer, "PatientBirthDate": header.born,
            "PatientSex": header.sex, "StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.1", "StudyID": "1",
            "SeriesNumber": "1", "InstanceNumber": str(number),
        }  # fmt: skip
        values = {at.tag_of(keyword): value.encode() for keyword, value in texts.items()}
        self._instances.append(
            Instance(
                study_uid=uid,
                series_uid=f"{uid}.1",
                sop_uid=f"{uid}.1.{number}",
                sop_class=texts["SOPClassUID"],
                transfer_syntax="1.2.840.10008.1.2.1",
                attributes=values,
                content=MadeContent(partial(at.encode_identifier, values, implicit=False)),
                name="planted",
            )
        )


def _with(header: _Header, **changes: str) -> _Header:
    told = {name: getattr(header, name) for name in _Header.__dataclass_fields__}
    return _Header(**(told | changes))


def _xpn(who: _Patient) -> str:
    return who.name


def found_classes(rows: Iterator[tuple[str, str]]) -> dict[str, frozenset[str]]:
    """Classes by study, from pairs of both."""
    found: dict[str, set[str]] = {}
    for uid, kind in rows:
        found.setdefault(uid, set()).add(kind)
    return {uid: frozenset(kinds) for uid, kinds in found.items()}
