"""The control port: one JSON object a line in, one a line out, on 127.0.0.1 only.

{"do": "stats"}                                  what happened so far
{"do": "faults", "set": {"find_cap": 100}}       turn knobs; {"do": "faults", "reset": true} first tells the truth
{"do": "destination", "ae": "MIG01", "host": "127.0.0.1", "port": 11113}
{"do": "manifest"}                               identity of every instance held
{"do": "forget"}                                 limits to the first n times begin anew
{"do": "stop"}
"""

import json
import socket
import socketserver
import threading
from dataclasses import asdict
from typing import Any

from infra.simulator.faults import Faults, faults_from
from infra.simulator.simulator import Simulator

STOP_POLL = 0.02
"""Seconds between looks at whether to stop."""
CONTROL_TIMEOUT = 60.0
"""Seconds a client waits for an answer; a manifest of a large archive takes some."""


class Control:
    """Serves the control port of one simulator until it is stopped."""

    def __init__(self, simulator: Simulator, port: int = 0) -> None:
        self._simulator = simulator
        self.stopping = threading.Event()
        control = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    self.wfile.write(json.dumps(control.answer(line)).encode() + b"\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._serve, name="simulator-control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _serve(self) -> None:
        self._server.serve_forever(STOP_POLL)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """The reply to one request line; `{"error": ...}` when it cannot be understood."""
        try:
            return self._do(json.loads(line))
        except (ValueError, KeyError, TypeError) as problem:
            return {"error": str(problem)}

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        simulator = self._simulator
        match request["do"]:
            case "stats":
                return simulator.stats.snapshot() | {"moves": [asdict(move) for move in simulator.stats.move_records]}
            case "faults":
                start = Faults() if request.get("reset") else simulator.faults
                simulator.faults = faults_from(request.get("set", {}), start)
                return {"ok": True}
            case "destination":
                simulator.destinations[request["ae"]] = (request.get("host", "127.0.0.1"), int(request["port"]))
                return {"ok": True}
            case "manifest":
                held = simulator.archive.manifest()
                rows = [(i.study_uid, i.series_uid, i.sop_uid, i.sop_class, i.transfer_syntax, i.size) for i in held]
                return {"columns": ["study", "series", "sop", "class", "syntax", "size"], "rows": rows}
            case "forget":
                simulator.forget()
                return {"ok": True}
            case "stop":
                self.stopping.set()
                return {"ok": True}
            case other:
                raise ValueError(f"cannot {other}")


class ControlClient:
    """Speaks to the control port of a simulator in another process."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=CONTROL_TIMEOUT)
        self._lines = self._sock.makefile("rb")

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises
        ------
        ValueError
            The simulator did not understand it.
        ConnectionError
            The simulator is gone.
        """
        self._sock.sendall(json.dumps({"do": do, **request}).encode() + b"\n")
        line = self._lines.readline()
        if not line:
            raise ConnectionError("the simulator is gone")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def stats(self) -> dict[str, Any]:
        return self.ask("stats")

    def set_faults(self, **knobs: Any) -> None:
        """The truth, but for these knobs."""
        self.ask("faults", reset=True, set=knobs)

    def close(self) -> None:
        self._lines.close()
        self._sock.close()
