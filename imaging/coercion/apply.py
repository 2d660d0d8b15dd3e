"""One instance as the rules want it: its new file, and what is then true of it."""

from dataclasses import dataclass, replace

from imaging.coercion.decisions import Decisions
from imaging.coercion.errors import NotCoercible
from imaging.coercion.modalities import term_of
from imaging.coercion.profiles import objections
from imaging.coercion.rules import Profile
from imaging.errors import Refused, Unspliceable
from imaging.facts import InstanceFacts
from imaging.flags import Flag
from imaging.header import MODALITY, Header
from imaging.instance import Instance, identify
from imaging.likeness import Likenesses
from imaging.octets import Octets
from imaging.pixels import digest_pixels, same_pixels
from imaging.splice import splice


@dataclass(frozen=True, slots=True)
class Coerced:
    """A file that lives no longer than the one it was made from, with its facts."""

    facts: InstanceFacts
    part10: Octets


def coerce(instance: Instance, decisions: Decisions, *, likenesses: Likenesses | None = None) -> Coerced:
    """The instance as the rules want it; the same file where they change nothing.

    RAW1 and the received size in the facts are those of `instance`; all else is of the file that is to be written.

    Raises
    ------
    NotCoercible
        The rules cannot be carried out, or would touch identity or pixels, or the destination would refuse the outcome.
    MalformedDataset
        The instance's own bytes end early.
    """
    header = instance.reading.header
    decision = decisions.on(header)
    if not decision.changes:
        _require_taken(header, decisions.rules.profile)
        return Coerced(replace(instance.facts(), met=decision.met, acted=decision.acted), instance.part10)
    try:
        spliced = splice(instance.part10, instance.dataset_offset, header, decision.edits)
        written = identify(
            spliced, instance.dataset_offset, instance.transfer_syntax, instance.raw1, likenesses=likenesses
        )
        facts = written.facts()
    except Unspliceable as error:
        raise NotCoercible(error.reason, tag=error.tag) from None
    except Refused as error:
        raise NotCoercible(f"the outcome is no dataset ({type(error).__name__})") from None
    if _identity(written) != _identity(instance) or not _pixels_are(facts.pd1, written.reading.header, header):
        # Rules cannot name such attributes; if ours is the fault, nothing of it may be delivered.
        raise NotCoercible("the outcome has other pixels or another identity")
    _require_taken(written.reading.header, decisions.rules.profile)
    instance.reading.learn()
    odd = instance.flags | header.scan.flags | header.scan.walker.flags | {Flag.COERCED}
    return Coerced(
        replace(
            facts,
            raw_size=instance.raw_size,
            flags=tuple(sorted({*facts.flags, *(flag.value for flag in odd)})),
            coerced=decision.recorded,
            met=decision.met,
            acted=decision.acted,
            modality=term_of(header.value(MODALITY)),
        ),
        spliced,
    )


def _require_taken(header: Header, profile: Profile) -> None:
    """A study that its destination would refuse is refused here, where somebody can still write a rule."""
    found = objections(header, profile)
    if found:
        raise NotCoercible(f"would be refused by the destination: {found[0].what}", tag=found[0].tag)


def _pixels_are(pd1: bytes | None, written: Header, original: Header) -> bool:
    """The original's pixels have this digest; not digested where both files read them from the same place."""
    if same_pixels(written, original):
        return True
    pixels = digest_pixels(original)
    return pd1 == (pixels.pd1 if pixels else None)


def _identity(instance: Instance) -> tuple[str, ...]:
    return instance.study_uid, instance.series_uid, instance.sop_uid, instance.sop_class, instance.transfer_syntax
