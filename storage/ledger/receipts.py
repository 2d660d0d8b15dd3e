"""Receipts as rows. CRC-64 values are unsigned, which Postgres has no integer for: eight bytes, big-endian."""

from typing import Any

from psycopg.rows import DictRow

from storage.ledger.pool import Connection
from storage.packs.model import Container, Receipt


def crc_bytes(crc64: int) -> bytes:
    return crc64.to_bytes(8, "big")


def crc_value(stored: bytes) -> int:
    return int.from_bytes(stored, "big")


def receipt_of(row: DictRow) -> Receipt:
    """The receipt in a row that holds its columns, and `volumes_of` the delivery where it may have some."""
    return Receipt(
        key=row["key"],
        container=Container(row["container"]),
        size=row["size"],
        crc64=None if row["crc64"] is None else crc_value(row["crc64"]),
        etag=row["etag"],
        version_id=row["version_id"],
        device=row["device"],
        volumes=tuple(_volume(row, each) for each in row.get("volumes") or ()),
    )


def _volume(row: DictRow, told: dict[str, Any]) -> Receipt:
    return Receipt(
        key=told["key"],
        container=Container(row["container"]),
        size=told["size"],
        crc64=crc_value(bytes.fromhex(told["crc64"])),
        device=told["device"],
    )


def put_receipt(conn: Connection, delivery_id: int, receipt: Receipt, instances: int) -> None:
    """The delivery has its receipt, within the caller's transaction."""
    conn.execute(
        "insert into receipt (delivery_id, size, instances, key, container, crc64, etag, version_id, device)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            delivery_id,
            receipt.size,
            instances,
            receipt.key,
            receipt.container,
            None if receipt.crc64 is None else crc_bytes(receipt.crc64),
            receipt.etag,
            receipt.version_id,
            receipt.device,
        ),
    )
