"""Servers that the subjects of one scenario share: started by the first that asks, gone with the scenario.

They run in processes of their own. What they cost is told beside the subject's own cost, never added to it.
"""

import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import psycopg
from psycopg import sql

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.process import ServerError
from infra.embedded.seaweedfs import EmbeddedS3
from perf.harness import NotRun, Wrong
from perf.measure import cpu_seconds
from perf.nulls3 import NullS3Process
from perf.sources import Source
from storage.ledger.migrate import migrate
from storage.sinks.device import Device
from storage.sinks.open import open_sink
from storage.sinks.options import S3Options, SeedOptions
from storage.sinks.s3_bucket import ensure_bucket

ACCESS, SECRET = "LIMOSA_BENCH_ACCESS", "LIMOSA_BENCH_SECRET"
"""Environment variables that job setups name; movers inherit them."""
TEMPLATE = "bench_template"


class Ledgers:
    """A Postgres with as many empty ledgers as are asked for."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedPostgres(folder)
        self._server.start()
        self._execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
        migrate(self._url(TEMPLATE))

    @property
    def pids(self) -> tuple[int, ...]:
        return (self._server.pid,) if self._server.pid else ()

    def fresh(self) -> str:
        """The URL of a ledger that knows nothing."""
        name = f"bench_{secrets.token_hex(6)}"
        names = sql.Identifier(name), sql.Identifier(TEMPLATE)
        self._execute(sql.SQL("create database {} template {}").format(*names))
        return self._url(name)

    def drop(self, url: str) -> None:
        name = sql.Identifier(urlsplit(url).path[1:])
        self._execute(sql.SQL("drop database {} with (force)").format(name))

    def remove(self) -> None:
        self._server.remove()

    def _url(self, name: str) -> str:
        return urlsplit(self._server.url)._replace(path=f"/{name}").geturl()

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            connection.execute(statement)


class Servers:
    """Whatever a scenario's subjects need, each started once."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources
        self._stack = ExitStack()

    def close(self) -> None:
        """Everything is gone. Idempotent."""
        for source in self._sources:
            source.stop()
        self._stack.close()
        for name in ("folder", "ledgers", "nulls3", "seaweedfs"):
            self.__dict__.pop(name, None)

    @cached_property
    def folder(self) -> Path:
        # ledgers' servers of root hand their files to another account, which must be able to walk to them.
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="limosa-bench-")))

    def start(self, source: Source) -> None:
        """The source answers, until `close`."""
        source.start(self.folder)

    @cached_property
    def ledgers(self) -> Ledgers:
        try:
            ledgers = Ledgers(self.folder / "postgres")
        except ServerError as error:
            raise NotRun(str(error).splitlines()[0]) from error
        self._stack.callback(ledgers.remove)
        return ledgers

    @cached_property
    def nulls3(self) -> NullS3Process:
        return self._stack.enter_context(NullS3Process())

    @cached_property
    def seaweedfs(self) -> EmbeddedS3:
        server = EmbeddedS3(self.folder / "seaweedfs")
        try:
            server.start()
        except ServerError as error:
            raise NotRun(str(error).splitlines()[0]) from error
        self._stack.callback(server.remove)
        return server

    def forgetful_bucket(self, **changes: Any) -> S3Options:
        """A destination that costs next to nothing and holds nothing yet."""
        self.nulls3.forget()
        os.environ |= {ACCESS: "any", SECRET: "any"}
        return _options(self.nulls3.endpoint_url, changes)

    def real_bucket(self, **changes: Any) -> S3Options:
        """A fresh bucket at SeaweedFS."""
        os.environ |= {ACCESS: self.seaweedfs.access_key, SECRET: self.seaweedfs.secret_key}
        options = _options(self.seaweedfs.endpoint_url, changes)
        ensure_bucket(options)
        return options

    def device(self) -> Path:
        """An empty folder on disk, prepared as a seed device's mount is."""
        place = self.folder / f"device-{secrets.token_hex(4)}"
        place.mkdir()
        Device(place)
        return place

    def aside(self, source: Source, bucket: S3Options | SeedOptions) -> "Aside":
        """Counts what source, S3 endpoint and ledger spend from now on."""
        endpoint = self._endpoint(bucket)
        ledgers = self.ledgers.pids if "ledgers" in self.__dict__ else ()
        return Aside(source=source.pids, s3=(endpoint,) if endpoint else (), ledger=ledgers)

    def _endpoint(self, bucket: S3Options | SeedOptions) -> int | None:
        """Process id of the S3 server behind the destination."""
        if isinstance(bucket, SeedOptions):
            return None
        return self.nulls3.pid if bucket.endpoint_url == self.nulls3.endpoint_url else self.seaweedfs.pid

    def held(self, bucket: S3Options) -> dict[str, int]:
        """Size by key of every object in the bucket."""
        if bucket.endpoint_url == self.nulls3.endpoint_url:
            inside = f"{bucket.bucket}/"
            return {
                key.removeprefix(inside): size for key, size in self.nulls3.objects().items() if key.startswith(inside)
            }
        client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=bucket.endpoint_url,
            region_name=bucket.region,
            aws_access_key_id=self.seaweedfs.access_key,
            aws_secret_access_key=self.seaweedfs.secret_key,
        )
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket.bucket)
        return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", ())}

    def check_bucket(self, bucket: S3Options | SeedOptions, sizes: Mapping[str, int]) -> None:
        """The destination holds these objects, by key, with these sizes. Raises `Wrong`."""
        if isinstance(bucket, S3Options) and bucket.endpoint_url == self.nulls3.endpoint_url:
            held = self.held(bucket)
            found = {key: held.get(key) for key in sizes}
        else:
            sink = open_sink(bucket)
            device = min(sink.devices)
            found = {key: sink.size(key, device=device) for key in sizes}
        if not sizes or found != sizes:
            raise Wrong("the bucket does not hold what the ledger has receipts for")


def _options(endpoint_url: str, changes: dict[str, Any]) -> S3Options:
    chosen = {"name": "cloud", "endpoint_url": endpoint_url, "bucket": f"bench-{secrets.token_hex(4)}"}
    return S3Options.model_validate(chosen | {"access_key": f"env:{ACCESS}", "secret_key": f"env:{SECRET}"} | changes)


class Aside:
    """CPU of the other processes of a turn, by name, as figures of the sample."""

    def __init__(self, **pids: tuple[int, ...]) -> None:
        self._pids = pids
        self._before = {name: cpu_seconds(of) for name, of in pids.items()}

    def spent(self) -> Mapping[str, float]:
        """CPU seconds since this was made."""
        return {name: cpu_seconds(of) - self._before[name] for name, of in self._pids.items()}
