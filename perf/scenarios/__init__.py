"""Every scenario, in the order of the report: each module offers its own."""

from perf.harness import Scenario
from perf.scenarios import receive

SCENARIOS: tuple[Scenario, ...] = (*receive.SCENARIOS,)
