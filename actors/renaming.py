"""Instances whose C-STORE command names another class or instance than their dataset.

Orthanc 1.10 sends some RLE and JPEG 2000 images under the SOP Class and Instance UID "31". The dataset is what was
asked for and what is kept, so where a study waits for the instance its dataset names, the file meta is made
from that.
"""

from dataclasses import replace

from actors.dimse.incoming import Incoming
from imaging.instance import Instance
from imaging.octets import Octets
from imaging.part10 import encode_meta


class Behind:
    """Octets: `head`, then those of `tail` from `offset` on."""

    def __init__(self, head: bytes, tail: Octets, offset: int) -> None:
        self._head = memoryview(head)
        self._tail = tail
        self._shift = offset - len(head)
        self.size = len(head) + tail.size - offset

    def read(self, start: int, length: int) -> memoryview:
        border = len(self._head)
        if start >= border:
            return self._tail.read(start + self._shift, length)
        head = self._head[start : start + length]
        rest = length - len(head)
        return head if not rest else memoryview(bytes(head) + self._tail.read(border + self._shift, rest))


def renamed(incoming: Incoming, instance: Instance) -> Incoming:
    """The same instance under the names its dataset gives; `instance` is what it says. Copies nothing."""
    meta = encode_meta(instance.sop_class, instance.sop_uid, instance.transfer_syntax)
    return replace(
        incoming,
        sop_class=instance.sop_class,
        sop_uid=instance.sop_uid,
        part10=Behind(meta, incoming.part10, incoming.dataset_offset),
        dataset_offset=len(meta),
    )
