"""Why a dataset cannot be coerced as its rules say; no message holds a value from it."""

from imaging.coercion.attributes import name_of


class NotCoercible(Exception):
    """The study needs a person: nothing of the instance is written."""

    def __init__(self, defect: str, *, tag: int | None = None, rule: str = "") -> None:
        self.defect = defect
        """A bounded sentence."""
        self.tag = tag
        self.attribute = name_of(tag) if tag is not None else ""
        self.rule = rule
        super().__init__(": ".join(part for part in (rule, self.attribute, defect) if part))
