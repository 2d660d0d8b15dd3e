"""The S3 sink: packs or loose instances in one bucket."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from secrets import token_hex

from imaging.octets import MemoryOctets
from storage.budget import BufferPool
from storage.errors import AlreadyThere, Rejected, StorageError, UploadLost
from storage.packs.batches import Batches
from storage.packs.crc64 import crc64
from storage.packs.model import Container, HeldPack, PackId, Part
from storage.packs.naming import (
    index_key_beside,
    indexes_prefix,
    pack_key,
    pack_named,
    pack_of_key,
    studies_prefix,
    study_folder,
)
from storage.sinks.options import RAW_PIXELS, S3Options
from storage.sinks.p10 import P10Writer
from storage.sinks.protocol import Journal, Probe, SinkTraits, StudyWriter, UploadState
from storage.sinks.s3_client import READ_PIECE, Bucket
from storage.sinks.s3_errors import WrongChecksum
from storage.sinks.s3_pack import Lane, S3PackWriter

ENCODER_MEMORY = 6 << 20
"""A zstd context of level 1 and a piece on either side of it."""
IDLE_BUFFERS = 4
"""Buffers of parts kept for the next: two writers' worth. A fresh one costs its page faults, a tenth of a core."""


class S3Sink:
    """See `Sink`."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._bucket = Bucket(options)
        # One part in flight per writer, so threads beyond the connections would only queue for one.
        executor = ThreadPoolExecutor(options.connections, thread_name_prefix=f"s3-{options.name}")
        self._lane = Lane(
            bucket=self._bucket,
            objects=self,
            executor=executor,
            pool=BufferPool(IDLE_BUFFERS * options.parts.capacity(1)),
            parts=options.parts,
            largest_object=options.endpoint.largest_object,
        )

    @property
    def name(self) -> str:
        return self._options.name

    @property
    def traits(self) -> SinkTraits:
        """`writer_memory` holds for studies of up to 4,000 parts; see `PartPlan.target` for what follows."""
        if self._options.layout != "pack":
            return SinkTraits(writer_memory=2 * READ_PIECE, local=False)
        buffers = 2 * self._options.parts.capacity(1)
        raw_pixels = RAW_PIXELS[self._options.compression]
        return SinkTraits(writer_memory=buffers + ENCODER_MEMORY, local=False, raw_pixels=raw_pixels)

    @property
    def devices(self) -> frozenset[str]:
        return frozenset({""})

    @property
    def hanging(self) -> Mapping[str, int]:
        return {}

    def writer(
        self, pack: PackId, container: Container, size_hint: int, journal: Journal, resume: UploadState | None
    ) -> StudyWriter:
        del size_hint  # a bucket has room
        if resume is not None:
            container, key = resume.container, resume.key
        else:
            container = self._container(container)
            key = pack_key(pack, container, self._options.prefix)
        if container is Container.P10:
            batches = Batches() if self._options.layout == "imaging-service" else None
            return P10Writer(self._bucket, pack, key, journal, resume, batches)
        return S3PackWriter(self._lane, pack, container, key, journal, resume)

    def discard(self, state: UploadState) -> None:
        if state.upload_id:
            with suppress(UploadLost):
                self._bucket.abort(state.key, state.upload_id)
        if state.container is Container.P10:
            self._discard_loose(state)

    def sweep(self, live_upload_ids: frozenset[str]) -> int:
        aborted = 0
        for upload in self._bucket.uploads(studies_prefix(self._options.prefix)):
            if upload.upload_id in live_upload_ids or upload.age < self._options.sweep_after.total_seconds():
                continue
            with suppress(UploadLost):
                self._bucket.abort(upload.key, upload.upload_id)
                aborted += 1
        return aborted

    def packs(self) -> Iterator[HeldPack]:
        last = None
        # Keys come in order, so the instances of one loose study stand together.
        for key in self._bucket.keys(studies_prefix(self._options.prefix)):
            named = pack_named(key)
            if named is not None and named != last:
                yield HeldPack(pack=named[0], container=named[1])
            last = named

    def loose(self, pack: PackId, key: str) -> Iterator[str]:
        yield from self._bucket.keys(study_folder(pack, key))

    def size(self, key: str, *, device: str = "") -> int:
        del device
        return self._bucket.head(key).size

    def stream(self, key: str, start: int, length: int, *, device: str = "") -> Iterator[bytes]:
        del device
        return self._bucket.stream(key, start, length)

    def probe(self) -> Iterator[Probe]:
        # Under our own prefix: the permission may end there.
        key = f"{self._probe_folder}probe-{token_hex(8)}"
        reach = _tried("bucket reachable", self._bucket.reach)
        yield reach
        if not reach.ok:
            return
        yield _tried("put, get", lambda: self._probe_put(key))
        if self._options.if_none_match:
            yield _tried("If-None-Match honoured", lambda: self._probe_condition(key))
        if self._options.checksum == "crc64nvme":
            yield _tried("wrong CRC64NVME refused", lambda: self._probe_wrong_checksum(key + "-wrong"))
        if self._options.layout == "pack":
            yield _tried("multipart upload and abort", lambda: self._probe_upload(key + "-parts"))
        if self._options.lock_mode is not None:
            yield _tried("Object Lock on", self._bucket.locks)
        yield _tried("delete", lambda: self._probe_delete(key))

    @property
    def _probe_folder(self) -> str:
        """Loose studies lie where importers take everything: no probe goes there."""
        prefix = self._options.prefix
        return studies_prefix(prefix) if self._options.layout == "pack" else indexes_prefix(prefix)

    def _container(self, wish: Container) -> Container:
        if self._options.layout != "pack":
            return Container.P10
        return Container.TAR if wish is Container.P10 else wish

    def _discard_loose(self, state: UploadState) -> None:
        """Instances without an index are unfinished; with one they are a delivery and stay."""
        pack = pack_of_key(state.key, Container.P10)
        try:
            self._bucket.head(index_key_beside(pack, Container.P10, state.key))
        except FileNotFoundError:
            for key in list(self._bucket.keys(state.key)):
                self._bucket.delete(key)

    def _probe_put(self, key: str) -> None:
        body = b"limosa"
        self._bucket.put(key, MemoryOctets(body), crc64(body), create=True, lasting=False)
        if b"".join(self._bucket.stream(key, 0, len(body))) != body:
            raise Rejected("other bytes came back")

    def _probe_condition(self, key: str) -> None:
        body = b"other"
        try:
            self._bucket.put(key, MemoryOctets(body), crc64(body), create=True, lasting=False)
        except AlreadyThere:
            return
        raise Rejected("an existing object was overwritten; set if_none_match = false")

    def _probe_wrong_checksum(self, key: str) -> None:
        body = b"limosa"
        try:
            self._bucket.put(key, MemoryOctets(body), crc64(body) ^ 1, create=False, lasting=False)
        except WrongChecksum:
            return
        self._bucket.delete(key)
        raise Rejected('bytes with a wrong checksum were accepted; set checksum = "none"')

    def _probe_upload(self, key: str) -> None:
        body = b"limosa"
        upload_id = self._bucket.open_upload(key, lasting=False)
        try:
            etag = self._bucket.put_part(key, upload_id, 1, MemoryOctets(body), crc64(body))
            part = Part(number=1, offset=0, size=len(body), crc64=crc64(body), etag=etag)
            self._bucket.complete(key, upload_id, [part], part.crc64)
        except StorageError:
            self._bucket.abort(key, upload_id)
            raise
        self._bucket.delete(key)
        second = self._bucket.open_upload(key, lasting=False)
        self._bucket.abort(key, second)

    def _probe_delete(self, key: str) -> None:
        self._bucket.delete(key)
        try:
            self._bucket.head(key)
        except FileNotFoundError:
            return
        raise Rejected("the object is still there")


def _tried(what: str, attempt: Callable[[], None]) -> Probe:
    try:
        attempt()
    except StorageError as error:
        return Probe(what=what, ok=False, detail=str(error), place=error.place, code=error.code)
    except FileNotFoundError as error:
        return Probe(what=what, ok=False, detail=str(error))
    return Probe(what=what, ok=True, detail="")
