"""The hot queries use their index and touch few rows, however long the queue is."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from storage.ledger import claims, commits, facts, replay

STUDIES = 20_000
SEED = f"""
insert into job (name, source_identity, secret, generation) values ('j', 's', decode(repeat('00', 32), 'hex'), 1);
insert into source (name, kind, pull_limit, allowed) values ('pacs', 'dimse', 8, 8);
insert into destination (name, kind, inline, fingerprint) values ('a', 's3', true, ''), ('b', 's3', false, '');
insert into study (source_id, revision, generation, state, study_uid)
  select 1, 1, 1, 'planned', '1.2.' || n from generate_series(1, {STUDIES}) n;
insert into coercion_rules (version) values ('a');
insert into coercion_effect (version, acted) values ('a', '{{}}'), ('a', '{{b/1}}');
insert into study_revision (study_key, revision, effect_id)
  select study_key, 1, 1 + (study_key % 40 = 0)::int from study;
insert into delivery (study_key, revision, source_id, destination_id, pulled, ready, priority, state, written_at,
                      lease_owner, lease_until, lease_kind)
  select study_key, 1, 1, d, d = 1, true, 100, case when study_key % 4 = 0 then 'written' else 'pending'
         end::delivery_state, case when study_key % 4 = 0 then now() end,
         case when study_key % 500 = 1 then 'm' end, case when study_key % 500 = 1 then now() - interval '1 h' end,
         case when study_key % 500 = 1 then case d when 1 then 'pull' else 'feed' end end::lease_kind
  from study, generate_series(1, 2) d;
insert into receipt (delivery_id, size, instances, key, container, etag, version_id, device)
  select delivery_id, 1, 3, 'k', 'tar', '', '', '' from delivery where state = 'written';
insert into instance select study_key, 1, 1, 1, study_uid || '.' || n, '1', '1', '1', h.h, h.h, h.h, h.h, '{{}}'
  from study, generate_series(1, 3) n, (select decode(repeat('00', 32), 'hex') as h) h where study_key % 4 = 0;
insert into sop select md5(study_key || '.' || n)::uuid, study_key from study, generate_series(1, 10) n;
insert into upload (delivery_id, key, container) select delivery_id, 'k', 'tar' from delivery where state = 'pending';
insert into upload_member select u.delivery_id, n, 1, 1, 1, 1, gen_random_uuid(), '1.' || n, '1', '1', '1',
  h.h, h.h, h.h, h.h from upload u, generate_series(1, 2) n, (select decode(repeat('00', 32), 'hex') as h) h;
"""

HOT = {
    "delivery_to_pull": (
        claims._PULL,
        {"source": 1, "worker": "w", "lease": "60 s", "allowed": 100_000},
    ),
    "delivery_to_feed": (claims._FEED, {"destination": 2, "worker": "w", "lease": "60 s"}),
    "delivery_to_validate": (claims._VALIDATE, {"destination": 1, "worker": "w", "lease": "60 s"}),
    "delivery_leased": (claims._RECOVER, {"limit": 10}),
    "delivery_waiting": (claims._DUE, {"limit": 10}),
    "upload_member_pkey": (commits._INSERT_STAGED, {"study": 1, "revision": 1, "delivery": 1}),
    "revision_by_effect": (replay._STUDIES, {"effects": [2], "after": 10_000, "limit": 20, "present": True}),
    "study_uid_is_known_once": (facts._ARRIVAL, {"study": "1.2.400", "sop": "1.2.400.2"}),
}
MOST_ROWS = 100


@pytest.fixture(scope="module")
def seeded(seeded_with: Callable[[str], str]) -> str:
    return seeded_with(SEED)


@pytest.mark.parametrize("index", HOT)
def test_a_hot_query_uses_its_index_and_touches_few_rows(seeded: str, index: str) -> None:
    query, values = HOT[index]

    with psycopg.connect(seeded) as conn, conn.transaction(force_rollback=True):
        (root,) = conn.execute("explain (analyze, format json) " + query, values).fetchone()[0]
    nodes = list(walk(root["Plan"], lambda node: True))

    assert index in {node.get("Index Name") for node in nodes}
    assert not [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan" and is_big(node)]
    assert max(touched(node) for node in nodes) <= MOST_ROWS


def test_shared_uids_are_found_by_index_in_their_partitions(seeded: str) -> None:
    with psycopg.connect(seeded) as conn:
        sops = [row[0] for row in conn.execute("select sop from sop limit 20")]
        values = {"sops": sops, "study": 0}
        (root,) = conn.execute("explain (analyze, format json) " + facts._HELD_ELSEWHERE, values).fetchone()[0]

    nodes = list(walk(root["Plan"], lambda node: node.get("Relation Name", "").startswith("sop_")))
    assert {node["Node Type"] for node in nodes} <= {"Index Only Scan", "Index Scan"}
    assert sum(node["Actual Loops"] for node in nodes) <= len(sops)


def test_an_arrival_looks_into_one_partition(seeded: str) -> None:
    values = {"study": "1.2.400", "sop": "1.2.400.2"}

    with psycopg.connect(seeded) as conn:
        (root,) = conn.execute("explain (analyze, format json) " + facts._ARRIVAL, values).fetchone()[0]

    looked_into = walk(root["Plan"], lambda node: node.get("Relation Name", "").startswith("instance_"))
    assert len([node for node in looked_into if node["Actual Loops"] > 0]) == 1


def walk(node: dict, wanted: Callable[[dict], bool]) -> Iterator[dict]:
    if wanted(node):
        yield node
    for inner in node.get("Plans", ()):
        yield from walk(inner, wanted)


def is_big(node: dict) -> bool:
    """Endpoints are few and always read whole; so are leases, of which there are some dozens."""
    return node["Actual Loops"] > 0 and node["Relation Name"] not in {"destination", "source", "control", "job"}


def touched(node: dict) -> float:
    rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return rows * node["Actual Loops"]
