"""The near side after the shipment: every instance is accounted for, and the ledger says so."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.problems import problem
from actors.verify import EVIDENCE_UIDS
from cluster.seeding.accounting import Account, PackVerdict, Proof, Shipped, Verdict
from cluster.seeding.reading import packs_of
from storage.ledger.ledger import Ledger
from storage.ledger.lifecycle import DeliveryState
from storage.ledger.records import CustodyNote, Json
from storage.ledger.seeds import PAGE, ArrivalCounts, ShippedPack
from storage.packs.model import PackId
from storage.packs.naming import index_key, pack_named
from storage.seeds.notes import VerifyingKey
from storage.seeds.opening import payload
from storage.seeds.tagging import TAG_FILES

_ON_THE_WAY = frozenset({DeliveryState.SEALED, DeliveryState.SHIPPED, DeliveryState.ARRIVED, DeliveryState.VALIDATED})
_KINDS = {Verdict.MISSING: "SHIPMENT_MISSING", Verdict.ALTERED: "SHIPMENT_ALTERED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One pack that did not arrive as it was sealed."""

    study_uid: str
    key: str
    verdict: Verdict
    what: str
    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What a document came to."""

    packs: Counter[Verdict]
    instances: Counter[Verdict]
    packs_proved: Counter[Proof]
    instances_proved: Counter[Proof]
    """What is known of those that arrived."""
    moved: int
    """Deliveries that have arrived now."""
    proven: int
    """Of which the receipt is proof."""
    held: int
    """Packs that arrived, but whose exception is open."""
    trouble: tuple[Trouble, ...]
    """The first of them."""
    strangers: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciling:
    """One device, one document."""

    ledger: Ledger
    device_id: str
    destination: str
    destination_id: int
    evidence: str
    """What kind of document."""
    document: bytes
    """Its SHA-256."""
    proof: VerifyingKey | None
    """Whose receipt it is, when a person has said that this key is to be believed."""
    by: str

    def settle(self, account: Account) -> Reconciled:
        """The ledger says of every pack what the account does."""
        strangers = self._strangers(account.strangers)
        packs: Counter[Verdict] = Counter()
        instances: Counter[Verdict] = Counter()
        trouble: list[Trouble] = []
        packs_proved: Counter[Proof] = Counter()
        instances_proved: Counter[Proof] = Counter()
        arrived: dict[Proof, list[PackId]] = {proof: [] for proof in Proof}
        moved = proven = held = 0
        for pack in self._packs():
            verdict = account.packs[payload(pack.receipt.key)]
            packs[verdict.verdict] += 1
            instances.update(_spread(pack, verdict))
            if verdict.verdict is Verdict.ARRIVED:
                assert verdict.proof is not None  # nothing arrives without
                if pack.state is DeliveryState.EXCEPTION:
                    held += 1
                packs_proved[verdict.proof] += 1
                instances_proved[verdict.proof] += pack.instances
                page = arrived[verdict.proof]
                page.append(pack.pack)
                if len(page) == PAGE:
                    moved, proven = moved + self._land(page, verdict.proof), proven + self._prove(page)
                    page.clear()
                continue
            # Another volume may have stopped the delivery already; of this one, too, nothing is proven any more.
            stopped = pack.volume and pack.state is DeliveryState.EXCEPTION
            if verdict.verdict in _KINDS and pack.current and (stopped or pack.state in _ON_THE_WAY):
                found = problem(_KINDS[verdict.verdict], self._evidence(pack, verdict))
                self.ledger.seeds.damaged(pack, found, by=self.by)
            if len(trouble) < PAGE:
                trouble.append(_trouble(pack, verdict))
        for proof, page in arrived.items():
            moved, proven = moved + self._land(page, proof), proven + self._prove(page)
        if strangers:
            found = problem("SHIPMENT_STRANGER", {"device": self.device_id, "objects": strangers[:EVIDENCE_UIDS],
                                                  "count": len(strangers)})  # fmt: skip
            self.ledger.exceptions.open(found, destination_id=self.destination_id)
        self._record(packs, packs_proved, len(strangers))
        return Reconciled(
            packs=packs,
            instances=instances,
            packs_proved=packs_proved,
            instances_proved=instances_proved,
            moved=moved,
            proven=proven,
            held=held,
            trouble=tuple(trouble),
            strangers=tuple(strangers),
            note=account.note,
        )

    def _packs(self) -> Iterator[ShippedPack]:
        return _shipped(self.ledger, self.device_id)

    def _land(self, packs: list[PackId], proof: Proof) -> int:
        if not packs:
            return 0
        note = CustodyNote(event="arrived", payload={**self._told(), "proved_by": proof.value})
        return self.ledger.seeds.land(self.device_id, packs, note, by=self.by)

    def _prove(self, packs: list[PackId]) -> int:
        if not packs or self.proof is None:
            return 0
        told = {**self._told(), "signed_by": f"{self.proof.name} {self.proof.fingerprint}"}
        return self.ledger.seeds.prove(self.device_id, packs, CustodyNote(event="proven", payload=told), by=self.by)

    def _told(self) -> dict[str, str]:
        return {"device": self.device_id, "evidence": self.evidence, "document": self.document.hex()}

    def _evidence(self, pack: ShippedPack, verdict: PackVerdict) -> Json:
        return {
            **self._told(),
            "key": pack.receipt.key,
            "what": verdict.what,
            "instances": list(verdict.instances[:EVIDENCE_UIDS]),
            "count": len(verdict.instances) or pack.instances,
        }

    def _strangers(self, paths: list[str]) -> list[str]:
        """Those that are no index, no tag file and no pack of another device of this destination."""
        beside = {index_key(pack.pack) for pack in self._packs()}
        left = [path for path in paths if path not in beside and not _tag(path)]
        named = {path: pack for path in left if (pack := _pack_of(path)) is not None}
        elsewhere = {held.pack for held in self.ledger.facts.receipted(self.destination, list(named.values()))}
        return sorted(path for path in left if named.get(path) not in elsewhere)

    def _record(self, packs: Mapping[Verdict, int], proved: Mapping[Proof, int], strangers: int) -> None:
        self.ledger.seeds.arrival(
            self.device_id,
            evidence=self.evidence,
            document=self.document,
            counts=ArrivalCounts(
                by_digest=proved[Proof.DIGEST],
                by_crc64=proved[Proof.CRC64],
                by_size=proved[Proof.SIZE],
                by_name=proved[Proof.NAME],
                missing=packs[Verdict.MISSING],
                altered=packs[Verdict.ALTERED],
                unknown=packs[Verdict.UNKNOWN],
                strangers=strangers,
            ),
            by=self.by,
        )
        if set(packs) <= {Verdict.ARRIVED}:
            self.ledger.seeds.arrived(self.device_id)


def expected(ledger: Ledger, device_id: str) -> dict[str, Shipped]:
    """What was shipped on the device, by path from `studies/` on."""
    return {
        payload(pack.receipt.key): Shipped(size=pack.receipt.size, crc64=pack.receipt.crc64)
        for pack in _shipped(ledger, device_id)
    }


def _shipped(ledger: Ledger, device_id: str) -> Iterator[ShippedPack]:
    return (pack for pack in packs_of(ledger, device_id) if pack.state is not DeliveryState.VOID)


def digest_of(*paths: Path) -> bytes:
    """SHA-256 of the documents, behind each other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.digest()


def _spread(pack: ShippedPack, verdict: PackVerdict) -> dict[Verdict, int]:
    """The verdict of each instance: in a damaged pack that was left out, those that are not damaged are missing."""
    if verdict.instances and verdict.verdict is Verdict.ALTERED:
        altered = min(len(verdict.instances), pack.instances)
        return {Verdict.ALTERED: altered, Verdict.MISSING: pack.instances - altered}
    return {verdict.verdict: pack.instances}


def _trouble(pack: ShippedPack, verdict: PackVerdict) -> Trouble:
    return Trouble(
        study_uid=pack.study_uid,
        key=pack.receipt.key,
        verdict=verdict.verdict,
        what=verdict.what,
        instances=verdict.instances,
    )


def _tag(path: str) -> bool:
    return any(path == tag or path.endswith(f"/{tag}") for tag in TAG_FILES)


def _pack_of(path: str) -> PackId | None:
    """The pack that a path of ours names, as itself or as its index."""
    named = pack_named(path)
    if named is not None:
        return named[0]
    if path.startswith("index/") and path.endswith(".jsonl"):
        stem = path.replace("index/", "studies/", 1).removesuffix(".jsonl")
        named = pack_named(f"{stem}.tar")
    return None if named is None else named[0]
