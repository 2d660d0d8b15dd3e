"""Settings of dose; `cluster.job` composes them into the job file."""

from typing import Literal

from pydantic import Field

from actors.options import Options


class DoseOptions(Options):
    """The [dose] table."""

    reports: Literal["off", "measure", "add"] = Field(
        default="off",
        description="measure: note what dose a CT study offers; add: also add a dose report where it has none",
    )


NO_DOSE = DoseOptions()
