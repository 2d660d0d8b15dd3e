"""Why a DICOM object cannot be accepted; none of the messages holds a value from the object."""


class Refused(Exception):
    """The object cannot be taken in as it is; it goes to quarantine for a person to look at."""


class MalformedDataset(Refused):
    """The bytes are not a well-formed DICOM dataset or file."""

    def __init__(self, reason: str, offset: int) -> None:
        self.reason = reason
        self.offset = offset
        """Where in the octets given, in bytes."""
        super().__init__(f"{reason} at byte {offset}")


class MissingIdentity(Refused):
    """A UID that names study, series, instance or class is absent, repeated or not a UID."""

    def __init__(self, keyword: str, defect: str) -> None:
        self.keyword = keyword
        super().__init__(f"{keyword} {defect}")


class Mismatch(Refused):
    """The dataset names another class or instance than the command that carried it."""

    def __init__(self, keyword: str) -> None:
        self.keyword = keyword
        super().__init__(f"{keyword} of the dataset is not that of the command")


class Unspliceable(Exception):
    """An element of the dataset lies such that no edit of it would be clear."""

    def __init__(self, reason: str, tag: int) -> None:
        self.reason = reason
        self.tag = tag
        super().__init__(f"{reason}: ({tag >> 16:04x},{tag & 0xFFFF:04x})")
