"""The simulator as a process, its knobs in TOML and over the control port, and hostile connections to it."""

import socket
import time

import pytest

from infra.simulator import CapEnd, Faults, Simulator, synthetic_archive
from infra.simulator.__main__ import destinations_from
from infra.simulator.control import Control, ControlClient
from infra.simulator.faults import faults_from, load_faults
from infra.simulator.process import NotReady, SimulatorProcess, listens

DEADLINE = 10.0


def test_a_toml_file_turns_knobs(tmp_path):
    path = tmp_path / "faults.toml"
    path.write_text(
        'find_cap = 100\nfind_cap_end = "refused"\nmalformed = ["0800ff"]\nknown_callers = ["A"]\nlate_push = 1.5\n'
    )

    faults = load_faults(path)

    assert faults == Faults(
        find_cap=100, find_cap_end=CapEnd.REFUSED, malformed=(b"\x08\x00\xff",), known_callers=("A",), late_push=1.5
    )


@pytest.mark.parametrize("values", [{"find_cup": 1}, {"order": "sideways"}, {"malformed": ["xyz"]}])
def test_a_knob_that_does_not_exist_is_refused(values):
    with pytest.raises(ValueError):
        faults_from(values)


def test_destinations_are_read_from_the_command_line():
    assert destinations_from("A=127.0.0.1:11112,B=127.0.0.1:2") == {"A": ("127.0.0.1", 11112), "B": ("127.0.0.1", 2)}
    with pytest.raises(ValueError):
        destinations_from("A:11112")


def test_the_control_port_shows_and_steers_a_simulator():
    with Simulator(synthetic_archive(studies=3)) as pacs:
        control = Control(pacs)
        control.start()
        client = ControlClient(control.port)

        client.ask("faults", set={"find_cap": 5})
        client.ask("faults", set={"order": "reversed"})
        both = pacs.faults
        client.set_faults(counts="zero")
        client.ask("destination", ae="MIG", port=4242)
        manifest = client.ask("manifest")
        with pytest.raises(ValueError, match="no such fault"):
            client.ask("faults", set={"nonsense": 1})
        with pytest.raises(ValueError):
            client.ask("dance")
        client.close()
        control.stop()

    assert (both.find_cap, both.order) == (5, "reversed")
    assert (pacs.faults.find_cap, pacs.faults.counts) == (None, "zero")
    assert pacs.destinations["MIG"] == ("127.0.0.1", 4242)
    assert len(manifest["rows"]) == len(pacs.archive.manifest())


def test_the_process_says_where_it_listens_and_leaves_nothing_behind():
    with SimulatorProcess(["synthetic:studies=2", "workload:studies=1,instances=2"]) as pacs:
        stats = pacs.control.stats()
        rows = pacs.control.ask("manifest")["rows"]
        listening = listens(pacs.port)
        port = pacs.port

    assert stats["moves"] == [] and listening
    assert len({row[0] for row in rows}) == 3
    assert not listens(port)


def test_a_process_with_a_wrong_archive_does_not_start():
    with pytest.raises(NotReady):
        SimulatorProcess(["nowhere"]).start()


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\x00\x00\x00\x00\x04\x00\x01\x00\x00",
        b"\x01\x00\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x01\x03",
        b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00",
    ],
    ids=["http", "short-request", "absurd-length", "data-first", "release-first"],
)
def test_what_is_not_an_association_is_cut_off(octets):
    with Simulator(synthetic_archive(studies=1)) as pacs:
        with socket.create_connection(("127.0.0.1", pacs.port), timeout=DEADLINE) as peer:
            peer.sendall(octets)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(4096):
                pass

        assert pacs.stats.counts["associations"] == 1
        deadline = time.monotonic() + DEADLINE
        while pacs.stats.running_associations and time.monotonic() < deadline:
            time.sleep(0.005)
        assert pacs.stats.running_associations == 0


def test_stopping_cuts_idle_associations_and_frees_the_port():
    pacs = Simulator(synthetic_archive(studies=1)).start()
    with socket.create_connection(("127.0.0.1", pacs.port), timeout=DEADLINE) as peer:
        pacs.stop()

        try:
            last = peer.recv(4096)
        except ConnectionResetError:
            last = b""  # the association was still waiting to be accepted: its end is a reset, not a close
        assert last == b""

    again = Simulator(synthetic_archive(studies=1), port=pacs.port).start()
    again.stop()
    again.stop()
