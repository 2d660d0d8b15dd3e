"""Asks a bucket what it holds, and keeps the answer as a document: in the form of `aws s3api list-objects-v2`, with the
CRC-64/NVME that the endpoint itself computed beside each pack.
"""

import base64
import json
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from storage.sinks.s3_client import Bucket

PAGE = 1_000
"""Objects of one document, as in one answer of S3."""


def take_listing(bucket: Bucket, prefix: str, packs: Collection[str], threads: int, file: BinaryIO) -> int:
    """Every object below `prefix` is in the file, one JSON document for each page; how many. `packs` are the paths,
    from `studies/` on, of those whose checksum is asked for. Raises what the bucket raises."""
    folder = f"{prefix}/" if prefix else ""
    count = 0
    with ThreadPoolExecutor(threads) as pool:
        for page in _pages(bucket.sizes(folder)):
            entries = pool.map(lambda found: _entry(bucket, found, found[0].removeprefix(folder) in packs), page)
            contents = [entry for entry in entries if entry is not None]
            count += len(contents)
            file.write(json.dumps({"Contents": contents}).encode("ascii") + b"\n")
    return count


def _entry(bucket: Bucket, found: tuple[str, int], ours: bool) -> dict[str, Any] | None:
    key, size = found
    if not ours:
        return {"Key": key, "Size": size}
    try:
        stored = bucket.head(key)
    except FileNotFoundError:
        return None  # it went meanwhile
    told = {"Key": key, "Size": stored.size}
    if stored.crc64 is not None:
        told["ChecksumCRC64NVME"] = base64.b64encode(stored.crc64.to_bytes(8, "big")).decode("ascii")
    return told


def _pages(items: Iterator[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    page: list[tuple[str, int]] = []
    for item in items:
        page.append(item)
        if len(page) == PAGE:
            yield page
            page = []
    yield page
