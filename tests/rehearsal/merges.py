"""A migration while patients are merged, as `make merges`: from one Orthanc to S3 and to two others, by the commands a
person types.

One patient was merged before the run, one is merged while it is on, one after it. Every question is asked at the
destinations: by C-FIND under both numbers, and of each instance that they hold.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # pyright: ignore[reportAttributeAccessIssue]

from cluster.job import load_job
from cluster.services import services
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.seaweedfs import EmbeddedS3
from infra.simulator.peers import ORTHANC_WEB, OrthancPeer
from infra.simulator.process import free_port

LIMOSA = (sys.executable, "-m", "limosa")
DEADLINE = 600.0
CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"
SIDE, IMAGES = 128, 5
OTHERS = 30
"""Patients of one study whom nobody merges: they keep the run at work, and have to stay as they are."""

JOB = """
[job]
name = "merges"
[source]
host = "127.0.0.1"
port = {source}
ae_title = "OLDPACS"
quiet = 0.5
quiet_limit = 5
associations = 2
[[receivers]]
ae_title = "LIMOSA"
host = "127.0.0.1"
port = {receiver}
[[destinations]]
kind = "s3"
name = "archive"
endpoint_url = "embedded"
bucket = "limosa"
[[destinations]]
kind = "dimse"
name = "newpacs"
host = "127.0.0.1"
port = {newpacs}
ae_title = "NEWPACS"
existing = "withdrawn"
[destinations.dicomweb]
url = "{newpacs_web}"
[destinations.orthanc]
url = "{newpacs_rest}"
[[destinations]]
kind = "dicomweb"
name = "vna"
url = "{vna_web}"
existing = "withdrawn"
[destinations.orthanc]
url = "{vna_rest}"
[identity]
default_issuer = "NORTH"
[[identity.issuers]]
name = "NORTH"
[[accession.rules]]
name = "pad"
steps = [{{ pad = 8 }}]
[accession]
[[coercion.rules]]
name = "institution"
actions = [{{ kind = "set", attribute = "InstitutionName", value = "North Hospital" }}]
"""

A40 = (
    "MSH|^~\\&|ADT|NORTH|||{at}||ADT^A40^ADT_A39|{old}-{new}|P|2.5\rEVN|A40|{at}\r"
    "PID|||{new}^^^NORTH^MR||{family}^JANE||19700101|F\rMRG|{old}^^^NORTH^MR\r"
)


class Failed(Exception):
    """The rehearsal did not go as it has to."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise Failed(what)


@dataclass(frozen=True, slots=True)
class Merge:
    """Two numbers of one patient."""

    family: str
    old: str
    new: str


BEFORE, MEANWHILE, LATER = Merge("NOE", "1001", "2001"), Merge("ROE", "1002", "2002"), Merge("POE", "1003", "2003")
MERGES = (BEFORE, MEANWHILE, LATER)


def studies_of(number: str) -> list[str]:
    """Study UIDs: three under the number that is given up, two under the one that stays, one of all others."""
    count = {"1": 3, "2": 2}.get(number[0], 1)
    return [f"1.2.826.0.1.3680043.10.1.{number}.{study}" for study in range(1, count + 1)]


def instance(study: str, patient: str, family: str, number: int) -> Dataset:
    made = Dataset()
    # The last one of a study is a report: it has no pixels by which it could be told from another.
    report = number == IMAGES
    made.SOPClassUID, made.StudyInstanceUID = SR if report else CT, study
    made.SeriesInstanceUID, made.SOPInstanceUID = f"{study}.{1 + report}", f"{study}.{1 + report}.{number}"
    made.Modality, made.StudyDate, made.StudyTime = "SR" if report else "CT", "20200102", "090000"
    made.PatientName, made.PatientID = f"{family}^JANE", patient
    made.PatientBirthDate, made.PatientSex = "19700101", "F"
    made.AccessionNumber = "".join(study.split(".")[-2:])
    made.InstanceNumber, made.InstitutionName = number + 1, "Old Hospital"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if not report:
        made.Rows = made.Columns = SIDE
        made.SamplesPerPixel, made.BitsAllocated, made.BitsStored, made.HighBit = 1, 16, 16, 15
        made.PixelRepresentation, made.PhotometricInterpretation = 0, "MONOCHROME2"
        made.add_new(0x7FE00010, "OW", f"{made.SOPInstanceUID} ".encode().ljust(2 * SIDE * SIDE, b"\x01"))
    return made


