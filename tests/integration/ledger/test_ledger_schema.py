"""The schema is what the files say, and refuses what must never be."""

import hashlib
from collections.abc import Callable
from itertools import product
from pathlib import Path

import psycopg
import pytest

from storage.ledger import migrate as module
from storage.ledger.lifecycle import DELIVERY_MOVES, DeliveryState, StudyState
from storage.ledger.migrate import FOLDER, SchemaMismatch, migrate
from storage.ledger.records import CustodyNote

CATALOGUE = {
    "columns": "select table_name, column_name, ordinal_position, data_type, is_nullable, column_default,"
    " collation_name from information_schema.columns where table_schema = 'public'",
    "constraints": "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint"
    " where connamespace = 'public'::regnamespace",
    "indexes": "select indexname, indexdef from pg_indexes where schemaname = 'public'",
    "triggers": "select tgrelid::regclass::text, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal",
    "functions": "select proname, pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace",
    "types": "select t.typname, string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum e"
    " join pg_type t on t.oid = e.enumtypid group by 1",
    "options": "select relname, reloptions::text from pg_class where relnamespace = 'public'::regnamespace",
}


def catalogue(url: str) -> dict[str, set[tuple]]:
    with psycopg.connect(url) as conn:
        found = {name: set(conn.execute(query).fetchall()) for name, query in CATALOGUE.items()}
    return {name: {row for row in rows if "schema_version" not in str(row)} for name, rows in found.items()}


def test_the_snapshot_makes_the_same_database_as_all_migrations(new_database: Callable[..., str]) -> None:
    by_migrations, by_snapshot = new_database(), new_database()

    migrate(by_migrations)
    with psycopg.connect(by_snapshot) as conn:
        conn.execute((FOLDER.parent / "schema.sql").read_text())

    assert catalogue(by_migrations) == catalogue(by_snapshot)


def test_checksums_name_every_migration_with_its_content() -> None:
    listed = {line.split()[1]: line.split()[0] for line in (FOLDER / "CHECKSUMS").read_text().splitlines()}

    assert listed == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.sql")}


def test_migrating_twice_changes_nothing(postgres_url: str) -> None:
    first = migrate(postgres_url)
    before = catalogue(postgres_url)

    assert migrate(postgres_url) == first
    assert catalogue(postgres_url) == before


def test_a_changed_file_is_refused_before_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "0001_create_job.sql").write_text("select 1;")
    monkeypatch.setattr(module, "FOLDER", tmp_path)

    with pytest.raises(SchemaMismatch):
        module.migrations()


@pytest.mark.parametrize(
    "damage",
    [
        "update schema_version set checksum = 'other' where version = 1",
        "insert into schema_version values (999, '0999_of_the_future.sql', 'x')",
    ],
)
def test_a_database_that_this_version_did_not_make_is_refused(postgres_url: str, damage: str) -> None:
    migrate(postgres_url)
    with psycopg.connect(postgres_url) as conn:
        conn.execute(damage)

    with pytest.raises(SchemaMismatch):
        migrate(postgres_url)


def test_the_database_allows_exactly_the_moves_of_the_lifecycle(world) -> None:
    world.planned("1.2")
    world.sql(
        "insert into receipt (delivery_id, size, instances, key, container, etag, version_id, device)"
        " select delivery_id, 1, 1, 'k', 'tar', '', '', 'disk' from delivery"
    )
    allowed = set()

    with psycopg.connect(world.url, autocommit=True) as conn:
        for old, new in product(DeliveryState, DeliveryState):
            with conn.transaction(force_rollback=True):
                conn.execute("set local session_replication_role = replica")
                conn.execute(STATE, {"state": old})
                conn.execute("set local session_replication_role = origin")
                try:
                    with conn.transaction():
                        conn.execute(STATE, {"state": new})
                    allowed.add((old, new))
                except psycopg.errors.CheckViolation as error:
                    assert error.diag.constraint_name == "delivery_moves_as_allowed"

    staying = {(state, state) for state in DeliveryState}
    assert allowed - staying == {(old, new) for old, targets in DELIVERY_MOVES.items() for new in targets}


STATE = """
update delivery set state = %(state)s::delivery_state,
  written_at = case when %(state)s in ('pending', 'exception', 'void') then null else now() end,
  validated_at = case when %(state)s = 'validated' then now() end,
  held_state = case when %(state)s = 'exception' then 'pending'::delivery_state end"""


@pytest.mark.parametrize(("name", "enum"), [("study_state", StudyState), ("delivery_state", DeliveryState)])
def test_states_have_the_same_names_in_the_database(world, name: str, enum: type[StudyState]) -> None:
    labels = world.sql("select enumlabel from pg_enum where enumtypid = %s::regtype order by enumsortorder", name)

    assert [label for (label,) in labels] == [member.value for member in enum]


def test_a_validated_delivery_without_proof_cannot_exist(world) -> None:
    world.planned("1.2")
    world.write(world.pull())

    with pytest.raises(psycopg.errors.CheckViolation, match="needs a validation"):
        world.sql("update delivery set state = 'validated', validated_at = now() where state = 'written'")


def test_a_written_delivery_without_receipt_cannot_exist(world) -> None:
    world.planned("1.2")

    with pytest.raises(psycopg.errors.CheckViolation, match="needs its receipt"):
        world.sql("update delivery set state = 'written', written_at = now()")


@pytest.mark.parametrize("table", ["instance", "receipt", "custody", "validation", "study_revision"])
@pytest.mark.parametrize("statement", ["update {} set {} = {}", "delete from {}"])
def test_verified_facts_are_never_changed(world, table: str, statement: str) -> None:
    column = {"validation": "instances", "receipt": "instances", "custody": "seq"}.get(table, "revision")
    world.planned("1.2")
    world.write(world.pull())
    claim = world.validation()
    world.ledger.commits.validated(
        claim, instances=2, digests_compared=2, note=CustodyNote(event="validated", payload={})
    )

    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="never changed"):
        world.sql(statement.format(table, column, column))
