"""Invented patients and studies: the names, numbers and dates that make real archives hard to read."""

import random
from dataclasses import dataclass

from pydicom.charset import convert_encodings
from pydicom.valuerep import PersonName

FIRST_YEAR, LAST_YEAR = (2004, 2025)
ODD_DATES = ("18991230", "19000101", "11111111", "99991231", "20991231")
"""Sentinels of databases that cannot store 'no date', and a clock that ran ahead."""

_LATIN = ("PHANTOM^Jürgen", "PRÜFFALL^Søren^Ångström", "ESSAI^Héloïse", "PROBE^Loïc")
_UNIVERSAL = ("ТЕСТОВ^Фантом", "ΔΟΚΙΜΗ^Φάντασμα", "PRÓBA^Żółć", "TEST^Ünal^İ")  # noqa: RUF001
_JAPANESE = ("Fantomu^Tarou=幻影^太郎=ふぁんとむ^たろう", "Shiken^Hanako=試験^花子=しけん^はなこ")
_KANA = ("ﾌｧﾝﾄﾑ^ﾀﾛｳ=幻影^太郎=ふぁんとむ^たろう", "ｼｹﾝ^ﾊﾅｺ=試験^花子=しけん^はなこ")
_CHINESE = ("Ceshi^XiaoDong=测试^小东", "Moti^XiaoHong=模体^小红")
_PLAIN = ("PHANTOM^ALPHA", "TESTCASE^BRAVO^C", "Dummy^Delta", "O'TEST^ECHO^^DR")


@dataclass(frozen=True, slots=True)
class Lettering:
    """A way of writing names: what (0008,0005) says, what it truly is, and names that need it."""

    declared: str
    encodings: tuple[str, ...]
    """Defined terms for encoding; where nothing is declared, Python's name of what the device really used."""
    names: tuple[str, ...]
    descriptions: tuple[str, ...]


LETTERINGS = (
    Lettering("ISO_IR 100", ("ISO_IR 100",), _LATIN, ("Schädel nativ", "Thorax à jeun")),
    Lettering("ISO_IR 192", ("ISO_IR 192",), _UNIVERSAL, ("Грудная клетка", "Κεφαλή")),
    Lettering("\\ISO 2022 IR 87", ("", "ISO 2022 IR 87"), _JAPANESE, ("CHEST", "HEAD")),
    Lettering("", (), _PLAIN, ("CHEST PA", "BRAIN W/O CONTRAST")),
    Lettering("ISO 2022 IR 13\\ISO 2022 IR 87", ("ISO 2022 IR 13", "ISO 2022 IR 87"), _KANA, ("ﾑﾈ", "ｱﾀﾏ")),
    Lettering("GB18030", ("GB18030",), _CHINESE, ("胸部平扫", "颅脑")),
    Lettering("", ("latin-1",), _LATIN, ("Schädel nativ", "Knöchel rechts")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What all instances of one study say: encoded values by keyword, in the patient's lettering."""

    charset: str
    values: dict[str, bytes]
    lettering: Lettering


def study_header(seed: int, number: int, studies: int) -> Header:
    """The patient and study attributes of study `number`; a patient has two studies on average."""
    chance = random.Random(f"study {seed} {number}")  # noqa: S311 - repeatable on purpose
    who = chance.randrange(max(1, (studies + 1) // 2))
    person = random.Random(f"patient {seed} {who}")  # noqa: S311
    lettering = LETTERINGS[(seed + who) % len(LETTERINGS)]
    texts = {
        "StudyDate": _study_date(chance, number),
        "StudyTime": f"{chance.randrange(24):02}{chance.randrange(60):02}{chance.randrange(60):02}",
        "AccessionNumber": _accession(chance, seed, number),
        "ReferringPhysicianName": "REFERRER^TEST",
        "StudyDescription": chance.choice(lettering.descriptions),
        "PatientName": person.choice(lettering.names),
        "PatientID": _patient_id(person, who),
        "IssuerOfPatientID": person.choice(("", "HOSP_A", "HOSP_B", "CLINIC&2.999.7&ISO")),
        "PatientBirthDate": f"{person.randrange(1930, 2010)}{person.randrange(1, 13):02}{person.randrange(1, 29):02}",
        "PatientSex": person.choice(("F", "M", "O", "")),
        "StudyID": str(number + 1),
    }
    if number % 17 == 5:
        texts["StudyTime"] = ""
    values = {keyword: encoded(text, lettering) for keyword, text in texts.items()}
    return Header(charset=lettering.declared, values=values, lettering=lettering)


def encoded(text: str, lettering: Lettering) -> bytes:
    """`text` as the device writes it: with escape sequences where code extensions need them (PS3.5 section 6.1.2)."""
    if not lettering.declared:
        return text.encode(lettering.encodings[0] if lettering.encodings else "ascii")
    # A text of one component takes the same escapes as a name does.
    name: PersonName = PersonName(text)  # pyright: ignore[reportAssignmentType] - None only for None
    return name.encode(convert_encodings(list(lettering.encodings)))


def _study_date(chance: random.Random, number: int) -> str:
    if number % 17 == 5:
        return ""
    if number % 23 == 7:
        return ODD_DATES[number // 23 % len(ODD_DATES)]
    return f"{chance.randint(FIRST_YEAR, LAST_YEAR)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"


def _accession(chance: random.Random, seed: int, number: int) -> str:
    if number % 11 == 3:
        return ""
    if number % 13 == 4:
        return f"LEGACY-SITE-{seed:03}-{number:08}"  # SH allows 16 characters; imports from an older RIS ignore that.
    if number % 19 == 6:
        number -= 1  # One order, two studies.
    return chance.choice(("{:08}", "A{:07}", "RAD-{:06}")).format(number + 1000)


def _patient_id(person: random.Random, who: int) -> str:
    return person.choice(("{:08}", "{:06}", "mrn{:05}", "MRN {:05}", "X-{:04}")).format(who + 17)
