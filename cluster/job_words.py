"""What a setting must be, in words of the job file instead of the validator's."""

import json
from collections.abc import Mapping
from typing import Any

SECRET = frozenset({"password", "access_key", "secret_key", "token"})
"""Settings whose value is not repeated: where a reference belongs, somebody may have written the secret itself."""

LONGEST_SHOWN = 60
"""Characters of a value that are repeated in a message."""

_WANTED = {
    "missing": "is missing",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "byte_size": 'must be a number of bytes, or text such as "16MiB"',
    "byte_size_unit": 'must be a number of bytes, or text such as "16MiB"',
    "dict_type": "must be a table",
    "enum": "must be {expected}",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of a sensible size",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "list_type": "must be a list, in brackets",
    "literal_error": "must be {expected}",
    "model_attributes_type": "must be a table",
    "model_type": "must be a table",
    "path_type": "must be a path, in quotes",
    "string_type": "must be text, in quotes",
    "time_delta_parsing": 'must be a number of seconds, or text such as "PT1M"',
    "time_delta_type": 'must be a number of seconds, or text such as "PT1M"',
    "too_short": "needs at least {min_length}",
    "tuple_type": "must be a list, in brackets",
    "union_tag_invalid": "has a kind that does not exist; there are {expected_tags}",
    "union_tag_not_found": "has no kind; there are {tags}",
}

SHAPES = {
    r"^[a-z0-9][a-z0-9-]{0,62}$": "must be 1 to 63 lower-case letters, digits and hyphens",
    r"^[a-z0-9][a-z0-9-]{0,31}$": "must be 1 to 32 lower-case letters, digits and hyphens",
    r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$": (
        'must say where the secret is, "env:NAME" or "file:/path", and never be the secret itself'
    ),
    r"^(local|auto|ray://[^\s/]+:\d+|[A-Za-z0-9_.\-]+:\d+)$": (
        'must be "local", "auto", "host:port" or "ray://host:port"'
    ),
    r"^[\x20-\x5b\x5d-\x7e]{1,16}$": "must be an AE title: 1 to 16 ASCII characters, no backslash",
    r"^[\x20-\x5b\x5d-\x7e]{0,64}$": "must be at most 64 ASCII characters, no backslash",
    r"^(https?://.+|embedded)$": 'must be "embedded", or an address that starts with https:// or http://',
    r"^https?://": "must be an address that starts with https:// or http://",
    r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$": "must be 3 to 63 lower-case letters, digits, dots and hyphens",
    r"^[^:\x00-\x1f]+$": "must be a name without a colon",
    r"^[A-Z_]+$": "must be a name in capitals, such as STANDARD_IA",
    r"^[A-Za-z0-9 +\-=._:/@]*$": "must be letters, digits, blanks and + - = . _ : / @",
    r"^[0-9A-Fa-f]{3}[13579BDFbdf]$": "must be an odd group of four hexadecimal digits, such as 7005",
    r"^[0-9A-Fa-f]{2}$": "must be two hexadecimal digits, such as 63",
    r"^[A-Z]{2}$": "must be a VR of two capitals, such as FD",
}
"""By the pattern of a setting."""


def wanted(kind: str, context: Mapping[str, Any]) -> str | None:
    """What a value must be that the validator refused as `kind`; None for a rule that speaks for itself."""
    if kind == "string_pattern_mismatch":
        return SHAPES.get(str(context.get("pattern")))
    if kind == "union_tag_not_found":
        return _WANTED[kind].format(tags="s3, seed, dicomweb and dimse")
    told = _WANTED.get(kind)
    return None if told is None else told.format_map({name: _listed(value) for name, value in context.items()})


def held(name: str, value: object) -> str:
    """`, but holds ...` for a value that may be repeated; empty for a secret, a table or a list."""
    if name in SECRET or not isinstance(value, str | int | float):
        return ""
    shown = json.dumps(value, ensure_ascii=False)
    return f", but holds {shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + '...'}"


def _listed(value: object) -> object:
    """Names in the quotes that the job file has."""
    return value.replace("'", '"') if isinstance(value, str) else value
