"""What may be odd about an instance without being wrong: the bounded vocabulary of `InstanceFacts.flags`."""

from enum import StrEnum


class Flag(StrEnum):
    """Each is counted in reports; none stops a transfer."""

    ODD_LENGTH = "ODD_LENGTH"
    """A value of odd length (PS3.5 section 7.1 wants even ones)."""
    OUT_OF_ORDER = "OUT_OF_ORDER"
    """Tags of a dataset or item do not ascend."""
    REPEATED_ELEMENT = "REPEATED_ELEMENT"
    """A tag occurs twice in the dataset; readers differ in which one they believe."""
    TRAILING_BYTES = "TRAILING_BYTES"
    """Zeros behind the last element."""
    IMPLICIT_IN_EXPLICIT = "IMPLICIT_IN_EXPLICIT"
    """The transfer syntax promises explicit VRs, the dataset has none."""
    UNKNOWN_VR = "UNKNOWN_VR"
    """Two capital letters that are no VR of PS3.5 stand where one should."""
    CHARSET_UNDECLARED = "CHARSET_UNDECLARED"
    """Text outside ASCII although no character set is declared."""
    CHARSET_UNDECODABLE = "CHARSET_UNDECODABLE"
    """Text that is not in the character set declared for it."""
    COMMAND_NAMES = "COMMAND_NAMES"
    """The C-STORE command named another class or instance than the dataset, which is believed."""
    PIXEL_LENGTH = "PIXEL_LENGTH"
    """The pixel value is shorter than rows, columns and frames need, or they are not stated."""
    PIXEL_EXCESS = "PIXEL_EXCESS"
    """The pixel value is longer than that by more than a pad byte; PD1 does not cover the excess."""
    PIXEL_TRUNCATED = "PIXEL_TRUNCATED"
    """The pixel element claims more bytes than there are."""
    PIXEL_FORM = "PIXEL_FORM"
    """Native pixels under an encapsulated transfer syntax, or the reverse."""
