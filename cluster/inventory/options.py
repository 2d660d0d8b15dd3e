"""The [inventory] table of the job file."""

from typing import Literal

from pydantic import Field

from actors.options import Options


class InventoryOptions(Options):
    """How the archive is asked what it holds."""

    first_window_days: int = Field(
        default=365, ge=1, le=3650, description="span of the first date window; adapts afterwards"
    )
    largest_answer: int = Field(
        default=200_000,
        ge=100,
        description="studies one answer may bring; answers are held in memory (about 2 KB a study), and broader "
        "questions than this are cut beforehand",
    )
    sweeps: tuple[Literal["unrestricted", "patient_id", "patient_name"], ...] = Field(
        default=("unrestricted", "patient_id", "patient_name"),
        description="questions without a date, which alone reach undated studies; on an archive that cuts its "
        "answers each prefix sweep enumerates the archive once more",
    )
    delta_days: int = Field(default=7, ge=1, le=3650, description="days back that a delta inventory asks again")
    lost_limit: int = Field(
        default=5, ge=1, description="queries lost in a row before the archive counts as unreachable"
    )
