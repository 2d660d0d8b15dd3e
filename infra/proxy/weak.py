"""Endpoints that know less than SeaweedFS: it is asked in their place, with everything they would ignore left out."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from infra.proxy.messages import Asked
from infra.proxy.signing import Signer

_CHECKSUM = re.compile(rb"<Checksum\w+>[^<]*</Checksum\w+>")
_IGNORED = ("x-amz-checksum-", "x-amz-sdk-checksum-", "x-amz-mp-object-size")


def _never(asked: Asked) -> bool:
    return False


@dataclass(slots=True)
class WeakStore:
    """Takes any body whatever its checksum, overwrites what If-None-Match protects, and changes a byte now and then."""

    signer: Signer
    damages: Callable[[Asked], bool] = field(default=_never)

    def whole(self, asked: Asked) -> bool:
        return asked.operation == "complete upload"

    def rewrite(self, asked: Asked, body: bytes | None) -> tuple[Asked, bytes | None]:
        headers = {
            name: value
            for name, value in asked.headers.items()
            if name not in ("if-none-match", "content-md5") and not name.startswith(_IGNORED)
        }
        if body is not None:
            body = _CHECKSUM.sub(b"", body)
        return replace(asked, headers=self.signer.signed(asked.method, asked.target, headers)), body

    def damage(self, asked: Asked) -> bool:
        return self.damages(asked)
