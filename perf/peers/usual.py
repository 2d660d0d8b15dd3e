"""What the usual ways have in common: told by JSON, warmed up, started by a line, answering with what they did.

python -m perf.peers.move_pynetdicom '{"source_port": ..., ...}'
ready                    after the warm-up studies went the whole way
<newline from stdin>     go
{"instances": 1000}      every file is uploaded
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

UPLOADERS = 4
"""Threads that upload: more made boto3 no faster with half a megabyte per file, measured, fewer slower."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One migration, as a script is asked for it."""

    source_port: int
    source_ae: str
    own_ae: str
    own_ports: tuple[int, ...]
    """One per association where each has a receiver of its own; else one."""
    associations: int
    folder: str
    """Where files go before they are uploaded."""
    endpoint: str
    bucket: str
    access_key: str
    secret_key: str
    warm: tuple[str, ...]
    studies: tuple[str, ...]
    coercion: dict[str, str]
    """Value by keyword."""

    @classmethod
    def told(cls) -> Self:
        given: dict[str, Any] = json.loads(sys.argv[1])
        told: dict[str, Any] = {}
        for name, value in given.items():
            told[name] = tuple(value) if isinstance(value, list) else value
        return cls(**told)

    @property
    def place(self) -> Path:
        return Path(self.folder)


def client(task: Task) -> Any:
    """boto3's S3 client as it comes, but bodies are not signed: so it is over TLS, where S3 usually is; signing them
    here would cost a SHA-256 that no real run pays. Its own checksum (CRC32) stays."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=task.endpoint,
        region_name="us-east-1",
        aws_access_key_id=task.access_key,
        aws_secret_access_key=task.secret_key,
        config=Config(
            s3={"addressing_style": "path", "payload_signing_enabled": False}, max_pool_connections=2 * UPLOADERS
        ),
    )


def transfer() -> TransferConfig:
    """Files here are smaller than a part: each is one PUT, and a thread pool inside our own would only hand it on."""
    return TransferConfig(use_threads=False, preferred_transfer_client="classic")


def in_lanes(lanes: int, studies: Sequence[str], lane: Callable[[int, Iterator[str]], None]) -> None:
    """Every study went through one of the lanes, which take the next when they are free. Raises what a lane raises."""
    waiting: SimpleQueue[str] = SimpleQueue()
    for study in studies:
        waiting.put(study)
    with ThreadPoolExecutor(lanes) as pool:
        for ended in [pool.submit(lane, number, _taken(waiting)) for number in range(lanes)]:
            ended.result()


def _taken(waiting: "SimpleQueue[str]") -> Iterator[str]:
    while True:
        try:
            yield waiting.get_nowait()
        except Empty:
            return


def converse(move: Callable[[Sequence[str]], int], task: Task) -> None:
    """The conversation above; `move` brings studies to the bucket and tells how many instances they had."""
    print(json.dumps({"instances": move(task.warm)}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"instances": move(task.studies)}), flush=True)
