"""Every scenario, in the order of the report: each module offers its own."""

from perf.harness import Scenario
from perf.scenarios import (
    associations,
    bare,
    enciphering,
    end_to_end,
    fetching,
    memory,
    orthanc,
    receive,
    retrieving,
    senders,
    settling,
    uploading,
    writing,
)

SCENARIOS: tuple[Scenario, ...] = (
    *bare.SCENARIOS,
    *receive.SCENARIOS,
    *senders.SCENARIOS,
    *orthanc.SCENARIOS,
    *retrieving.SCENARIOS,
    *end_to_end.SCENARIOS,
    *associations.SCENARIOS,
    *writing.SCENARIOS,
    *enciphering.SCENARIOS,
    *uploading.SCENARIOS,
    *fetching.SCENARIOS,
    *settling.SCENARIOS,
    *memory.SCENARIOS,
)
