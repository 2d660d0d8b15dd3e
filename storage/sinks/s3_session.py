"""How an S3 endpoint is spoken to: time-outs, tries, signatures.

boto3's transfer manager is not used: it cannot resume, cannot send If-None-Match, and its CRT mode ignores
`endpoint_url` and would send a hospital's images to another host.
"""

from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from storage.sinks.options import S3Options
from storage.sinks.secret import resolve

CONNECT_TIMEOUT = 5
"""Seconds to a connection: an endpoint in the same or the next building answers in milliseconds; a dead one
must not hold a C-MOVE."""
READ_TIMEOUT = 60
"""Seconds of silence: completing an upload of 10,000 parts takes S3 tens of seconds before it answers."""
ATTEMPTS = 5
"""Requests per call, standard mode (exponential pauses up to 20 s, and a retry quota against storms)."""


def client_of(options: S3Options) -> Any:
    """A client for the destination's endpoint, with the secrets of now.

    Raises
    ------
    Rejected
        A secret cannot be read.
    """
    keys: dict[str, Any] = {}
    if options.access_key is not None and options.secret_key is not None:
        keys["aws_access_key_id"] = resolve(options.access_key).get_secret_value()
        keys["aws_secret_access_key"] = resolve(options.secret_key).get_secret_value()
    config = Config(
        region_name=options.region,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=options.connections,
        # The SDK's default adds trailers in chunked encoding, which many S3-compatible stores refuse.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": "path" if options.path_style else "auto",
            "payload_signing_enabled": options.endpoint.signs_bodies or not _body_is_safe(options.endpoint_url),
        },
        tcp_keepalive=True,
    )
    # A session of our own: the default one is shared and its creation is not thread-safe.
    session = boto3.session.Session()
    client = session.client(
        "s3",
        endpoint_url=options.endpoint_url,
        config=config,
        verify=str(options.ca_bundle) if options.ca_bundle else None,
        **keys,
    )
    client.meta.events.register("before-sign.s3.UploadPart", _typed)
    return client


def _typed(request: Any, **_: Any) -> None:
    """The request says what its body is. SeaweedFS guesses the type of a part that does not by its first bytes, takes a
    tar's header for text, and gzips all of it, which halves its rate and makes a range read the whole part."""
    request.headers["Content-Type"] = "application/octet-stream"


def _body_is_safe(endpoint_url: str | None) -> bool:
    """Signing a body costs a SHA-256 of it; TLS or the loopback guard it as well, and its CRC is sent."""
    if endpoint_url is None:
        return True
    url = urlsplit(endpoint_url)
    return url.scheme == "https" or url.hostname in {"127.0.0.1", "::1", "localhost"}