class Rehearsal:
    """The people of a migration."""

    def __init__(self, folder: Path) -> None:
        self.began = time.monotonic()
        self.folder = folder
        self.file = folder / "move.toml"
        self.patients: dict[str, str] = {merge.old: merge.family for merge in MERGES}
        self.patients |= {merge.new: merge.family for merge in MERGES}
        self.patients |= {f"3{number:03}": "MILLER" for number in range(1, OTHERS + 1)}
        self.pixels: dict[str, bytes | None] = {}
        """Pixels of every instance of the old archive, None of a report."""

    def say(self, sentence: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self.began:6.1f} s  {sentence}\n")
        sys.stdout.flush()

    def limosa(self, *words: object, rc: int = 0) -> Any:
        """What the command printed."""
        done = subprocess.run(
            [*LIMOSA, *map(str, words), "--json"], capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        require(done.returncode == rc, f"{words}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout) if done.stdout else done.stderr

    def fill(self, orthanc: OrthancPeer) -> None:
        folder = self.folder / "files"
        folder.mkdir()
        for number, family in self.patients.items():
            for study in studies_of(number):
                for place in range(IMAGES + 1):
                    made = instance(study, number, family, place)
                    made.save_as(folder / f"{made.SOPInstanceUID}.dcm", enforce_file_format=True)
                    self.pixels[made.SOPInstanceUID] = made.get("PixelData")
        files = sorted(folder.iterdir())
        require(len(orthanc.load(files)) == len(files), "the old archive did not take all")
        self.say(f"{orthanc.ae} holds {len(files)} instances of {len(self.patients)} patients")

    def tell(self, merge: Merge, at: str) -> None:
        """The hospital's interface sent a merge; it is read into the ledger."""
        file = self.folder / f"{merge.old}.hl7"
        file.write_text(A40.format(at=at, old=merge.old, new=merge.new, family=merge.family))
        (told,) = self.limosa("identity", "import", self.file, file)
        require(told["events"] == 2 and not told["defects"], f"the message was read as {told}")

    def plan(self) -> Any:
        return self.limosa("plan", self.file, "--apply", "--quiet")

    def status(self) -> dict[str, dict[str, Any]]:
        rows = self.limosa("studies", "list", self.file, "--limit", 1000)
        return {row["study_uid"]: row for row in rows}


@dataclass(frozen=True, slots=True)
class Destination:
    """An Orthanc, asked as other systems ask it."""

    peer: OrthancPeer

    def find(self, patient: str) -> set[str]:
        """What one C-FIND for the patient answers."""
        question = Dataset()
        question.QueryRetrieveLevel, question.PatientID, question.StudyInstanceUID = "STUDY", patient, ""
        ae = AE()
        ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
        association = ae.associate("127.0.0.1", self.peer.port, ae_title=self.peer.ae)
        require(association.is_established, f"{self.peer.ae} takes no association")
        answers = association.send_c_find(question, StudyRootQueryRetrieveInformationModelFind)
        found = {str(answer.StudyInstanceUID) for _, answer in answers if answer is not None}
        association.release()
        return found

    def instances(self) -> Iterator[Dataset]:
        """Everything it holds."""
        for name in self._get("/instances"):
            yield pydicom.dcmread(io.BytesIO(self._body(f"/instances/{name}/file")))

    def _get(self, path: str) -> Any:
        return json.loads(self._body(path))

    def _body(self, path: str) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.peer.http_port, timeout=DEADLINE)
        connection.request("GET", path)
        body = connection.getresponse().read()
        connection.close()
        return body


def assert_found(it: Rehearsal, places: Mapping[str, Destination], merged: tuple[Merge, ...]) -> None:
    """One C-FIND for the survivor answers all studies of both numbers, and one for the other none."""
    for name, place in places.items():
        for merge in merged:
            both = {*studies_of(merge.old), *studies_of(merge.new)}
            require(place.find(merge.new) == both, f"{name} answers {place.find(merge.new)} for {merge.new}")
            require(not place.find(merge.old), f"{name} still has studies under {merge.old}")
        for merge in MERGES:
            if merge not in merged:
                require(place.find(merge.old) == {*studies_of(merge.old)}, f"{name} lost studies of {merge.old}")
        told = ", ".join(f"{merge.new}: {len(place.find(merge.new))} studies, {merge.old}: 0" for merge in merged)
        it.say(f"{name} answers one C-FIND each: {told}")


def assert_held(it: Rehearsal, places: Mapping[str, Destination], merged: tuple[Merge, ...]) -> None:
    """Every instance of the old archive is there once, with its own pixels and under today's number."""
    survivors = {merge.old: merge.new for merge in merged}
    for name, place in places.items():
        seen: set[str] = set()
        for held in place.instances():
            require(held.SOPInstanceUID not in seen, f"{name} holds {held.SOPInstanceUID} twice")
            seen.add(held.SOPInstanceUID)
            judge(it, held, survivors, name)
        require(seen == it.pixels.keys(), f"{name} holds {len(seen)} of {len(it.pixels)} instances")
        it.say(
            f"{name}: {len(seen)} instances, each once, with its pixels, under today's number, the old one kept in it"
        )


def judge(it: Rehearsal, held: Dataset, survivors: Mapping[str, str], name: str) -> None:
    """The instance says what was decided, keeps what it said before, and has the pixels it had."""
    before = held.StudyInstanceUID.split(".")[-2]
    now = survivors.get(before, before)
    require(held.PatientID == now, f"{name}: {held.SOPInstanceUID} is under {held.PatientID}, not {now}")
    require(held.AccessionNumber == "".join(held.StudyInstanceUID.split(".")[-2:]).rjust(8, "0"), "no accession")
    require(held.InstitutionName == "North Hospital", f"{name}: {held.SOPInstanceUID} was not coerced")
    require(held.get("PixelData") == it.pixels[held.SOPInstanceUID], f"other pixels in {held.SOPInstanceUID}")
    (kept,) = held.OriginalAttributesSequence
    original = kept.ModifiedAttributesSequence[0]
    require(original.InstitutionName == "Old Hospital", "the original institution is not kept")
    require(now == before or original.PatientID == before, "the original number is not kept")


def assert_packed(it: Rehearsal, merged: tuple[Merge, ...]) -> None:
    """The packs of the latest revisions say the same."""
    survivors = {merge.old: merge.new for merge in merged}
    folder = Path(tempfile.mkdtemp(dir=it.folder))
    count = 0
    for merge in merged:
        for study in (*studies_of(merge.old), *studies_of(merge.new)):
            it.limosa("studies", "fetch", it.file, study, "--destination", "archive", "--out", folder)
    for file in sorted(folder.rglob("*.dcm")):
        judge(it, pydicom.dcmread(file), survivors, "the pack")
        count += 1
    require(count == len(merged) * 5 * (IMAGES + 1), f"{count} instances came out of the packs")
    it.say(f"the packs in the bucket hold the survivors: {count} instances of {5 * len(merged)} studies fetched")


def before_the_run(it: Rehearsal) -> None:
    index = [f"NORTH,{number},{family}^JANE,19700101,F" for number, family in it.patients.items()]
    (it.folder / "index.csv").write_text("issuer,id,name,birth_date,sex\n" + "\n".join(index) + "\n")
    it.limosa("check", it.file)
    it.limosa("inventory", it.file)
    it.limosa("identity", "import", it.file, it.folder / "index.csv")
    it.tell(BEFORE, "20260101")
    planned = it.plan()
    require(planned["verdicts"]["auto"] == len(it.status()), f"the plan says {planned['verdicts']}")
    it.say(f"{BEFORE.old} was merged into {BEFORE.new}; the plan decides {planned['studies']} studies, holds none")


def the_run(it: Rehearsal, newpacs: Destination) -> None:
    """A merge arrives when some of the patient's studies are at the destination already."""
    it.limosa("priority", it.file, *studies_of(MEANWHILE.old), "--to", 1)
    running = subprocess.Popen([*LIMOSA, "run", str(it.file), "--json", "--quiet"], stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + DEADLINE
        while not newpacs.find(MEANWHILE.old):
            require(running.poll() is None and time.monotonic() < deadline, "the run ended before the merge came")
            time.sleep(0.05)
        there = len(newpacs.find(MEANWHILE.old))
        it.tell(MEANWHILE, "20260301")
        applied = it.plan()["applied"]
        require(running.poll() is None, "the run was over before the merge was planned")
        done = sum(row["status"] == "done" for row in it.status().values())
        it.say(
            f"{MEANWHILE.old} was merged into {MEANWHILE.new} while the run was on, {there} of its studies at newpacs, "
            f"{done} studies of all done: {applied['decided']} decisions changed"
        )
        said, _ = running.communicate(timeout=DEADLINE)
    finally:
        if running.poll() is None:
            running.terminate()
            running.wait()
    require(running.returncode == 0, f"the run ended with {running.returncode}: {said}")
    states = it.status()
    require({row["status"] for row in states.values()} == {"done"}, "a study is not done")
    again = sorted(uid for uid, row in states.items() if row["revision"] > 1)
    require({*again} <= {*studies_of(MEANWHILE.old)}, f"other studies have another revision: {again}")
    it.say(f"the run ended with 0: {len(states)} studies done, {len(again)} of them in a second revision")


def after_the_run(it: Rehearsal) -> None:
    before = it.status()
    it.tell(LATER, "20260601")
    (known,) = it.limosa("identity", "import", it.file, it.folder / f"{BEFORE.old}.hl7")
    require(known["again"], "a message that is known counted again")
    applied = it.plan()["applied"]
    affected = studies_of(LATER.old)
    require((applied["decided"], applied["renewed"]) == (3, 3), f"the plan renewed {applied}")
    it.limosa("run", it.file, "--quiet")
    states = it.status()
    renewed = {uid for uid, row in states.items() if row["revision"] > before[uid]["revision"]}
    require(renewed == {*affected}, f"other studies were delivered anew: {renewed}")
    require({row["status"] for row in states.values()} == {"done"}, "a study is not done")
    it.say(
        f"{LATER.old} was merged into {LATER.new} after the run: {applied['decided']} decisions changed, exactly "
        f"{len(renewed)} of {len(states)} studies came again, as a new revision"
    )


def proven(it: Rehearsal) -> None:
    summary = it.limosa("validate", it.file, "--quiet")
    told = {each["destination"]: each["studies"] for each in summary["destinations"]}
    require(set(told.values()) == {len(it.status())}, f"validate counts {told}")
    require(it.limosa("custody", "verify", it.file)["broken"] == 0, "a chain of custody is broken")
    left = it.limosa("exceptions", "list", it.file)
    require(not left, f"open exceptions: {left}")
    it.say(f"validate ends with 0, no exception is open, every chain of custody holds; studies proven: {told}")


def rehearse(folder: Path) -> None:
    it = Rehearsal(folder)
    receiver = free_port()
    with ExitStack() as stack:
        known = {"LIMOSA": ("127.0.0.1", receiver)}
        old = stack.enter_context(OrthancPeer(folder / "oldpacs", ae="OLDPACS", destinations=known))
        new = stack.enter_context(OrthancPeer(folder / "newpacs", ae="NEWPACS", **ORTHANC_WEB))
        vna = stack.enter_context(OrthancPeer(folder / "vna", ae="VNA", **ORTHANC_WEB))
        it.file.write_text(
            JOB.format(
                source=old.port, receiver=receiver, newpacs=new.port,
                newpacs_web=new.web_url, newpacs_rest=new.rest_url, vna_web=vna.web_url, vna_rest=vna.rest_url,
            )
        )  # fmt: skip
        places = {"newpacs": Destination(new), "vna": Destination(vna)}
        embedded = it.file.with_suffix(".limosa") / "services"
        stack.callback(EmbeddedPostgres(embedded / "postgres").remove)
        stack.callback(EmbeddedS3(embedded / "s3").remove)
        it.fill(old)
        # Embedded services stay up between commands, which start and stop them otherwise.
        with services(load_job(it.file)):
            before_the_run(it)
            the_run(it, places["newpacs"])
            assert_found(it, places, (BEFORE, MEANWHILE))
            assert_held(it, places, (BEFORE, MEANWHILE))
            assert_packed(it, (BEFORE, MEANWHILE))
            after_the_run(it)
            assert_found(it, places, MERGES)
            assert_held(it, places, MERGES)
            assert_packed(it, MERGES)
            proven(it)


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(prefix="limosa-merges-") as place:
        # Servers of root's tests run as another user, who has to get there.
        Path(place).chmod(0o755)
        rehearse(Path(place))
