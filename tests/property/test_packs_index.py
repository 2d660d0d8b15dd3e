"""An index from a hostile device is parsed whole or refused; nothing else happens."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.facts import InstanceFacts
from imaging.uid import Uid
from storage.packs.index import Index, InvalidIndex, parse_index, serialise_index
from storage.packs.model import Container, Member, PackId

PACK = PackId(study_uid=Uid("1.2.3"), revision=1)
digests = st.binary(min_size=32, max_size=32)
sizes = st.integers(0, 1 << 40)


@st.composite
def indexes(draw: st.DrawFn) -> Index:
    members: list[Member] = []
    end = 0
    for number in range(draw(st.integers(0, 5))):
        size, lead, padding = draw(sizes), draw(st.sampled_from([512, 1536])), draw(st.integers(0, 511))
        facts = InstanceFacts(
            study_uid=PACK.study_uid,
            series_uid=Uid("1.2.3.4"),
            sop_uid=Uid(f"1.2.3.4.{number}"),
            sop_class=Uid("1.2.840.10008.5.1.4.1.1.2"),
            transfer_syntax=Uid("1.2.840.10008.1.2.1"),
            raw_size=draw(sizes),
            sto_size=size,
            raw1=draw(digests),
            sto1=draw(digests),
            pd1=draw(st.none() | digests),
            can1=draw(digests),
            flags=tuple(draw(st.lists(st.sampled_from(["PIXEL_LENGTH", "ODD"]), max_size=2))),
        )
        members.append(Member(facts=facts, offset=end, length=lead + size + padding, lead=lead))
        end += lead + size + padding
    return Index(pack=PACK, container=Container.TAR, members=tuple(members))


@given(indexes())
def test_what_is_written_reads_back_equal(index: Index) -> None:
    assert parse_index(serialise_index(index), PACK) == index


@given(st.binary(max_size=400))
def test_noise_is_refused_with_one_kind_of_error(noise: bytes) -> None:
    with contextlib.suppress(InvalidIndex):
        parse_index(noise)
        raise AssertionError("noise was taken for an index")


@settings(max_examples=200)
@given(indexes(), st.integers(0), st.integers(1, 255))
def test_a_changed_byte_never_changes_what_an_index_says(index: Index, place: int, change: int) -> None:
    body = bytearray(serialise_index(index))
    body[place % len(body)] ^= change

    with contextlib.suppress(InvalidIndex):
        assert parse_index(bytes(body)) == index, "a changed index was believed"


def test_a_line_that_does_not_end_is_refused_without_being_held() -> None:
    body = b"{" + b" " * 10_000

    with contextlib.suppress(InvalidIndex):
        parse_index(body)
        raise AssertionError("an endless line was read")
