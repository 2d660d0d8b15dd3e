"""How a sample is spread over an archive. Pure."""

from collections.abc import Sequence

from storage.ledger.baseline import StudyGroup
from storage.ledger.samples import Stratum


def spread(groups: Sequence[StudyGroup], wanted: int) -> tuple[Stratum, ...]:
    """Strata of modalities and year with `wanted` studies in all, or as many as there are.

    Each stratum gets one study, the largest first; what is left goes in proportion to their studies. A device that
    made a hundred studies in 1998 is therefore looked at, which a plain random sample would miss.
    """
    sizes: dict[tuple[tuple[str, ...] | None, int | None], int] = {}
    for group in groups:
        key = (group.modalities or None, group.year)
        sizes[key] = sizes.get(key, 0) + group.studies
    order = sorted(sizes, key=lambda key: (-sizes[key], key[0] or (), key[1] or 0))
    seats = {key: 1 for key in order[:wanted]}
    left = wanted - len(seats)
    room = {key: sizes[key] - 1 for key in seats}
    while left > 0 and (total := sum(room.values())):
        shares = {key: min(room[key], left * room[key] / total) for key in seats}
        whole = {key: int(share) for key, share in shares.items()}
        rest = min(left, total) - sum(whole.values())
        # The largest remainders get what rounding left.
        for key in sorted(seats, key=lambda key: (whole[key] - shares[key], order.index(key)))[:rest]:
            whole[key] += whole[key] < room[key]
        for key, more in whole.items():
            seats[key] += more
            room[key] -= more
        if not any(whole.values()):
            break
        left = wanted - sum(seats.values())
    return tuple(
        Stratum(modalities=kinds, year=year, wanted=seats[kinds, year])
        for kinds, year in order
        if (kinds, year) in seats
    )
