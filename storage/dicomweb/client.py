"""One DICOMweb service over HTTP: connections, credentials, TLS, and errors that say what to do next.

Nothing is followed to another address: a redirect would carry images to whoever it names.
"""

import base64
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

import httpx

from storage.dicomweb.options import WebAccess
from storage.errors import Rejected, Retryable, StorageError
from storage.sinks.secret import resolve

CONNECT = 30.0
"""Seconds for TCP and TLS."""
TRIES = 4
"""Of a request that is answered with "too busy"; then the caller rests, which costs no lane."""
PAUSE = 1.0
"""Seconds before another try where the service names none; doubles."""
LONGEST_PAUSE = 30.0
"""Seconds a lane waits itself; a service that wants more gets the lane's whole rest."""
PIECE = 1 << 20
"""Bytes of an answer or a request that are held at a time, at most."""
ANSWER_CAP = 256 << 20
"""Bytes of one JSON answer: a study of 200,000 instances is listed in about as much."""

_BUSY = frozenset({429, 503})
_PASSING = frozenset({408, 425, 500, 502, 504})

T = TypeVar("T")


class Busy(Retryable):
    """The service asks for a pause (429, 503)."""

    def __init__(self, message: str, *, operation: str, place: str, code: str, pause: float | None) -> None:
        super().__init__(message, operation=operation, place=place, code=code)
        self.pause = pause
        """Seconds it named; None where it named none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a request carries; `pieces` is asked anew for each try."""

    content_type: str
    size: int
    pieces: Callable[[], Iterator[bytes | memoryview]]


class Answer:
    """A response whose body was not read yet; valid inside `exchange`."""

    def __init__(self, response: httpx.Response, operation: str, place: str) -> None:
        self._response = response
        self._operation = operation
        self._place = place

    @property
    def status(self) -> int:
        return self._response.status_code

    def header(self, name: str) -> str:
        """The header's value, empty where there is none."""
        return self._response.headers.get(name, "")

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; where the connection ends first, what came before that, then `Retryable` is raised."""
        try:
            yield from self._response.iter_raw()
        except httpx.HTTPError as error:
            raise _away(error, self._operation, self._place) from error

    def body(self, most: int = ANSWER_CAP) -> bytes:
        """The whole body. Raises `Rejected` where it is longer than `most` bytes."""
        held = bytearray()
        for piece in self.pieces():
            held += piece
            if len(held) > most:
                raise Rejected("the answer does not end", operation=self._operation, place=self._place)
        return bytes(held)

    def error(self) -> StorageError:
        """What its status means to a caller that expected success."""
        code = str(self.status)
        if self.status in _BUSY:
            pause = retry_after(self.header("Retry-After"), datetime.now(UTC))
            return Busy("is too busy", operation=self._operation, place=self._place, code=code, pause=pause)
        kind = Retryable if self.status in _PASSING else Rejected
        return kind("was not accepted", operation=self._operation, place=self._place, code=code)


class WebClient:
    """Safe to use from several threads; one instance per process and service."""

    def __init__(self, access: WebAccess, *, wait: Callable[[float], None] = time.sleep) -> None:
        """
        Raises
        ------
        Rejected
            A certificate cannot be read. Secrets are read with each request, so that a token may be renewed.
        """
        self._access = access
        self._wait = wait
        self.place = urlsplit(access.url).netloc
        """The service's name in errors."""
        limits = httpx.Limits(max_connections=access.connections, max_keepalive_connections=access.connections)
        seconds = access.timeout.total_seconds()
        self._client = httpx.Client(
            verify=self._tls(),
            limits=limits,
            timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT), pool=None),
            # Proxies and .netrc of whoever started the worker have no say in where images go.
            trust_env=False,
            follow_redirects=False,
        )

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        *,
        accept: str,
        params: Mapping[str, str | int] | None = None,
        body: Body | None = None,
    ) -> Iterator[Answer]:
        """The answer to one request, whatever its status. `path` begins with a slash and holds checked values.

        Raises
        ------
        Retryable
            No connection, or it ended or fell silent before the answer's head was there.
        Rejected
            A secret cannot be read.
        """
        headers = {"Accept": accept, "Accept-Encoding": "identity", **self._credentials()}
        if body is not None:
            headers |= {"Content-Type": body.content_type, "Content-Length": str(body.size)}
        request = self._client.build_request(
            method,
            self._access.url + path,
            params=params,
            headers=headers,
            content=None if body is None else body.pieces(),  # pyright: ignore[reportArgumentType] (views are sent as they are)
        )
        try:
            response = self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise _away(error, method, self.place) from error
        try:
            yield Answer(response, method, self.place)
        finally:
            response.close()

    def patiently(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns, after the pauses the service asks for. Raises `Busy` when they do not end."""
        pause = PAUSE
        for _ in range(TRIES - 1):
            try:
                return attempt()
            except Busy as busy:
                wanted = pause if busy.pause is None else busy.pause
                if wanted > LONGEST_PAUSE:
                    raise
                self._wait(wanted)
                pause *= 2
        return attempt()

    def rest(self, seconds: float) -> None:
        """So long has passed."""
        self._wait(seconds)

    def _credentials(self) -> dict[str, str]:
        access = self._access
        if access.token is not None:
            return {"Authorization": f"Bearer {resolve(access.token).get_secret_value()}"}
        if access.user is not None and access.password is not None:
            pair = f"{access.user}:{resolve(access.password).get_secret_value()}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
        return {}

    def _tls(self) -> ssl.SSLContext:
        access = self._access
        try:
            context = ssl.create_default_context(cafile=access.ca_bundle)
            if access.certificate is not None:
                context.load_cert_chain(access.certificate, access.key)
        except OSError as error:
            raise Rejected("a certificate cannot be read", operation="open", place=self.place) from error
        return context


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 section 10.2.3), None where it says nothing usable."""
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) <= 9:  # nine digits are thirty years
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _away(error: httpx.HTTPError, operation: str, place: str) -> StorageError:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Rejected("its certificate is not accepted", operation=operation, place=place, code="TLS")
    # The exception's own words may hold the request's address, and so a study's UID.
    return Retryable("no answer", operation=operation, place=place, code=type(error).__name__)
