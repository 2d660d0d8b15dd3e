"""Character sets of HL7 messages (MSH-18, table 0211) as codecs of Python."""

import re

_CODECS = {
    "ASCII": "ascii",
    "ISOIR6": "ascii",
    **{f"{prefix}8859{part}": f"iso8859_{part}" for part in (*range(1, 10), 15) for prefix in ("", "ISO")},
    # DICOM's names for the same sets turn up as well.
    "ISOIR100": "iso8859_1", "ISOIR101": "iso8859_2", "ISOIR144": "iso8859_5", "ISOIR127": "iso8859_6",
    "ISOIR126": "iso8859_7", "ISOIR138": "iso8859_8", "ISOIR148": "iso8859_9", "ISOIR192": "utf_8",
    "ISOIR13": "iso2022_jp_ext", "ISOIR14": "iso2022_jp_ext", "ISOIR87": "iso2022_jp_ext",
    "ISOIR159": "iso2022_jp_ext",
    "GB180302000": "gb18030", "GB18030": "gb18030", "KSX1001": "euc_kr", "BIG5": "big5",
    "UNICODE": "utf_8", "UNICODEUTF8": "utf_8", "UTF8": "utf_8",
}  # fmt: skip
_ADORNMENT = re.compile(r"[^A-Z0-9]")


def codec_of(names: str, repetition: str, default: str) -> str | None:
    """Python's codec for a value of MSH-18; `default` where it is empty, None where a set in it is unknown.

    Of several the first is the message's and the rest are switched to by escape sequences (ISO 2022), which only
    the Japanese ones do in practice; a mixture of anything else is refused, not guessed.
    """
    parts = [_ADORNMENT.sub("", part.upper()) for part in (names.split(repetition) if repetition else [names])]
    if not any(parts):
        return default
    codecs = {_CODECS.get(part) for part in parts if part} or {None}
    if len(codecs) == 2:
        codecs -= {"ascii"}
    return codecs.pop() if len(codecs) == 1 else None
