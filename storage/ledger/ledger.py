"""The ledger as the rest of Limosa sees it."""

from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType

from storage.ledger.audits import Audits
from storage.ledger.baseline import Baselines
from storage.ledger.claims import Claims
from storage.ledger.coercion import Coercions
from storage.ledger.commitments import Commitments
from storage.ledger.commits import Commits
from storage.ledger.control import Control
from storage.ledger.custody import Custody
from storage.ledger.deciding import Decisions
from storage.ledger.dose import Doses
from storage.ledger.exceptions import Exceptions
from storage.ledger.facts import Facts
from storage.ledger.files import Files
from storage.ledger.forgetting import Forgetting
from storage.ledger.identity import Identity
from storage.ledger.inventory import Inventory
from storage.ledger.job import JobLock, Jobs
from storage.ledger.outbound import Outbound
from storage.ledger.pace import Paces
from storage.ledger.pilots import Pilots
from storage.ledger.plan import Plan
from storage.ledger.pool import PATIENCE, Pool
from storage.ledger.replay import Replay
from storage.ledger.samples import Samples
from storage.ledger.seeds import Seeds
from storage.ledger.status import Status
from storage.ledger.uploads import Uploads
from storage.ledger.volumes import Volumes


class Ledger:
    """A migrated ledger, grouped by subject. Thread-safe; one per process.

    Every method is one transaction. It raises `Retryable` when Postgres is away for longer than `patience` or goes
    away meanwhile; whether the last call was committed is then unknown, and repeating it is safe: a commit that had
    gone through answers `LostClaim`.
    """

    def __init__(self, url: str, *, pool_size: int = 4, patience: timedelta = PATIENCE) -> None:
        self._pool = Pool(url, size=pool_size, patience=patience)
        self.jobs = Jobs(self._pool)
        self.inventory = Inventory(self._pool)
        self.files = Files(self._pool)
        self.samples = Samples(self._pool)
        self.pilots = Pilots(self._pool)
        self.baselines = Baselines(self._pool)
        self.plan = Plan(self._pool)
        self.claims = Claims(self._pool)
        self.uploads = Uploads(self._pool)
        self.commits = Commits(self._pool)
        self.commitments = Commitments(self._pool)
        self.facts = Facts(self._pool)
        self.coercions = Coercions(self._pool)
        self.replay = Replay(self._pool)
        self.doses = Doses(self._pool)
        self.audits = Audits(self._pool)
        self.identity = Identity(self._pool)
        self.forgetting = Forgetting(self._pool)
        self.decisions = Decisions(self._pool)
        self.outbound = Outbound(self._pool)
        self.exceptions = Exceptions(self._pool)
        self.custody = Custody(self._pool)
        self.control = Control(self._pool)
        self.paces = Paces(self._pool)
        self.status = Status(self._pool)
        self.seeds = Seeds(self._pool)
        self.volumes = Volumes(self._pool)

    def job_lock(self, name: str) -> AbstractContextManager[JobLock]:
        """As `Jobs.lock`."""
        return self.jobs.lock(name)

    def __enter__(self) -> "Ledger":
        self._pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)
