"""Studies that were written under other rules of coercion than today's: which, why, and writing them anew."""

from collections.abc import Collection
from dataclasses import dataclass, field

from actors.coercing import kept_rules
from cluster.job import Job
from imaging.coercion.difference import Cause, Difference, Work, difference
from imaging.coercion.rules import RuleSet
from storage.ledger.ledger import Ledger
from storage.ledger.replay import Effect

SHORTEST = 4
"""Digits by which a version may be named."""


class UnknownRules(Exception):
    """No such rule or version; the sentence says what there is."""


@dataclass(slots=True, kw_only=True)
class Outdated:
    """Studies of one version that may be written otherwise today, for one reason."""

    version: str
    cause: Cause
    rule: str
    """Name of the rule; empty where it is none's."""
    studies: int = 0
    """That `apply` renews."""
    waiting: int = 0
    """That the next plan renews anyway."""
    stopped: int = 0
    """Held, excluded or in exception."""
    effects: list[int] = field(default_factory=list[int])


@dataclass(slots=True, kw_only=True)
class ReplayReport:
    """What was found, and what applying it did."""

    version: str
    """Of today's rules."""
    outdated: list[Outdated]
    same: int
    """Studies of other versions that today's rules would write as they are."""
    others: int
    """Studies that may be written otherwise for causes that are not those of the rule that was named."""
    renewed: int | None = None
    """None where it was only looked at."""

    @property
    def studies(self) -> int:
        return sum(one.studies for one in self.outdated)


class Replayer:
    """Lays what the ledger knows of each study's rules beside those of the job file."""

    def __init__(self, ledger: Ledger, source: str, today: RuleSet) -> None:
        self._ledger = ledger
        self._source = source
        self._today = today
        self._effects = ledger.replay.effects()

    def version(self, begin: str) -> str:
        """The one version that begins so. Raises `UnknownRules`."""
        found = [version for version in self._ledger.replay.known() if version.startswith(begin)]
        exact = [version for version in found if version == begin]
        if len(exact or found) != 1 or (not exact and len(begin) < SHORTEST):
            raise UnknownRules(
                f"{len(found)} versions begin with {begin!r}; see `limosa coercion versions`, and name one by "
                f"{SHORTEST} digits or more"
            )
        return (exact or found)[0]

    def touched(self, rule: str | None, version: str | None) -> list[Effect]:
        """What rules came to where this rule changed something, under this version; all where none is named.

        Raises `UnknownRules` for a rule that there never was.
        """
        self._require(rule)
        return [
            one
            for one in self._effects
            if version in (None, one.version) and (rule is None or rule in map(_name, one.acted))
        ]

    def look(self, rule: str | None = None, version: str | None = None) -> ReplayReport:
        """Every study whose outcome may be another today, or those that this rule changed or may change now and that
        were written under this version. Raises `UnknownRules` for a rule that there never was."""
        self._require(rule)
        groups: dict[tuple[str, Cause, str], Outdated] = {}
        reasons = self._reasons(version)
        chosen = {
            effect.effect_id: (effect, reason)
            for effect, reason in reasons
            if reason is None or rule is None or rule == reason.rule or rule in map(_name, effect.acted)
        }
        left = [effect.effect_id for effect, _ in reasons if effect.effect_id not in chosen]
        same = 0
        for standing in self._ledger.replay.standing(chosen):
            effect, reason = chosen[standing.effect_id]
            if reason is None:
                same += standing.ready + standing.waiting + standing.stopped
                continue
            key = (effect.version, reason.cause, reason.rule)
            group = groups.setdefault(key, Outdated(version=key[0], cause=key[1], rule=key[2]))
            group.studies += standing.ready
            group.waiting += standing.waiting
            group.stopped += standing.stopped
            group.effects.append(effect.effect_id)
        others = sum(standing.ready for standing in self._ledger.replay.standing(left)) if left else 0
        return ReplayReport(version=self._today.version, outdated=list(groups.values()), same=same, others=others)

    def apply(self, report: ReplayReport, *, by: str) -> None:
        """Each study that was found gets a new revision with the next plan, if it is still as it was. Interrupted
        anywhere, doing it again does what is left."""
        report.renewed = 0
        for group in report.outdated:
            reason = {"before": group.version, "after": report.version, "cause": group.cause.value, "rule": group.rule}
            for effect_id in group.effects:
                after = 0
                while True:
                    after, renewed = self._ledger.replay.renew(effect_id, reason, by=by, after_key=after)
                    if not after:
                        break
                    report.renewed += renewed

    def _reasons(self, version: str | None) -> list[tuple[Effect, Difference | None]]:
        """For each effect of other rules than today's, why its studies may be written otherwise; None: they are not."""
        others = [one for one in self._effects if one.version != self._today.version and version in (None, one.version)]
        known = {one: self._kept(one) for one in {effect.version for effect in others}}
        return [(one, difference(known[one.version], self._today, _work(one), self._source)) for one in others]

    def _kept(self, version: str) -> RuleSet | None:
        return kept_rules(version, self._ledger.replay.rules(version))

    def _require(self, rule: str | None) -> None:
        if rule is None:
            return
        ever = _names(self._effects) | {one.name for one in self._today.rules}
        if rule not in ever:
            raise UnknownRules(f"no rule is or was called {rule!r}; there are: {', '.join(sorted(ever)) or 'none'}")


def replayer_of(job: Job, ledger: Ledger) -> Replayer:
    """With the rules of the job file as today's."""
    return Replayer(ledger, job.source.name, job.coercion.rule_set())


def _work(effect: Effect) -> Work:
    return Work(
        met=None if effect.met is None else frozenset(effect.met),
        acted=frozenset(effect.acted),
        modalities=None if effect.modalities is None else frozenset(effect.modalities),
    )


def _names(effects: Collection[Effect]) -> set[str]:
    return {_name(label) for one in effects for label in (*(one.met or ()), *one.acted)}


def _name(label: str) -> str:
    """A rule's name without its version."""
    return label.rpartition("/")[0] or label
