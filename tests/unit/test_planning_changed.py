"""What differs between two proposals is told in kind, for people."""

from cluster.planning.changed import in_words


def test_what_differs_is_told_in_words_most_telling_first() -> None:
    assert in_words(["person.name", "numbers", "patient"]) == "patient's number, name, numbers that lead to the patient"


def test_a_key_without_a_word_is_told_as_it_is() -> None:
    assert in_words(["later_key", "another"]) == "another, later_key"
