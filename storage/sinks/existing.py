"""The update rule of a DICOM service, as the job file declares it."""

from enum import StrEnum


class Existing(StrEnum):
    """What a service does with an instance when it has one of that SOP Instance UID already."""

    KEPT = "kept"
    """The new one is ignored, often with a success (Orthanc unless told to overwrite)."""
    REPLACED = "replaced"
    """The new one takes its place."""
