"""What a proxy does wrong, and to which request."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from xml.sax.saxutils import escape

from infra.proxy.messages import Asked


class Kind(StrEnum):
    """How a request is spoilt."""

    ANSWER = "answered by the proxy"
    """Its body is taken and goes nowhere; `status` and `code` are the answer."""
    RESET = "reset while it is sent"
    """Both connections are reset once `after` bytes of its body have passed."""
    STALL = "no longer read"
    """From `after` bytes on nothing is taken any more, until the proxy stops."""
    LOST = "carried out, its answer lost"
    """The endpoint has done it; the client's connection is reset in place of the answer."""
    CUT = "its answer breaks off"
    """The connection is reset once `after` bytes of the answer's body have passed."""
    HANG = "its answer stands still"
    """After `after` bytes of the answer's body nothing comes any more, until the proxy stops."""


@dataclass(slots=True)
class Fault:
    """Strikes the next `times` requests for which `when` holds."""

    kind: Kind
    when: Callable[[Asked], bool]
    status: int = 500
    code: str = "InternalError"
    after: int = 0
    times: int = 1
    then: Callable[[], object] | None = None
    """Called at the moment it strikes: to kill whoever is to die just then."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of the answer."""


def on(operation: str, *, part: int = 0, suffix: str = "") -> Callable[[Asked], bool]:
    """Requests of one S3 operation (or one method); of one part, or of keys with that end, where it is given."""
    return lambda asked: (
        operation in (asked.operation, asked.method) and part in (0, asked.part) and asked.path.endswith(suffix)
    )


def error_body(code: str) -> bytes:
    """An S3 error document."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{escape(code)}</Code><Message>{escape(code)}</Message>'
        "<RequestId>0</RequestId></Error>"
    ).encode()
