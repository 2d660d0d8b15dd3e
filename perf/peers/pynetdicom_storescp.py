"""A C-STORE receiver in pynetdicom as a careful user would write it.

    python -m perf.peers.pynetdicom_storescp FOLDER file|blake3

Nothing is decoded: the encoded dataset goes to the file as it came. PDUs are large, logging and Nagle's algorithm are
off. With `blake3` each file's digest is taken from the bytes in memory. Prints a JSON line with its port, and one for
each line it reads.
"""

import json
import socket
import sys
from pathlib import Path
from typing import Any

from blake3 import blake3
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.events import Event
from pynetdicom.presentation import AllStoragePresentationContexts

LARGEST_PDU = 131072


def main(folder: Path, hashes: bool) -> None:
    _config.LOG_HANDLER_LEVEL = "none"
    digests: list[str] = []

    def store(event: Event) -> int:
        octets = event.encoded_dataset()
        request: Any = event.request
        if hashes:
            digests.append(blake3(octets).hexdigest())
        with open(folder / str(request.AffectedSOPInstanceUID), "wb", buffering=0) as file:  # noqa: PTH123 - a Path would only add time
            file.write(octets)
        return 0x0000

    def connected(event: Event) -> None:
        transport: Any = event.assoc.dul.socket
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    entity = ApplicationEntity("BENCH")
    entity.maximum_pdu_size = LARGEST_PDU
    entity.maximum_associations = 64
    entity.network_timeout = None
    entity.supported_contexts = AllStoragePresentationContexts
    server: Any = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_CONN_OPEN, connected)]
    )
    port = server.server_address[1]
    print(json.dumps({"port": port}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"digests": len(digests)}), flush=True)
        digests.clear()
    server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "blake3")
