"""The harness: subjects take turns, the first turn does not count, and nothing unproven becomes a number."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from perf.harness import NotRun, Sample, Scale, Scenario, Wrong, quartiles, run


@dataclass
class Told:
    """A subject whose samples are given; writes what is asked of it into the shared diary."""

    name: str
    seconds: Sequence[float]
    diary: list[str] = field(default_factory=list)
    size: int = 2_000_000
    cpu_seconds: float = 0.1
    missing: str = ""
    wrong_in_turn: int | None = None
    about: str = "is told what to say"
    associations: int = 4
    processes: int = 1

    def prepare(self) -> None:
        self.diary.append(f"{self.name} prepares")
        if self.missing:
            raise NotRun(self.missing)

    def once(self) -> Sample:
        turn = sum(line == f"{self.name} runs" for line in self.diary)
        self.diary.append(f"{self.name} runs")
        if turn == self.wrong_in_turn:
            raise Wrong("3 of 4 objects arrived")
        return Sample(
            seconds=self.seconds[turn],
            bytes=self.size,
            objects=4,
            cpu_seconds=self.cpu_seconds,
            peak_rss=50_000_000,
            sender_cpu_seconds=0.2,
            figures={"waits": turn},
        )

    def close(self) -> None:
        self.diary.append(f"{self.name} closes")


def scenario(*subjects: Told) -> Scenario:
    return Scenario(name="receive-ct-4", title="For the test.", subjects=lambda _: subjects)


def rows(*subjects: Told, repeats: int = 3) -> list:
    return run(scenario(*subjects), scale=Scale.FULL, repeats=repeats, tell=lambda _: None)


def test_a_quick_run_and_a_sample_of_minutes_have_no_turn_to_throw_away() -> None:
    diary: list[str] = []
    long = replace(scenario(Told("b", [2.0], diary)), most_repeats=1)

    [quick] = run(scenario(Told("a", [2.0], diary)), scale=Scale.QUICK, repeats=1, tell=lambda _: None)
    [slow] = run(long, scale=Scale.FULL, repeats=3, tell=lambda _: None)

    assert [diary.count(f"{name} runs") for name in ("a", "b")] == [1, 1]
    assert quick.seconds == slow.seconds == 2.0


def test_subjects_take_turns() -> None:
    diary: list[str] = []

    rows(Told("a", [1, 1], diary), Told("b", [1, 1], diary), repeats=1)

    assert diary == ["a prepares", "b prepares", "a runs", "b runs", "a runs", "b runs", "a closes", "b closes"]


def test_the_first_turn_does_not_count_and_the_rest_is_a_median() -> None:
    (row,) = rows(Told("a", [100, 2, 1, 4]))

    assert (row.mb_per_s, row.objects_per_s, row.seconds, row.repeats) == (1.0, 2.0, 2.0, 3)
    assert row.spread == (0.75, 1.5)
    assert (row.cpu_s_per_gb, row.sender_cpu_s_per_gb, row.peak_rss_mb) == (50.0, 100.0, 50.0)
    assert (row.objects, row.bytes, row.associations) == (4, 2_000_000, 4)
    assert row.figures == {"waits": 2.0}


def test_cpu_time_too_short_for_the_kernels_clock_is_not_told() -> None:
    (row,) = rows(Told("a", [1] * 4, cpu_seconds=0.02))

    assert (row.cpu_s_per_gb, row.sender_cpu_s_per_gb, row.mb_per_s) == (None, 100.0, 2.0)


def test_work_without_bytes_is_rated_by_objects_alone() -> None:
    (row,) = rows(Told("a", [1, 1, 2, 4], size=0))

    assert (row.mb_per_s, row.cpu_s_per_gb, row.objects_per_s) == (None, None, 2.0)
    assert row.spread == (1.5, 3.0)
    assert row.rate == row.objects_per_s


def test_an_absent_subject_is_a_row_with_the_reason_and_no_number() -> None:
    present, absent = rows(Told("a", [1] * 4), Told("b", [], missing="storescp is not installed"))

    assert present.mb_per_s == 2.0
    assert (absent.not_run, absent.failed, absent.mb_per_s) == ("storescp is not installed", False, None)


def test_a_subject_that_does_wrong_loses_the_samples_it_had() -> None:
    wrong, other = rows(Told("a", [1] * 4, wrong_in_turn=2), Told("b", [1] * 4))

    assert (wrong.not_run, wrong.failed, wrong.mb_per_s) == ("3 of 4 objects arrived", True, None)
    assert other.repeats == 3


def test_a_defect_of_a_subject_costs_its_own_row_alone() -> None:
    diary: list[str] = []

    broken, other = rows(Told("a", [], diary), Told("b", [1] * 4, diary))

    assert (broken.failed, broken.mb_per_s) == (True, None)
    assert broken.not_run.startswith("IndexError: ") and "test_perf_harness.py, line " in broken.not_run
    assert other.repeats == 3
    assert diary[-2:] == ["a closes", "b closes"]


def test_a_scenario_is_asked_for_by_its_name_or_its_beginning() -> None:
    one = scenario()

    assert all(one.asked_by(only) for only in ((), ("receive-ct-4",), ("receive-ct",), ("receive",), ("x", "receive")))
    assert not any(one.asked_by(only) for only in (("receive-c",), ("receive-ct-44",), ("pack",)))


def test_quartiles_hold_half_of_the_samples() -> None:
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0)
