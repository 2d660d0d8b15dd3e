"""Whatever order workers claim, stall, lose, write and validate in, the ledger stays true."""

from datetime import timedelta

import psycopg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from storage.errors import LostClaim
from storage.ledger import Ledger
from storage.ledger.records import Claim, CustodyNote, FeedClaim, PullClaim, ValidateClaim
from storage.packs.model import Container, Receipt

LEASE = timedelta(seconds=60)
NOTE = CustodyNote(event="step", payload={})
RECEIPT = Receipt(key="packs/1", container=Container.TAR, size=4096, crc64=1)
STUDIES = ("1.1", "1.2")
workers = st.sampled_from(["w1", "w2", "w3"])
LEDGER_RULES = {
    "validated without a clean read-back": "select delivery_id from delivery d where state = 'validated' and not exists"
    " (select from validation v where v.delivery_id = d.delivery_id and v.mismatches + v.missing + v.surplus = 0)",
    "written without receipt": "select delivery_id from delivery d where written_at is not null and not exists"
    " (select from receipt r where r.delivery_id = d.delivery_id)",
    "receipt without its instances": "select d.delivery_id from delivery d join receipt using (delivery_id)"
    " where (select count(*) from instance i where i.study_key = d.study_key and i.revision = d.revision) <> 2",
    "instances without a written inline delivery": "select study_key from instance i where not exists (select from"
    " delivery d where d.study_key = i.study_key and d.revision = i.revision and d.pulled"
    " and d.written_at is not null)",
    "fed before the inline one was written": "select f.delivery_id from delivery f join delivery i"
    " using (study_key, revision) where not f.pulled and i.pulled and f.written_at is not null"
    " and i.written_at is null",
}


class Cluster(RuleBasedStateMachine):
    """Workers that believe in claims for longer than they should, beside a model of who truly holds what."""

    world = None

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0
        self.ledger = self.world.ledger
        self.shifted: Ledger | None = None
        self.watcher = psycopg.connect(self.world.url, autocommit=True)
        self.claims: list[Claim] = []
        self.holder: dict[int, Claim] = {}
        self.until: dict[int, int] = {}

    def granted(self, claim: Claim | None) -> None:
        if claim is None:
            return
        assert claim.delivery_id not in self.holder, "handed out while another worker held it"
        self.claims.append(claim)
        self.holder[claim.delivery_id] = claim
        self.until[claim.delivery_id] = self.clock + 60

    def attempt(self, index: int, action, *, ends: bool = True) -> None:
        """The action succeeds exactly when the claim is still held."""
        claim = self.claims[index % len(self.claims)]
        held = self.holder.get(claim.delivery_id) is claim
        try:
            action(claim)
        except LostClaim:
            assert not held
        else:
            assert held
            if ends:
                del self.holder[claim.delivery_id]

    @rule(worker=workers)
    def pull(self, worker: str) -> None:
        self.granted(self.ledger.claims.pull(worker, self.world.source, LEASE))

    @rule(worker=workers)
    def feed(self, worker: str) -> None:
        self.granted(self.ledger.claims.feed(worker, [self.world.second], LEASE))

    @rule(worker=workers)
    def validate(self, worker: str) -> None:
        self.granted(self.ledger.claims.validate(worker, [self.world.cloud, self.world.second], LEASE))

    @precondition(lambda self: self.claims)
    @rule(index=st.integers(0, 9))
    def finish(self, index: int) -> None:
        self.attempt(index, self.complete)

    def complete(self, claim: Claim) -> None:
        match claim:
            case PullClaim():
                self.world.write(claim, ledger=self.ledger)
            case FeedClaim():
                self.ledger.commits.fed(claim, receipt=RECEIPT, note=NOTE)
            case ValidateClaim():
                self.ledger.commits.validated(claim, instances=2, digests_compared=2, note=NOTE)

    @precondition(lambda self: self.claims)
    @rule(index=st.integers(0, 9), spent=st.booleans())
    def release(self, index: int, spent: bool) -> None:
        self.attempt(
            index,
            lambda claim: self.ledger.claims.release(claim, delay=timedelta(0), reason="x", spent=spent),
        )

    @precondition(lambda self: self.claims)
    @rule(index=st.integers(0, 9))
    def renew(self, index: int) -> None:
        claim = self.claims[index % len(self.claims)]
        held = self.holder.get(claim.delivery_id) is claim

        lost = self.ledger.claims.renew(claim.worker, [claim], LEASE)

        assert lost == (() if held else (claim,))
        if held:
            self.until[claim.delivery_id] = self.clock + 60

    @rule(seconds=st.sampled_from([20, 61]))
    def time_passes(self, seconds: int) -> None:
        self.clock += seconds
        self.close_shifted()
        self.shifted = self.world.later(self.clock)
        self.ledger = self.shifted

    def close_shifted(self) -> None:
        if self.shifted is not None:
            self.shifted.__exit__(None, None, None)

    def teardown(self) -> None:
        self.close_shifted()
        self.watcher.close()

    @rule()
    def recover(self) -> None:
        expired = {key for key in self.holder if self.until[key] <= self.clock}

        assert self.ledger.claims.recover() == len(expired)
        for key in expired:
            del self.holder[key]

    @rule(worker=workers)
    def restart(self, worker: str) -> None:
        mine = {key for key, claim in self.holder.items() if claim.worker == worker}

        assert self.ledger.claims.recover_worker(worker) == len(mine)
        for key in mine:
            del self.holder[key]

    @invariant()
    def nothing_untrue_is_in_the_ledger(self) -> None:
        for name, query in LEDGER_RULES.items():
            assert self.watcher.execute(query).fetchall() == [], name

    @invariant()
    def every_lease_in_the_ledger_is_one_that_was_granted(self) -> None:
        rows = self.world.sql(
            "select delivery_id, lease_owner, lease_epoch from delivery where lease_owner is not null"
        )
        assert set(rows) == {(key, claim.worker, claim.epoch) for key, claim in self.holder.items()}


def test_the_ledger_stays_true_in_every_order_of_events(world, reset_world) -> None:
    class Here(Cluster):
        def __init__(self) -> None:
            reset_world()
            world.planned(*STUDIES)
            super().__init__()

    Here.world = world

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
