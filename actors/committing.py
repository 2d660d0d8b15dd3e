"""Proof by Storage Commitment, where a service gives nothing back (PS3.4 annex J).

    listed? -> ask, known to the ledger first -> report, on whatever association -> all committed: validated
                        |                          |
                        |                          +- some refused: another attempt asks for those again
                        +- none within the timeout: another attempt; a late report is heard all the same

A claim does not wait for reports: it rests, and the report wakes it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import uuid4

import structlog

from actors.custody import committed_note
from actors.dimse.commitment import Reference, Report, ReportHandler
from actors.settling import Settling
from actors.verdict import EVIDENCE_UIDS
from actors.worker import Tally, Turn
from imaging.facts import InstanceFacts
from imaging.uid import Uid
from storage.errors import StorageError
from storage.ledger.commitments import Commitment
from storage.ledger.ledger import Ledger
from storage.ledger.records import Json, ValidateClaim
from storage.packs.model import PackId
from storage.packs.naming import instance_key, strangers
from storage.sinks.protocol import Sink

LOOK_AGAIN = timedelta(seconds=30)
"""Rest of a claim whose report is awaited; a report ends it."""


class Committer(Sink, Protocol):
    """A destination that commits itself."""

    @property
    def commitment_timeout(self) -> timedelta: ...

    @property
    def commitment_batch(self) -> int: ...

    def ask_commitment(self, transaction_uid: Uid, references: Sequence[Reference], handle: ReportHandler) -> None: ...


def report_to(ledger: Ledger) -> ReportHandler:
    """Keeps reports in the ledger."""
    log = structlog.get_logger("limosa.validator")

    def keep(report: Report) -> bool:
        asked = ledger.commitments.report(report.transaction_uid, report.committed, report.failed)
        if not asked:
            log.warning("commitment_unknown")
        return asked

    return keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Committing:
    """Validates deliveries of one kind of proof."""

    ledger: Ledger
    settling: Settling
    tally: Tally

    def work(self, claim: ValidateClaim, sink: Committer, stop: Callable[[], bool]) -> Turn:
        """The claim is committed, released or failed.

        Raises
        ------
        StorageError
            From ledger and destination.
        """
        facts = {one.sop_uid: one for one in self.ledger.facts.instances(claim.study_key, claim.revision)}
        known = self.ledger.commitments.of(claim)
        missing = facts.keys() - committed_of(known)
        # A worker may have died between two requests of one study.
        unasked = missing - {sop_uid for each in known if each.closed_at is None for sop_uid in each.sop_uids}
        if unasked:
            unlisted = self._unlisted(claim, sink, facts)
            if unlisted:
                return self.settling.again(claim, "DIGEST_MISMATCH", unlisted)
            if not self._ask(claim, sink, [facts[sop_uid] for sop_uid in sorted(unasked)], stop):
                return self.settling.give_back(claim, "STOPPED")
            known = self.ledger.commitments.of(claim)
            missing = facts.keys() - committed_of(known)
        self.settling.answered(claim)
        if not missing:
            return self._prove(claim, sink, facts, known)
        now = self.ledger.control.now()
        waited_for = [each for each in known if each.closed_at is None and each.answered_at is None]
        if any(now - each.asked_at < sink.commitment_timeout for each in waited_for):
            return self.settling.give_back(claim, "AWAITING_COMMITMENT", delay=LOOK_AGAIN)
        self.ledger.commitments.close(claim)
        refused = refused_of(known)
        kind = "COMMITMENT_REFUSED" if refused else "COMMITMENT_MISSING"
        return self.settling.again(claim, kind, evidence(facts, missing, refused))

    def _ask(
        self, claim: ValidateClaim, sink: Committer, instances: Sequence[InstanceFacts], stop: Callable[[], bool]
    ) -> bool:
        """Every instance is asked for; False: stopped before."""
        keep = report_to(self.ledger)
        for start in range(0, len(instances), sink.commitment_batch):
            if stop():
                return False
            batch = instances[start : start + sink.commitment_batch]
            transaction_uid = Uid(f"2.25.{uuid4().int}")
            # First: the report may be here before the request is answered.
            self.ledger.commitments.ask(claim, transaction_uid, [one.sop_uid for one in batch])
            references = [Reference(sop_class=one.sop_class, sop_uid=one.sop_uid) for one in batch]
            try:
                sink.ask_commitment(transaction_uid, references, keep)
            except StorageError:
                # It will be asked for anew; if it was heard all the same, its report counts.
                self.ledger.commitments.close(claim)
                raise
        return True

    def _unlisted(self, claim: ValidateClaim, sink: Sink, facts: Mapping[Uid, InstanceFacts]) -> Json:
        """What the destination's list lacks or has too much, as evidence; empty when it is the study."""
        pack = PackId(study_uid=claim.study_uid, revision=claim.revision)
        key = claim.receipt.key
        keys = {instance_key(key, one.series_uid, one.sop_uid): one.sop_uid for one in facts.values()}
        present = set(sink.loose(pack, key))
        missing = sorted(keys[each] for each in keys.keys() - present)
        beyond = sorted(strangers(pack, key, keys.keys(), present))
        if not missing and not beyond:
            return {}
        return {
            "what": "list",
            "missing_count": len(missing),
            "missing": missing[:EVIDENCE_UIDS],
            "strangers_count": len(beyond),
            "strangers": beyond[:EVIDENCE_UIDS],
        }

    def _prove(
        self, claim: ValidateClaim, sink: Sink, facts: Mapping[Uid, InstanceFacts], known: Sequence[Commitment]
    ) -> Turn:
        unlisted = self._unlisted(claim, sink, facts)
        if unlisted:
            return self.settling.again(claim, "DIGEST_MISMATCH", unlisted)
        self.ledger.commits.committed(claim, instances=len(facts), note=committed_note(len(facts), known))
        self.tally.add(studies=1, instances=len(facts))
        return Turn.WORKED


def committed_of(known: Sequence[Commitment]) -> set[Uid]:
    """Instances that any transaction's report committed, late ones included."""
    return {sop_uid for each in known for sop_uid in each.committed}


def refused_of(known: Sequence[Commitment]) -> dict[str, int]:
    """Failure Reasons of the latest answers, without what was committed by another."""
    refused = {sop_uid: reason for each in known for sop_uid, reason in each.failed.items()}
    return {sop_uid: reason for sop_uid, reason in refused.items() if sop_uid not in committed_of(known)}


def evidence(facts: Mapping[Uid, InstanceFacts], missing: set[Uid], refused: Mapping[str, int]) -> Json:
    """For the exception: counts in full, UIDs up to a bound."""
    named = {str(sop_uid): f"{refused.get(sop_uid, 0):04X}" for sop_uid in sorted(missing)[:EVIDENCE_UIDS]}
    return {"instances": len(facts), "uncommitted": len(missing), "refused": len(refused), "reasons": named}
