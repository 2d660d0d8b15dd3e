"""The driver's log: one JSON object a line below the state folder; a person's terminal stays quiet."""

from dataclasses import dataclass
from pathlib import Path

from actors.logs import log_to
from actors.start import study_refs


@dataclass(frozen=True, slots=True)
class StudyRefs:
    """What stands for a study in logs and metrics: a hash keyed with the job's secret, which the ledger keeps."""

    secret: bytes

    def of(self, study_uid: str) -> str:
        """12 hex digits, the same for one study throughout the job."""
        return study_refs(self.secret)(study_uid)


def start_log(state_dir: Path, command: str) -> Path:
    """Events of this process are appended to the returned file and to nothing else."""
    path = state_dir / "logs" / f"{command}.jsonl"
    log_to(path)
    return path
