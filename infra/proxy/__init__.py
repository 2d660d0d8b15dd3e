"""A proxy between a client and an HTTP store that counts what passes, and misbehaves on demand.

    with Proxy(store_port, faults=[Fault(Kind.RESET, on("upload part", part=2), after=1 << 20)]) as proxy:
        ...                                     # the client speaks to proxy.url

`proxy.passed` says of each request what came, what was let through and how it ended. A `Store` rewrites requests on
their way: `WeakStore` makes an endpoint forget conditions and checksums.
"""

from infra.proxy.faults import Fault, Kind, error_body, on
from infra.proxy.messages import Asked, Store
from infra.proxy.server import Passed, Proxy
from infra.proxy.signing import Signer
from infra.proxy.weak import WeakStore

__all__ = ["Asked", "Fault", "Kind", "Passed", "Proxy", "Signer", "Store", "WeakStore", "error_body", "on"]
