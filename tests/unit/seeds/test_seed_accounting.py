"""What a carrier's documents prove of what arrived, and what they do not."""

from cluster.seeding.accounting import KIND_TOLD_BY, Account, Proof, Shipped, Verdict, by_objects
from cluster.seeding.evidence import Seen, databox_bom, listing, snowball

SHIPPED = {
    f"studies/00/{n:02x}/1.{n}.r0001.tar": Shipped(size=1_000 + n, crc64=0xABCD_0000 + n) for n in range(KIND_TOLD_BY)
}
PATHS = list(SHIPPED)


def bom(**crcs: str) -> list[Seen]:
    """A bill of materials with every pack; `p3="..."` says what it gives as the fourth one's CRC-64."""
    lines = [
        f'<file size="{known.size}" crc64="{crcs.get(f"p{n}", f"0x{known.crc64:x}")}">\\c\\data\\{path}</file>'
        for n, (path, known) in enumerate(SHIPPED.items())
    ]
    return list(databox_bom("\n".join(lines)))


def account(seen: list[Seen], *, ours: bool = False) -> Account:
    return by_objects(SHIPPED, seen, silence=Verdict.MISSING, crc64_is_ours=ours)


def counted(found: Account) -> dict[str, int]:
    """How many packs have each verdict and proof."""
    words = [f"{each.verdict} by {each.proof}" if each.proof else each.verdict for each in found.packs.values()]
    return {word: words.count(word) for word in dict.fromkeys(words)}


def test_a_pack_whose_checksum_is_absent_arrived_by_its_size_only() -> None:
    found = account(bom(p1="0x0", p2="", p3="sha1:77"))

    assert counted(found) == {"arrived by crc64": KIND_TOLD_BY - 3, "arrived by size": 3}
    assert found.packs[PATHS[1]].proof is Proof.SIZE


def test_a_checksum_that_does_not_match_is_an_altered_pack_although_it_is_the_only_one() -> None:
    beside = {f"p{n}": "0x0" for n in range(1, KIND_TOLD_BY)}

    found = account(bom(p0="0xbad", **beside))

    assert counted(found) == {"altered": 1, "arrived by size": KIND_TOLD_BY - 1}
    assert found.note == ""


def test_checksums_of_another_polynomial_prove_sizes_only_and_a_few_of_them_prove_damage() -> None:
    others = {f"p{n}": f"0xdead{n}" for n in range(KIND_TOLD_BY)}

    strange = account(bom(**others))
    few = account(bom(**others)[:-1])
    one_agrees = account(bom(**{**others, "p0": f"0x{SHIPPED[PATHS[0]].crc64:x}"}))

    assert counted(strange) == {"arrived by size": KIND_TOLD_BY} and "polynomial" in strange.note
    assert counted(few) == {"altered": KIND_TOLD_BY - 1, "missing": 1} and not few.note
    assert counted(one_agrees) == {"arrived by crc64": 1, "altered": KIND_TOLD_BY - 1}
    assert counted(account(bom(**others), ours=True)) == {"altered": KIND_TOLD_BY}


def test_a_pack_of_another_size_keeps_the_checksums_beside_it_from_being_passed_over() -> None:
    others = bom(**{f"p{n}": f"0xdead{n}" for n in range(KIND_TOLD_BY)})
    shorter = Seen(path=others[0].path, size=1, crc64=others[0].crc64)

    assert counted(account([shorter, *others[1:]])) == {"altered": KIND_TOLD_BY}


def test_a_snowball_report_proves_a_size_where_it_has_one_and_otherwise_a_name() -> None:
    sized = "Key,Size\n" + "".join(f"b/{path},{known.size}\n" for path, known in SHIPPED.items())
    named = "Key\n" + "".join(f"b/{path}\n" for path in SHIPPED)

    assert counted(account(list(snowball(sized, "")))) == {"arrived by size": KIND_TOLD_BY}
    assert counted(account(list(snowball(named, "")))) == {"arrived by name": KIND_TOLD_BY}


def test_a_listing_proves_by_crc64_only_where_it_has_one_that_can_be_compared() -> None:
    told = ['"ChecksumCRC64NVME":"AAAAAKvNAAA="', *['"ChecksumCRC32":"AAAAAA=="'] * (KIND_TOLD_BY - 1)]
    entries = ",".join(
        f'{{"Key":"x/{path}","Size":{known.size},{each}}}'
        for (path, known), each in zip(SHIPPED.items(), told, strict=True)
    )

    found = account(list(listing(f'{{"Contents":[{entries}]}}')), ours=True)

    assert counted(found) == {"arrived by crc64": 1, "arrived by size": KIND_TOLD_BY - 1}


def test_a_pack_without_a_crc64_of_ours_is_compared_by_size() -> None:
    path = PATHS[0]
    shipped = {path: Shipped(size=7, crc64=None)}

    found = by_objects(shipped, [Seen(path=path, size=7, crc64=5)], silence=Verdict.MISSING, crc64_is_ours=True)

    assert found.packs[path].proof is Proof.SIZE
