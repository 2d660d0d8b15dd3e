"""TLS for associations: PS3.15 annex B.12, which takes BCP 195 (RFC 9325) over, on both sides.

Certificates are always checked where there is something to check them against; nothing here turns that off, since an
archive that is not who it says is exactly what TLS is for.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.options import TlsOptions

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""What RFC 9325 section 4.2 leaves of TLS 1.2: forward secrecy and authenticated encryption. TLS 1.3 has no other."""


def receiver_context(options: TlsOptions) -> ssl.SSLContext:
    """For peers that connect to us; they must show a certificate when `ca` is given.

    Raises
    ------
    OSError
        A file is missing or is not what it should be; the message names it.
    """
    context = _restricted(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    _load_own(context, options)
    if options.ca is not None:
        with _using(options.ca):
            context.load_verify_locations(options.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def requestor_context(options: TlsOptions) -> ssl.SSLContext:
    """For our own calls: the peer's certificate must name the host we called. Raises like `receiver_context`."""
    context = _restricted(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    _load_own(context, options)
    if options.ca is not None:
        with _using(options.ca):
            context.load_verify_locations(options.ca)
    else:
        context.load_default_certs()
    return context


def _restricted(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    # RFC 9325 section 3.5: a peer could splice its bytes into another's session.
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _load_own(context: ssl.SSLContext, options: TlsOptions) -> None:
    if options.certificate is None:
        return
    with _using(options.certificate):
        # Without a password an encrypted key would stop a worker at a prompt nobody sees.
        context.load_cert_chain(options.certificate, options.key, password="")


@contextmanager
def _using(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"{path} cannot be used for TLS: {error}") from error
