"""The DIMSE sink: instances go to an archive by C-STORE; DICOMweb reads them back, or the archive commits itself.

See `Sink`. It lists by C-FIND at IMAGE level, series by series, and never lets an instance be transcoded.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

from actors.destination_options import CommitmentOptions, DimseOptions
from actors.dimse.commitment import NotAsked, Reference, ReportHandler, request
from actors.dimse.connecting import Endpoint
from actors.dimse.conversation import Conversation
from actors.dimse.find import STUDY_ROOT_FIND
from actors.dimse.negotiation import EXPLICIT_LE, IMPLICIT_LE
from actors.dimse.reports import PUSH_MODEL
from actors.dimse.scu import DimseSource
from actors.dimse.sending import StorePool, StoreRule, unreachable
from actors.dimse.store import StoreConversation, StoredAs
from actors.dimse.tls import requestor_context
from actors.options import DimseSource as DimseAddress
from actors.source import SourceUnending, SourceUnreachable
from imaging.uid import Uid
from storage.dicomweb.client import PIECE, WebClient
from storage.dicomweb.service import WebService
from storage.errors import NotTaken, Rejected, Retryable, StorageError
from storage.packs.model import Container, HeldPack, PackId
from storage.packs.naming import instance_key
from storage.sinks.dicomweb import listed_keys
from storage.sinks.protocol import Journal, Probe, Proof, SinkTraits, StudyWriter, UploadState
from storage.sinks.sameness import same_instance
from storage.sinks.service import Outgoing, ServiceWriter, addressed, window
from storage.sinks.withdrawal import Withdrawal

WRITER_MEMORY = 4 * PIECE
"""An instance goes out in pieces from where it lies."""


class DimseSink:
    """Safe to use from several threads; one instance per process."""

    def __init__(self, options: DimseOptions, *, wait: Callable[[float], None] = time.sleep) -> None:
        """
        Raises
        ------
        Rejected
            A certificate cannot be read.
        """
        self._options = options
        self._wait = wait
        self._place = f"{options.ae_title}@{options.host}:{options.port}"
        try:
            tls = None if options.tls is None else requestor_context(options.tls)
        except OSError as error:
            raise Rejected(str(error), operation="open", place=self._place) from error
        self._endpoint = Endpoint(
            host=options.host,
            port=options.port,
            called_ae=options.ae_title,
            calling_ae=options.calling_ae_title,
            tls=tls,
        )
        self._web = None if options.dicomweb is None else WebService(WebClient(options.dicomweb))
        self._withdrawal = None if options.orthanc is None else Withdrawal(options.orthanc)
        self._pool = StorePool(self._associate, options.associations)

    @property
    def name(self) -> str:
        return self._options.name

    @property
    def traits(self) -> SinkTraits:
        proof = Proof.COMMITMENT if self._web is None else Proof.DIGESTS
        return SinkTraits(writer_memory=WRITER_MEMORY, local=False, listed=False, proof=proof)

    @property
    def devices(self) -> frozenset[str]:
        return frozenset({""})

    @property
    def hanging(self) -> Mapping[str, int]:
        return {}

    def writer(
        self, pack: PackId, container: Container, size_hint: int, journal: Journal, resume: UploadState | None
    ) -> StudyWriter:
        del container, size_hint  # an archive has one shape and says nothing of its room
        sender = _DimseSender(self, first=pack.revision == 1)
        return ServiceWriter(sender, pack, journal, resume, self._options.existing, self._withdrawal)

    def discard(self, state: UploadState) -> None:
        """Nothing: an archive takes nothing back."""

    def sweep(self, live_upload_ids: frozenset[str]) -> int:
        del live_upload_ids
        return 0

    def packs(self) -> Iterator[HeldPack]:
        yield from ()

    def loose(self, pack: PackId, key: str) -> Iterator[str]:
        if self._web is not None:
            yield from listed_keys(self._web, pack, key)
            return
        for sop_uid, series_uid in self.instances(pack.study_uid).items():
            yield instance_key(key, series_uid, sop_uid)

    def size(self, key: str, *, device: str = "") -> int:
        """By reading it: archives tell no sizes."""
        return sum(map(len, self._instance(key)))

    def stream(self, key: str, start: int, length: int, *, device: str = "") -> Iterator[bytes]:
        return window(self._instance(key), start, length)

    def probe(self) -> Iterator[Probe]:
        """Questions only: what is stored at an archive could not be removed again."""
        services = [(STUDY_ROOT_FIND, "offers C-FIND")]
        if self._options.commitment is not None:
            services.append((PUSH_MODEL, "offers Storage Commitment"))
        yield self._tried("answers C-ECHO", self._echo)
        for service, what in services:
            yield self._tried(what, lambda service=service: self._offered(service))
        if self._web is not None:
            yield self._tried("answers by DICOMweb", self._web.reach)
        if self._withdrawal is not None:
            yield self._withdrawal.probe()

    # What sender and validator ask of it.

    @property
    def place(self) -> str:
        return self._place

    @property
    def commitment_timeout(self) -> timedelta:
        """Without a report so long a commitment is asked for anew. Raises `Rejected` where none is set up."""
        return self._commitment.timeout

    @property
    def commitment_batch(self) -> int:
        """Instances in one request. Raises `Rejected` where none is set up."""
        return self._commitment.batch

    @property
    def _commitment(self) -> CommitmentOptions:
        if self._options.commitment is None:
            raise Rejected("the job file names no commitment", operation="commit", place=self._place)
        return self._options.commitment

    def instances(self, study_uid: Uid) -> dict[Uid, Uid]:
        """Series by SOP Instance UID, of every instance the archive lists for the study.

        Raises
        ------
        Retryable
            It is away, or did not finish its list.
        Rejected
            It refuses us, or its list does not end.
        """
        options = self._options
        address = DimseAddress(
            host=options.host,
            port=options.port,
            ae_title=options.ae_title,
            calling_ae_title=options.calling_ae_title,
            find_timeout=options.timeout,
            tls=options.tls,
        )
        source = DimseSource(address)
        try:
            listed = source.list_instances(study_uid)
        except SourceUnreachable as error:
            raise unreachable(error, self._place) from error
        except SourceUnending:
            raise Rejected("its list does not end", operation="list", place=self._place) from None
        finally:
            source.close()
        if not listed.complete or listed.undecodable:
            raise Retryable("it did not finish its list", operation="list", place=self._place)
        return {ref.sop_uid: ref.series_uid for ref in listed.instances}

    def same(self, outgoing: Outgoing) -> bool | None:
        """As `Sender.same`."""
        if self._web is None:
            return None
        facts = outgoing.facts
        theirs = self._web.instance(facts.study_uid, facts.series_uid, facts.sop_uid)
        try:
            return same_instance(facts, outgoing.part10, theirs)
        except FileNotFoundError:  # it lies in another series
            return False

    def send(self, outgoing: Outgoing, *, first: bool) -> None:
        """As `Sender.send`, of one instance; `first`: no earlier revision of it was ever sent."""
        facts = outgoing.facts
        pair = StoredAs(facts.sop_class, facts.transfer_syntax)
        rule = StoreRule(
            place=self._place,
            listed=lambda each: each.facts.sop_uid in self.instances(each.facts.study_uid),
            same=self.same,
            first=first,
            coerced_is_stored=self._web is not None,
            wait=self._wait,
        )
        try:
            rule.settle(lambda: self._pool.send(pair, outgoing.part10, self._options.timeout), outgoing)
        except SourceUnreachable as error:
            raise unreachable(error, self._place) from error

    def ask_commitment(self, transaction_uid: Uid, references: Sequence[Reference], handle: ReportHandler) -> None:
        """The archive was asked to answer for these instances; a report that came at once was handled.

        Raises
        ------
        Retryable
            It is away.
        Rejected
            It does not offer Storage Commitment.
        NotTaken
            It refused the request.
        """
        commitment = self._commitment
        try:
            request(
                self._endpoint,
                transaction_uid,
                references,
                patience=self._options.timeout,
                linger=commitment.linger,
                handle=handle,
            )
        except SourceUnreachable as error:
            raise unreachable(error, self._place) from error
        except NotAsked as error:
            if error.status is None:
                raise Retryable("no answer", operation="commit", place=self._place) from error
            raise NotTaken(
                "refused the request", operation="commit", place=self._place, code=f"{error.status:04X}"
            ) from error

    def _associate(self, pairs: Sequence[StoredAs]) -> StoreConversation:
        endpoint = self._endpoint
        return StoreConversation(
            host=endpoint.host,
            port=endpoint.port,
            called_ae=endpoint.called_ae,
            calling_ae=endpoint.calling_ae,
            pairs=pairs,
            tls=endpoint.tls,
        )

    def _instance(self, key: str) -> Iterator[bytes]:
        if self._web is None:
            raise Rejected("gives nothing back: the job file names no dicomweb", operation="read", place=self._place)
        return self._web.instance(*addressed(key))

    def _offered(self, service: str) -> None:
        Conversation(self._endpoint, [(service, (EXPLICIT_LE, IMPLICIT_LE))]).release()

    def _echo(self) -> None:
        options = self._options
        source = DimseSource(
            DimseAddress(
                host=options.host,
                port=options.port,
                ae_title=options.ae_title,
                calling_ae_title=options.calling_ae_title,
                tls=options.tls,
            )
        )
        try:
            source.echo()
        finally:
            source.close()

    def _tried(self, what: str, attempt: Callable[[], None]) -> Probe:
        try:
            attempt()
        except SourceUnreachable as error:
            return Probe(what=what, ok=False, detail=str(error), place=self._place)
        except StorageError as error:
            return Probe(what=what, ok=False, detail=str(error), place=error.place, code=error.code)
        return Probe(what=what, ok=True, detail="")


class _DimseSender:
    """See `Sender`; associations are the sink's, so nothing is held between two instances."""

    batch_size = 0
    batch_count = 1

    def __init__(self, sink: DimseSink, *, first: bool) -> None:
        self._sink = sink
        self._first = first

    @property
    def place(self) -> str:
        return self._sink.place

    def present(self, study_uid: Uid) -> frozenset[str]:
        return frozenset(self._sink.instances(study_uid))

    def same(self, outgoing: Outgoing) -> bool | None:
        return self._sink.same(outgoing)

    def send(self, batch: Sequence[Outgoing]) -> None:
        for outgoing in batch:
            self._sink.send(outgoing, first=self._first)

    def close(self) -> None:
        """Associations belong to the process."""
