"""A TCP or TLS connection to a peer, or in words what stands in its way."""

import socket
import ssl
from dataclasses import dataclass
from datetime import timedelta

from actors.source import SourceUnreachable

OPENING = timedelta(seconds=30)
"""For TCP, TLS and the answer to A-ASSOCIATE-RQ, each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a peer listens and who is who."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    tls: ssl.SSLContext | None = None


def connect(endpoint: Endpoint) -> socket.socket:
    """Raises `SourceUnreachable`."""
    seconds = OPENING.total_seconds()
    connection = None
    try:
        connection = socket.create_connection((endpoint.host, endpoint.port), timeout=seconds)
        if endpoint.tls is None:
            return connection
        return endpoint.tls.wrap_socket(connection, server_hostname=endpoint.host)
    except OSError as error:
        if connection is not None:
            connection.close()
        place = f"{endpoint.host}:{endpoint.port}"
        if isinstance(error, ssl.SSLError):
            raise tls_refused(place, error) from error
        raise SourceUnreachable(f"no connection to {place} ({type(error).__name__})") from error


def tls_refused(place: str, error: ssl.SSLError) -> SourceUnreachable:
    """What stands between the two, in words."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return SourceUnreachable(f"{place} closed the connection during TLS")
    reason = (error.reason or "").replace("_", " ").lower()
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"the certificate of {place} is not accepted: {error.verify_message}"
    elif "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
        # With TLS 1.3 this comes only after the handshake, in place of the answer to our first request.
        why = f"{place} does not accept our certificate ({reason})"
    else:
        why = f"{place} does not speak TLS as we do ({reason or type(error).__name__})"
    return SourceUnreachable(why, permanent=True)
