"""Who may connect to a port of ours, and how often it is told that somebody may not."""

import ipaddress
from collections.abc import Sequence


class Callers:
    """Addresses and networks that may connect; none given: any."""

    def __init__(self, allow: Sequence[str]) -> None:
        """Raises `ValueError` for what is neither address nor network."""
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in allow)

    def admits(self, address: str) -> bool:
        """Whether the peer's address, as the socket tells it, is among them."""
        if not self._networks:
            return True
        parsed = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)


def doubled(count: int) -> bool:
    """Whether it is told this time: a peer with a wrong certificate shows, a port scan fills no log."""
    return count & (count - 1) == 0
