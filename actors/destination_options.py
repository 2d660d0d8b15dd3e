"""Settings of the destinations that are spoken to by DIMSE, and what a job may name as a destination."""

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from actors.options import AeTitle, Options, Port, TlsOptions
from storage.dicomweb.options import WebAccess
from storage.sinks.existing import UpdateRule
from storage.sinks.options import SinkName, SinkOptions

MOST_REFERENCES = 1000
"""Instances in one Storage Commitment request; archives are known to fail above."""


class CommitmentOptions(Options):
    """Storage Commitment (PS3.4 annex J): where the archive's reports come in, and how long they are waited for."""

    host: str = Field(default="127.0.0.1", description="address to listen on for reports")
    port: Port = Field(description="where the archive knows our calling AE title to be")
    linger: timedelta = Field(
        default=timedelta(seconds=5), description="how long the association is kept open for a report on it"
    )
    timeout: timedelta = Field(default=timedelta(hours=1), description="without a report so long: asked anew")
    batch: int = Field(default=500, ge=1, le=MOST_REFERENCES, description="instances in one request")
    tls: TlsOptions | None = Field(default=None, description="absent: reports come over plain TCP")


class DimseOptions(Options, UpdateRule):
    """An archive that is written by C-STORE."""

    kind: Literal["dimse"] = "dimse"
    name: SinkName = Field(description="the destination's name in the ledger; keep it for the job's life")
    host: str
    port: Port
    ae_title: AeTitle = Field(description="the archive's AE title")
    calling_ae_title: AeTitle = Field(default="LIMOSA", description="the AE title we call with")
    tls: TlsOptions | None = Field(default=None, description="absent: plain TCP")
    associations: int = Field(default=4, ge=1, le=64, description="most associations at once from one process")
    timeout: timedelta = Field(default=timedelta(minutes=5), description="longest wait for one answer")
    dicomweb: WebAccess | None = Field(default=None, description="reads back through the archive's own DICOMweb")
    commitment: CommitmentOptions | None = Field(
        default=None, description="proof where nothing can be read back: Storage Commitment"
    )

    @model_validator(mode="after")
    def _can_be_proven(self) -> "DimseOptions":
        if self.dicomweb is None and self.commitment is None:
            raise ValueError(
                "a C-STORE success proves nothing: add dicomweb, by which every instance is read back, or commitment"
            )
        if self.dicomweb is not None and self.commitment is not None:
            raise ValueError("dicomweb reads every instance back, which leaves nothing for commitment to add")
        return self


DestinationOptions = SinkOptions | DimseOptions
"""Every kind of destination."""
