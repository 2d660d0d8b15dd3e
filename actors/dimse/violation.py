"""What a peer can do wrong, as a bounded set of names: they become counters and log fields."""

from enum import StrEnum


class Violation(StrEnum):
    """Why an association was aborted."""

    UNKNOWN_PDU = "unknown_pdu"
    """HTTP, TLS or noise on a DICOM port ends here as well."""
    UNEXPECTED_PDU = "unexpected_pdu"
    EMPTY_PDU = "empty_pdu"
    PDU_TOO_LONG = "pdu_too_long"
    TRUNCATED = "truncated"
    """The peer closed in the middle of a PDU or of a message."""
    PDV_LENGTH = "pdv_length"
    CONTEXT = "context"
    """A presentation context that was not accepted, or a change of context inside a message."""
    SEQUENCE = "sequence"
    """Dataset before command, command inside a dataset, release inside a message."""
    COMMAND = "command"
    """A command set that is no command set."""
    COMMAND_TOO_LONG = "command_too_long"
    DATASET_TOO_LONG = "dataset_too_long"
    ASSOCIATE = "associate"
    """An A-ASSOCIATE PDU whose items do not add up."""
    SILENT = "silent"
    """Nothing, or too little, came for too long."""
    MESSAGE_ID = "message_id"
    """An answer to a question nobody asked."""


class ProtocolViolation(Exception):
    """The peer broke PS3.7 or PS3.8; the association can only be aborted. Carries no value from the wire."""

    def __init__(self, reason: Violation) -> None:
        super().__init__(reason.value)
        self.reason = reason


class PeerGone(Exception):
    """The connection ended: closed, reset or aborted by the peer, or shut down by us."""
