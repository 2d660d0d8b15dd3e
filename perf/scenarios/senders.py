"""Whether the senders of the other scenarios are fast enough: both against a receiver that only answers.

What a receiver reaches near these rates is held up by its sender. Of interest is the sender's CPU; the receiver's is
that of throwing bytes away.
"""

from functools import partial

from perf.corpus import Corpus
from perf.harness import Scale, Scenario, Subject
from perf.peers.scripts import Answering
from perf.scenarios.orthanc import Moved
from perf.scenarios.receive import CT, TINY, Kind, Receiving
from perf.servers import Servers
from perf.sources import Simulated
from perf.targets import over

SIDES = {CT.name: 512, TINY.name: 100}
STUDIES = 4
BLASTER, SIMULATOR = "blaster", "C-MOVE from the simulator"


def _senders(kind: Kind, associations: int, scale: Scale) -> list[Subject]:
    instances = kind.instances // (STUDIES if scale is Scale.FULL else STUDIES * 8)
    source = Simulated(Corpus(studies=STUDIES, instances=instances, side=SIDES[kind.name]))
    about = "instances encoded once and kept; an answer to the requester for each"
    return [
        Receiving(Answering(BLASTER, "one system call per instance"), kind, scale, associations=associations),
        Moved(
            Servers(source),
            source,
            Answering(SIMULATOR, about),
            name=SIMULATOR,
            associations=associations,
            studies=STUDIES,
        ),
    ]


SCENARIOS: tuple[Scenario, ...] = tuple(
    Scenario(
        name=f"sender-{kind.name}-{associations}",
        title=f"Send {kind.title} over {over(associations)} to a receiver that throws them away.",
        subjects=partial(_senders, kind, associations),
        quick=False,
    )
    for kind in (CT, TINY)
    for associations in (1, 4)
)
