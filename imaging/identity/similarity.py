"""Jaro-Winkler likeness of two short texts (W. E. Winkler, 1990)."""

PREFIX_LIMIT = 4
"""Leading characters in common that count more; the measure's own constant, as is the next."""
PREFIX_WEIGHT = 0.1


def similarity(one: str, other: str) -> float:
    """0 for nothing in common, 1 for equality; the order of the two does not matter."""
    if one == other:
        return 1.0
    if not one or not other:
        return 0.0
    jaro = _jaro(*sorted((one, other), key=lambda text: (len(text), text)))
    prefix = 0
    for a, b in zip(one[:PREFIX_LIMIT], other[:PREFIX_LIMIT], strict=False):
        if a != b:
            break
        prefix += 1
    return jaro + prefix * PREFIX_WEIGHT * (1 - jaro)


def _jaro(short: str, long: str) -> float:
    reach = max(len(long) // 2 - 1, 0)
    taken = [False] * len(long)
    matched: list[str] = []
    for place, character in enumerate(short):
        for other in range(max(0, place - reach), min(len(long), place + reach + 1)):
            if not taken[other] and long[other] == character:
                taken[other] = True
                matched.append(character)
                break
    if not matched:
        return 0.0
    there = [character for character, hit in zip(long, taken, strict=True) if hit]
    swaps = sum(a != b for a, b in zip(matched, there, strict=True)) / 2
    count = len(matched)
    return (count / len(short) + count / len(long) + (count - swaps) / count) / 3
