"""What kind of project a job is, and whether job and archive look like it. Pure.

The kind says how much has to be corrected on the way and how far patients' numbers may be trusted: little where the
same maker's archive takes over its own, a lot everywhere else. A project that is of another kind than was planned fails
late, so what contradicts it is told early; nothing is stopped for it.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum


class Project(StrEnum):
    """From what kind of archive to what kind of destination."""

    SAME_VENDOR = "same-vendor"
    """An archive of the same maker takes over: an upgrade."""
    CROSS_VENDOR = "cross-vendor"
    VNA = "vna"
    """A vendor neutral archive, which is strict about what it takes."""
    CLOUD = "cloud"
    """A cloud service, alone or behind a cache on the site."""


PROFILES: Mapping[Project, str] = {
    Project.SAME_VENDOR: "none",
    Project.CROSS_VENDOR: "lenient",
    Project.VNA: "strict",
    Project.CLOUD: "cloud",
}
"""`coercion.profile` where the job file says none."""

_DESTINATIONS: Mapping[Project, tuple[Collection[str], str]] = {
    Project.SAME_VENDOR: (("dimse", "dicomweb"), "an archive takes C-STORE or STOW-RS"),
    Project.CROSS_VENDOR: (("dimse", "dicomweb"), "an archive takes C-STORE or STOW-RS"),
    Project.VNA: (("dimse", "dicomweb", "s3"), "a vendor neutral archive takes C-STORE or STOW-RS, or imports from S3"),
    Project.CLOUD: (("s3", "dicomweb", "seed"), "a cloud takes S3, STOW-RS or devices"),
}
_TROUBLES: Mapping[str, str] = {
    "id_of_several_people": "patient numbers stand under several names or birth dates",
    "person_of_several_ids": "people have several patient numbers",
    "accession_of_several_patients": "accession numbers stand under several patients",
    "uid_of_several_patients": "studies are listed under several patients",
}
"""Flaws of an archive that has not one clean index of patients, by their codes in the inventory's report."""


def misfits(
    project: Project, *, destinations: Collection[str], corrects_identity: bool, flaws: Mapping[str, int]
) -> list[str]:
    """What of the job and of what its inventory found does not look like such a project, a sentence each.

    Parameters
    ----------
    destinations
        Kinds of them.
    corrects_identity
        The job looks up whose each study is today.
    flaws
        Counts by code; empty before the inventory.
    """
    found: list[str] = []
    kinds, why = _DESTINATIONS[project]
    if not set(kinds) & set(destinations):
        found.append(f"no destination is of kind {' or '.join(kinds)}: {why}")
    troubles = [f"{flaws[code]} {words}" for code, words in _TROUBLES.items() if flaws.get(code)]
    if project is Project.SAME_VENDOR:
        if troubles and not corrects_identity:
            found.append(
                f"identity is not as clean as in one maker's archive: {'; '.join(troubles)}, and no [identity]"
            )
    elif not corrects_identity:
        found.append(
            "the destination gets patients as the archive's headers have them: there is no [identity]"
            + (f", and {'; '.join(troubles)}" if troubles else "")
        )
    return found
