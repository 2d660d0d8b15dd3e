"""What a destination is told when a patient has become another: only what is true of all it holds."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from imaging.hl7.adt import Feed, events
from imaging.hl7.outbound import Envelope, Told, merge_message, update_message
from imaging.hl7.reader import Message, messages
from imaging.identity.events import Describe, Merge
from imaging.identity.issuers import Authority, Issuers
from imaging.identity.people import Identifier, Person
from imaging.identity.telling import Held, telling

AT = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
NORTH = Authority(name="NORTH", universal_id="2.999.1", universal_type="ISO")
ENVELOPE = Envelope(
    sending_application="LIMOSA", sending_facility="", receiving_application="VNA|1", receiving_facility="NORTH"
)
FEED = Feed(issuers=Issuers(authorities=(NORTH,), default="NORTH"), zone=UTC)


def content(number: str, name: str = "NOE^JANE", *, led: tuple[str, ...] = ("7",)) -> dict[str, object]:
    numbers = [["NORTH", one] for one in (*led, number)]
    return {"patient": ["NORTH", number], "person": {"name": name}, "numbers": numbers}


def held(
    key: int, believed: dict[str, object], planned: dict[str, object], *, waits: bool = True, ruled: bool = False
) -> Held:
    return Held(study_key=key, revision=2, waits=waits, believed=believed, planned=planned, ruled=ruled)


def test_all_studies_of_a_merged_number_are_told_in_one_message() -> None:
    found = telling([held(1, content("7"), content("8")), held(2, content("7"), content("8"))])

    [tell] = found.tells
    assert (tell.old, tell.patient, len(tell.studies)) == (Identifier("NORTH", "7"), Identifier("NORTH", "8"), 2)
    assert found.untellable == ()


def test_a_merge_that_would_take_another_study_along_is_not_told() -> None:
    stays = held(2, content("7"), content("7"), waits=False)

    found = telling([held(1, content("7"), content("8")), stays])

    assert found.tells == ()
    assert [study.study_key for study in found.untellable] == [1]


def test_a_merge_that_counts_no_more_is_not_told_as_one_the_other_way() -> None:
    found = telling([held(1, content("8"), content("7"))])

    assert (found.tells, [study.study_key for study in found.untellable]) == ((), [1])


def test_what_was_taken_back_before_it_was_told_is_right_as_it_is() -> None:
    back, stays = held(1, content("8"), content("8", led=("9",))), held(2, content("8"), content("7"))

    assert telling([back]) == telling([])
    assert [study.study_key for study in telling([back, stays]).untellable] == [2]


def test_a_merge_that_was_told_the_wrong_way_round_is_told_anew() -> None:
    back, other = held(1, content("8"), content("7")), held(2, content("8"), content("7", led=("8",)))

    assert [(tell.old, tell.patient) for tell in telling([back, other]).tells] == [
        (Identifier("NORTH", "8"), Identifier("NORTH", "7"))
    ]


def test_another_name_is_an_update_and_what_no_message_says_is_listed() -> None:
    renamed = held(1, content("7"), content("7", "POE^JANE"))
    accession = held(2, content("9"), content("9") | {"accession_rule": "pad/1"})

    found = telling([renamed, accession])

    [tell] = found.tells
    assert (tell.old, tell.person.name) == (None, "POE^JANE")
    assert [study.study_key for study in found.untellable] == [2]


def test_what_changed_besides_the_patient_is_listed_beside_the_message() -> None:
    renumbered = content("8") | {"accessions": [["17", "", "00000017", "", ""]]}

    found = telling(
        [
            held(1, content("7"), renumbered),
            held(2, content("7"), content("8"), ruled=True),
            held(3, content("7"), content("8")),
        ]
    )

    assert [len(tell.studies) for tell in found.tells] == [3]
    assert [study.study_key for study in found.untellable] == [1, 2]


def test_what_the_destination_was_told_already_makes_no_message() -> None:
    assert telling([held(1, content("7"), content("8"), waits=False)]).tells == ()


NUMBERS = st.lists(st.text("A0|^&~é", min_size=1, max_size=9), min_size=2, max_size=2, unique=True)
NAMES = st.text("abÄé|^&~\\ñ", max_size=12).map(lambda text: text.replace("^", "").replace("\\", ""))


@given(NUMBERS, NAMES.filter(lambda name: name.strip() == name and name != ""))
def test_what_is_told_is_read_as_it_was_meant(numbers: list[str], family: str) -> None:
    old, new = numbers
    person = Person(name=f"{family}^JANE^^DR^II", birth_date="19700101", sex="F")
    said = merge_message(
        ENVELOPE,
        "1f",
        AT,
        survivor=Told(number=new, authority=NORTH),
        person=person,
        old=Told(number=old, authority=NORTH),
    )

    [message] = messages([said])
    assert isinstance(message, Message)
    merge, describe = events(message, FEED)

    assert isinstance(merge, Merge)
    assert (merge.old, merge.new) == (Identifier("NORTH", old), Identifier("NORTH", new))
    assert isinstance(describe, Describe)
    assert (describe.identifier.value, describe.person) == (new, person)


def test_an_update_says_who_the_patient_is_in_every_group_of_the_name() -> None:
    person = Person(name="Yamada^Tarou=山田^太郎", birth_date="", sex=None)

    said = update_message(ENVELOPE, "1f", AT, patient=Told(number="7", authority=NORTH), person=person)

    assert said.decode().split("\r")[2] == ("PID|||7^^^NORTH&2.999.1&ISO^MR||Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I|||")
    [message] = messages([said])
    assert isinstance(message, Message)
    [describe] = events(message, FEED)
    assert isinstance(describe, Describe)
    assert describe.person == Person(name=person.name, birth_date=None, sex=None)
