"""A planned study's instances as they come: the same patient in each, and the changes that make the header say so."""

from imaging.coercion.dataset import Dataset
from imaging.coercion.errors import NotCoercible
from imaging.coercion.plan import Change
from imaging.identity.changes import Target, changes_of
from imaging.identity.demographics import Likeness, Link, Thresholds, Verdict, compare
from imaging.identity.issuers import Assigner, Issuers
from imaging.identity.people import NOBODY, Conflict, Person
from imaging.identity.planned import PlannedIdentity
from imaging.identity.tags import ACCESSION, BIRTH_DATE, ISSUER, NAME, PATIENT_ID, SEX


class MixedPatient(NotCoercible):
    """The instance is another patient's than its study: nothing of it is written."""


class UnlistedAccession(NotCoercible):
    """The instance has an accession number that no plan knows of, so nothing is proven of it and nothing written."""

    def __init__(self, accession: str) -> None:
        """`accession` is in no message."""
        super().__init__("is another number than its study is listed with", tag=ACCESSION)
        self.accession = accession


class Arriving:
    """What is done to each instance of one study; the same whenever it is done again."""

    def __init__(
        self, planned: PlannedIdentity, issuers: Issuers, thresholds: Thresholds, accepted: frozenset[str]
    ) -> None:
        """`accepted`: classes that a person has let pass for this study."""
        self._planned = planned
        self._issuers = issuers
        self._thresholds = thresholds
        self._accepted = accepted

    def changes(self, dataset: Dataset) -> tuple[Change, ...]:
        """Raises `MixedPatient`, `UnlistedAccession`, and `NotCoercible` as `changes_of` does."""
        target = self._planned.target
        if target.patient is None:
            self._require_listed_number(dataset)
            self._require_known_accession(dataset)
            return changes_of(dataset, target)
        self._require_same_number(dataset)
        alike = self._require_same_person(dataset, target.person)
        self._require_known_accession(dataset)
        try:
            return changes_of(dataset, target)
        except NotCoercible as error:
            if error.tag != NAME or not alike:
                raise
        # The same name in letters that this dataset's character set lacks: the one that is there stays.
        unnamed = Person(birth_date=target.person.birth_date, sex=target.person.sex)
        return changes_of(
            dataset,
            Target(
                rule=target.rule,
                patient=target.patient,
                authority=target.authority,
                person=unnamed,
                accessions=target.accessions,
                accession_rule=target.accession_rule,
            ),
        )

    def _require_same_number(self, dataset: Dataset) -> None:
        """An instance without a number is filed in this study by the archive, and believed to belong there."""
        written = dataset.text(PATIENT_ID).strip()
        if not written or self._planned.asked is None:
            return
        named = dataset.text(ISSUER).strip()
        found = self._issuers.identifier(written, Assigner(namespace=named.partition("&")[0]))
        if isinstance(found, Conflict):
            # Headers name issuers that the archive's list leaves out; the number itself has to be the same one.
            known = any(one.value == written for one in self._planned.numbers)
        else:
            known = found in self._planned.numbers
        if not known:
            raise MixedPatient("is another number than its study's", tag=PATIENT_ID)

    def _require_listed_number(self, dataset: Dataset) -> None:
        """Who let a study of several patients pass has seen these, and of another one nobody has said anything."""
        written = dataset.text(PATIENT_ID).strip()
        if written and self._planned.among and written not in self._planned.among:
            raise MixedPatient("is none of the numbers that its study is listed under", tag=PATIENT_ID)

    def _require_known_accession(self, dataset: Dataset) -> None:
        """Other numbers in Request Attributes Sequence are other orders': an image may serve more (PS3.3 C.7.3.1)."""
        if self._planned.numbered is None:
            return
        written = dataset.text(ACCESSION).strip(" \0")
        if not written or written in self._planned.numbered:
            return
        if "\0" in written:
            # No ledger takes it in, so no plan could prove it: a rule has to mend it first.
            raise NotCoercible("has NUL inside", tag=ACCESSION)
        raise UnlistedAccession(written)

    def _require_same_person(self, dataset: Dataset, index: Person) -> bool:
        """Whether the names are alike."""
        if index == NOBODY:
            return True
        header = Person(name=_told(dataset, NAME), birth_date=_told(dataset, BIRTH_DATE), sex=_told(dataset, SEX))
        link = Link.MERGE if len(self._planned.numbers) > 1 else Link.SAME_NUMBER
        likeness = compare(header, index, link, self._thresholds)
        if Conflict.DEMOGRAPHIC_CONFLICT in self._accepted:
            # Two people were compared and let pass under one number, and nobody else.
            alike = likeness.verdict.conflict is None or _says_the_same(likeness, self._thresholds)
            known = alike or self._is_listed(header)
        else:
            known = likeness.verdict is not Verdict.CONFLICT
        if not known:
            raise MixedPatient("names somebody else than its study", tag=NAME)
        return likeness.name is None or likeness.name >= self._thresholds.name

    def _is_listed(self, header: Person) -> bool:
        listed = self._planned.listed
        likeness = compare(header, listed, Link.SAME_NUMBER, self._thresholds)
        return listed != NOBODY and _says_the_same(likeness, self._thresholds)


def _says_the_same(likeness: Likeness, thresholds: Thresholds) -> bool:
    """Nothing of what both say differs."""
    return (
        (likeness.name is None or likeness.name >= thresholds.name)
        and likeness.birth_date in (None, 1)
        and not (likeness.sex_differs or likeness.twins)
    )


def _told(dataset: Dataset, tag: int) -> str | None:
    """What the header says; nothing where it cannot be read."""
    try:
        return dataset.text(tag)
    except NotCoercible:
        return None
