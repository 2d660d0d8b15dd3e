"""What is wrong with a seed; each docstring is the message's gist."""

from storage.errors import IntegrityError


class SeedRefused(IntegrityError):
    """The seed is damaged, foreign or forged; nothing of it was used."""


class BadSignature(SeedRefused):
    """The text was not signed by this key, or was changed since."""
