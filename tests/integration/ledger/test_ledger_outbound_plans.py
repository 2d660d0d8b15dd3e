"""What waits to be told to a destination is found by index, however much it has and was told of.

OUTBOUND_STUDIES=200000 for numbers that mean something.
"""

import os
from collections.abc import Callable

import psycopg
import pytest

from storage.ledger import outbound
from storage.ledger.ledger import Ledger
from storage.ledger.plan import TO_TELL, TOLD
from storage.ledger.records import Problem, Severity

STUDIES = int(os.environ.get("OUTBOUND_STUDIES", "10000"))
OF_A_PATIENT = 4
TOLD_BEFORE = STUDIES // 10
"""Studies whose patient was merged in the past; the destination was told."""
WAITING_PATIENTS = 3
DECISION = (
    "jsonb_build_object('decision', jsonb_build_object('patient', jsonb_build_array('NORTH', {}), 'person',"
    " '{{}}'::jsonb, 'numbers',"
    f" jsonb_build_array(jsonb_build_array('NORTH', (study_key / {OF_A_PATIENT})::text))))"
)
SEED = f"""
insert into job (name, source_identity, secret, generation) values ('j', 's', decode(repeat('00', 32), 'hex'), 1);
insert into source (name, kind, pull_limit, allowed) values ('pacs', 'dimse', 8, 8);
insert into destination (name, kind, inline, fingerprint, told) values ('a', 's3', true, '', false),
  ('vna', 'dicomweb', false, '', true);
insert into study (source_id, revision, generation, state, study_uid)
  select 1, 1 + (n <= {TOLD_BEFORE})::int, 1, 'planned', '1.2.' || n from generate_series(1, {STUDIES}) n;
insert into study_revision (study_key, revision, plan)
  select study_key, 1, {DECISION.format(f"(study_key / {OF_A_PATIENT})::text")} from study;
insert into study_revision (study_key, revision, plan)
  select study_key, 2, {DECISION.format(f"'M' || study_key / {OF_A_PATIENT}")} from study where revision = 2;
insert into delivery (study_key, revision, source_id, destination_id, pulled, ready, priority, state)
  select study_key, 1, 1, 2, false, true, 100, 'pending' from study;
set session_replication_role = replica;
update delivery set state = 'written', written_at = now();
set session_replication_role = origin;
insert into delivery (study_key, revision, source_id, destination_id, pulled, ready, priority, state, reason)
  select study_key, 2, 1, 2, false, true, 100, 'void', '{TOLD}' from study where revision = 2;
insert into outbound_message (destination_id, trigger, control_id, octets, attempts, answer, done_at)
  values (2, 'A40', 'before', '', 1, 'AA', now());
insert into outbound_study select study_key, 1, 2, 2 from study where revision = 2;
insert into custody select study_key, seq, now(), case seq when 1 then 'written' else 'replayed' end, 'mover',
  jsonb_build_object('revision', (study_key % {OF_A_PATIENT} = 1)::int), decode(repeat('00', 32), 'hex'),
  decode(repeat('00', 32), 'hex')
  from study, generate_series(1, 2) seq;
"""
MERGE = f"""
update study set revision = 2 where study_key / {OF_A_PATIENT} = any(%(patients)s);
"""
REVISE = f"""
insert into study_revision (study_key, revision, plan)
  select study_key, 2, {DECISION.format(f"'N' || study_key / {OF_A_PATIENT}")} from study
  where study_key / {OF_A_PATIENT} = any(%(patients)s)"""
WAIT = f"""
insert into delivery (study_key, revision, source_id, destination_id, pulled, ready, priority, state, reason)
  select study_key, 2, 1, 2, false, true, 100, 'void', '{TO_TELL}' from study
  where study_key / {OF_A_PATIENT} = any(%(patients)s)"""
MOST_BLOCKS = 1_000
"""Of 8 KiB; everything that the destination has is some thousands."""
PROBLEM = Problem(kind="CORRECTION_UNTELLABLE", severity=Severity.ERROR, blocking=False, remedy="Look.", evidence={})


@pytest.fixture(scope="module")
def seeded(seeded_with: Callable[[str], str]) -> str:
    return seeded_with(SEED)


def nodes_of(conn: psycopg.Connection, query: str) -> list[dict]:
    (root,) = conn.execute("explain (analyze, buffers, format json) " + query, {"destination": 2}).fetchone()[0]
    found, left = [], [root["Plan"]]
    while left:
        node = left.pop()
        found.append(node)
        left += node.get("Plans", [])
    return found


def merge_some(conn: psycopg.Connection) -> None:
    first = STUDIES // OF_A_PATIENT // 2
    patients = list(range(first, first + WAITING_PATIENTS))
    for statement in (MERGE, REVISE, WAIT):
        conn.execute(statement, {"patients": patients})


def test_what_waits_is_found_among_everything_that_was_told_and_nothing_else_is_read(seeded: str) -> None:
    with psycopg.connect(seeded) as conn, conn.transaction(force_rollback=True):
        idle = nodes_of(conn, outbound._HELD)
        merge_some(conn)
        conn.execute("analyze")
        busy = nodes_of(conn, outbound._HELD)

    for nodes in (idle, busy):
        indexes = {node.get("Index Name") for node in nodes}
        assert "delivery_to_tell" in indexes
        assert not [node for node in nodes if node["Node Type"] == "Seq Scan"]
    assert idle[0]["Shared Hit Blocks"] + idle[0]["Shared Read Blocks"] <= 20
    assert busy[0]["Shared Hit Blocks"] + busy[0]["Shared Read Blocks"] <= MOST_BLOCKS
    assert busy[0]["Actual Rows"] == OF_A_PATIENT * WAITING_PATIENTS
    assert "revision_decided_for" in {node.get("Index Name") for node in busy}


def test_a_pass_tells_what_waits_and_the_next_one_nothing(seeded: str) -> None:
    with psycopg.connect(seeded, autocommit=True) as conn:
        merge_some(conn)
    with Ledger(seeded) as ledger:
        made = [ledger.outbound.make(2, lambda tell, control_id: b"", PROBLEM) for _ in range(2)]

    assert made[0].messages == {"A40": WAITING_PATIENTS}
    assert made[0].studies == OF_A_PATIENT * WAITING_PATIENTS
    # One of each patient was replayed since the destination has it.
    assert made[0].untellable == WAITING_PATIENTS
    assert (made[1].messages, made[1].untellable) == ({}, 0)
