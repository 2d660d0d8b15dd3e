"""C-GET: the same retrieve, its sub-operations on the association that asked (PS3.4 section C.4.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from infra.simulator.move import Move
from infra.simulator.service import Service
from infra.simulator.store import Pair, StoreAssociation
from infra.simulator.wire import Message, Wire

NOWHERE = ("", 0)


class _Requesters(StoreAssociation):
    """The requester's own association: it is not ours to release."""

    def release(self) -> None:
        """Its requester does that."""


class Get(Move):
    """One C-GET request being served on its association's thread.

    Faults that need an association of their own, such as a late push, do not happen.
    """

    counted = "gets"

    def __init__(
        self,
        service: Service,
        wire: Wire,
        request: Message,
        transfer_syntax: str,
        caller: str,
        contexts: Mapping[Pair, int],
    ) -> None:
        """`contexts`: in which the requester takes instances."""
        super().__init__(service, wire, request, transfer_syntax, caller)
        self._faults = replace(self._faults, late_push=None, final_before_last=None)
        self._contexts = dict(contexts)

    def _serve(self) -> None:
        self._serve_to(NOWHERE)

    def _open(self, address: tuple[str, int], pairs: Sequence[Pair]) -> StoreAssociation:
        faults = self._faults
        self._wire.send_limit = min(self._wire.send_limit, faults.store_pdu)
        return _Requesters(self._wire, self._contexts, small_writes=faults.small_writes, bandwidth=faults.bandwidth)
