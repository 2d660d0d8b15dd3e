"""Where the ledger is. The password is named, not carried: a setup may travel through Ray and be written down."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from storage.sinks.secret import resolve


@dataclass(frozen=True, slots=True)
class LedgerAddress:
    """A `postgresql://` address without its password, and where that is."""

    url: str
    password: str | None = None
    """`env:NAME` or `file:/path`; None leaves it to libpq (PGPASSFILE, peer authentication)."""

    def resolved(self) -> str:
        """The address with its password: a secret, never to be printed. Raises `storage.errors.Rejected`."""
        if self.password is None:
            return self.url
        parts = urlsplit(self.url)
        user, _, host = parts.netloc.rpartition("@")
        secret = quote(resolve(self.password).get_secret_value(), safe="")
        return urlunsplit(parts._replace(netloc=f"{user}:{secret}@{host}"))
