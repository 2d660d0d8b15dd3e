"""A whole archive from its PACS to the bucket: C-MOVE, digests, pack, multipart upload, ledger commit.

The simulator is the PACS, in a process of its own with its instances encoded beforehand; S3 is an endpoint that
forgets bodies (`perf.nulls3`), so that neither end is the limit, or SeaweedFS where the name says so. All subjects
move the same studies (pynetdicom, which is slow, a study per association of them), after a small study has warmed
them up. The clock runs from the moment studies may be asked for until the last is durable and, for Limosa, committed
to a real Postgres; then every instance is proven by its digest.

Limosa is the real mover process, without Ray around it. The usual ways are `perf/peers/move_*.py`: they write files
(to tmpfs, in their favour) and upload those; they keep no ledger and cannot resume. `cpu_s_per_gb` counts the movers,
or the usual way's script with all it starts. Beside it, as figures: the simulator's CPU, that of the S3 endpoint,
that of Postgres. Not measured: TLS, inventory, read-back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actors.coercion_options import NO_COERCION, CoercionOptions
from perf.corpus import Corpus, ct, tiny
from perf.harness import Scale, Scenario, Subject
from perf.migrating import LANES, LimosaMovers, UsualWay
from perf.servers import Servers
from perf.sources import Simulated
from storage.sinks.options import S3Options

COERCION = {
    "AccessionNumber": "N0000001",
    "IssuerOfPatientID": "NORTH",
    "InstitutionName": "North Hospital",
    "ReferringPhysicianName": "UNKNOWN^NORTH",
    "StudyDescription": "Moved from the north site",
}
"""Five attributes that are edited in every instance: what a site changes when its archive joins another's."""
LIMOSA = "C-MOVE, four digests, five attributes spliced in, originals kept, tar in 16 MiB parts with CRC64, commit"


def rules() -> CoercionOptions:
    """The five edits as a job file has them; the previous values go into each dataset."""
    actions = [{"kind": "set", "attribute": keyword, "value": value} for keyword, value in COERCION.items()]
    return CoercionOptions.model_validate({"rules": [{"name": "north", "actions": actions}]})


@dataclass(frozen=True, kw_only=True)
class _Load:
    name: str
    what: str
    corpus: Callable[[Scale], Corpus]


def _subjects(load: _Load, scale: Scale) -> list[Subject]:
    source = Simulated(load.corpus(scale))
    servers = Servers(source)

    def plain() -> S3Options:
        return servers.forgetful_bucket(compression="none")

    def limosa(name: str, about: str = LIMOSA, **changes: Any) -> LimosaMovers:
        chosen: dict[str, Any] = {"bucket": plain, "coercion": rules()} | changes
        return LimosaMovers(servers, source, name=name, about=about, **chosen)

    subjects: list[Subject] = [
        limosa("limosa, 1 mover"),
        UsualWay(
            servers,
            source,
            name="pynetdicom",
            about="C-MOVE, pydicom decodes, edits and saves, upload_file per instance; no digest, no ledger",
            script="move_pynetdicom",
            studies=LANES,
            coercion=COERCION,
        ),
        UsualWay(
            servers,
            source,
            name="dcmtk",
            about="movescu + storescp, BLAKE3 pass, upload_file per instance; does not coerce, no ledger; beside the "
            "script one storescp per association and one movescu per study",
            script="move_dcmtk",
            needs=("movescu", "storescp"),
        ),
        limosa("limosa, 2 movers", f"{LIMOSA}; an AE title each", titles=2),
        UsualWay(
            servers,
            source,
            name="pynetdicom, 2 processes",
            about="as pynetdicom, half of the studies each",
            script="move_pynetdicom",
            processes=2,
            studies=2 * LANES,
            coercion=COERCION,
        ),
    ]
    if load.name == "ct" and scale is Scale.FULL:
        subjects += [
            limosa(
                "limosa, 2 movers, 1 AE title",
                "as limosa, 2 movers, sharing AE title and port: half of the instances land in the other process and "
                "are handed over",
                processes=2,
            ),
            limosa("limosa, 1 mover, no coercion", "as limosa, 1 mover, every byte as it came", coercion=NO_COERCION),
            limosa(
                "limosa, 1 mover, zstd",
                "as limosa, 1 mover, but packs are tar.zst of level 1, the default for raw pixels",
                bucket=servers.forgetful_bucket,
            ),
            limosa(
                "limosa, 1 mover, SeaweedFS",
                "as limosa, 1 mover, into a real S3 server on the same two cores, which is the limit",
                bucket=lambda: servers.real_bucket(compression="none"),
                studies=LANES,
            ),
        ]
    return subjects


LOADS = (
    _Load(name="ct", what="0.5 MB slices", corpus=ct),
    _Load(name="tiny", what="20 KB slices", corpus=tiny),
)

SCENARIOS = tuple(
    Scenario(
        name=f"end-to-end-{load.name}",
        title=f"C-MOVE of {load.what} from the simulator to an S3 endpoint, until the last study is durable",
        subjects=lambda scale, load=load: _subjects(load, scale),
        quick=load.name == "ct",
    )
    for load in LOADS
)
