"""Commands beside a run: where Postgres has to choose between the two, the command's transaction is made again."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from cluster.planning.reading import Kind
from storage.errors import Retryable
from storage.ledger import pool
from storage.ledger.lifecycle import StudyState
from storage.ledger.pool import beside_a_run
from storage.ledger.resolving import Resolution

HEAD = "old_issuer,old_id,new_issuer,new_id,kind\n"
JANE = {"patient_id": "1", "patient_name": "NOE^JANE", "birth_date": "19700101", "sex": "F"}
DELIVERIES, STUDY = "select from delivery for update", "select from study for no key update"
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


@pytest.fixture
def crossed(world: Any, wait_until: Any) -> Callable[..., Any]:
    """`crossed(command, first, then)`: the command's outcome, run beside a transaction that has taken `first` already
    and takes `then` once the command waits; Postgres ends the one that waited first, the command."""

    def run(command: Callable[[], Any], first: str = DELIVERIES, then: str = STUDY) -> Any:
        begun = deadlocks(world)
        with psycopg.connect(world.url) as other, ThreadPoolExecutor(1) as threads:
            other.execute("set deadlock_timeout = '1min'")
            other.execute(first)
            made = threads.submit(command)
            wait_until(lambda: made.done() or world.sql(WAITING) == [(1,)])
            assert not made.done(), "nothing stood in its way"
            other.execute(then)
            other.commit()
            outcome = made.result(timeout=30)
        wait_until(lambda: deadlocks(world) > begun, what="a deadlock")
        return outcome

    return run


def deadlocks(world: Any) -> int:
    [(count,)] = world.sql("select deadlocks from pg_stat_database where datname = current_database()")
    return count


@pytest.fixture
def moving(world: Any, give: Any, planner: Any, step: Any) -> None:
    """A study that is planned, with deliveries that wait."""
    world.discover("1.1", **JANE)
    planner().apply()
    step()


def test_a_plan_is_carried_out(world, give, planner, moving, crossed) -> None:
    give("overrides.csv", HEAD + "NORTH,1,NORTH,2,merge\n", Kind.OVERRIDES)

    report = crossed(planner().apply)

    assert (report.applied.decided, report.applied.held) == (1, 1)
    assert world.states("1.1") == ["exception", "exception"]
    assert [row.times_seen for row in world.ledger.exceptions.list_open()] == [1]


def test_revisions_are_made(world, step, moving, crossed) -> None:
    world.sql("update study set recount = true")

    assert crossed(step) == 1
    assert world.states("1.1") == ["void", "void", "pending", "pending"]


def test_a_study_is_held(world, moving, crossed) -> None:
    held = crossed(lambda: world.ledger.plan.set_aside(["1.1"], StudyState.HELD, "asked", by="m.keller"))

    assert held == ("1.1",)
    assert world.states("1.1") == ["void", "void"]
    assert world.sql("select count(*) from custody where event = 'held'") == [(1,)]


def test_an_exception_is_resolved(world, give, planner, moving, crossed) -> None:
    give("overrides.csv", HEAD + "NORTH,1,NORTH,2,merge\n", Kind.OVERRIDES)
    planner().apply()
    [problem] = world.ledger.exceptions.list_open()

    crossed(lambda: world.ledger.exceptions.resolve(problem.exception_id, Resolution.EXCLUDE, by="m.keller"))

    assert world.states("1.1") == ["void", "void"]
    assert world.sql("select count(*) from custody where event = 'exception_resolved'") == [(1,)]


def test_a_file_is_read_beside_messages_that_tell_the_same(world, crossed, give) -> None:
    message = (
        b"MSH|^~\\&|ADT|NH|||20200102||ADT^A40|1|P|2.5\rEVN|A40|20200102\r"
        b"PID|||1^^^NORTH^MR||Noe^Jane||19700101|F\rMRG|7^^^NORTH^MR\r"
    )
    give("one.hl7", message.decode(), Kind.HL7)
    one, other = (row[0] for row in world.sql("select digest from identity_event where kind = 'A40' order by digest"))
    with psycopg.connect(world.url, autocommit=True) as admin:
        admin.execute("set session_replication_role = replica")
        admin.execute("drop table if exists kept; create table kept as select * from identity_event where kind = 'A40'")
        admin.execute("delete from identity_event where kind = 'A40'")
    insert = "insert into identity_event select * from kept where digest = '\\x{}'"

    crossed(
        lambda: give("two.hl7", (message + b"\r").decode(), Kind.HL7),
        insert.format(other.hex()),
        insert.format(one.hex()),
    )

    told = world.sql("select name, events from hospital_file where kind = 'hl7' order by file_id")
    world.sql("drop table kept")
    assert told == [("one.hl7", 2), ("two.hl7", 0)]
    assert world.sql("select count(*) from identity_event where kind = 'A40'") == [(2,)]


def test_what_postgres_never_chooses_is_told_as_busy() -> None:
    made: list[int] = []

    @beside_a_run
    def unlucky() -> None:
        made.append(1)
        raise Retryable("busy", operation="test", place="ledger", code="40P01")

    with pytest.raises(Retryable):
        unlucky()

    assert len(made) == pool.DEADLOCKS + 1
