"""The root of a Merkle tree over lines, as RFC 6962 section 2.1 has it (SHA-256, leaves and nodes told apart)."""

import hashlib


class MerkleRoot:
    """Takes leaves in order; memory is one hash per level."""

    def __init__(self) -> None:
        self.size = 0
        self._stack: list[bytes] = []
        """Roots of the complete trees so far, largest first: one for each bit of `size` that is set."""

    def add(self, leaf: bytes) -> None:
        """One leaf more."""
        digest = hashlib.sha256(b"\x00" + leaf).digest()
        size = self.size
        while size & 1:
            digest = _node(self._stack.pop(), digest)
            size >>= 1
        self._stack.append(digest)
        self.size += 1

    def root(self) -> bytes:
        """Of all leaves so far; of none, the hash of nothing."""
        if not self._stack:
            return hashlib.sha256(b"").digest()
        *rest, root = self._stack
        for left in reversed(rest):
            root = _node(left, root)
        return root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
