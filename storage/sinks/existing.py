"""The update rule of a DICOM service, as the job file declares it."""

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storage.dicomweb.options import WebAccess
from storage.paths import AbsolutePath


class Existing(StrEnum):
    """What a service does with an instance when it has one of that SOP Instance UID already."""

    KEPT = "kept"
    """The new one is ignored, often with a success (Orthanc unless told to overwrite)."""
    REPLACED = "replaced"
    """The new one takes its place."""
    WITHDRAWN = "withdrawn"
    """It keeps the old one, beside the new one where the patient differs, so the old one is taken back first by the
    service's own call."""
    TOLD = "told"
    """It keeps the old one and corrects it itself, when an HL7 message says that the patient has become another."""


class Hl7Options(BaseModel):
    """Where messages for a destination go, and what their headers say (MSH-3 to MSH-6)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sending_application: str = Field("LIMOSA", max_length=180, description="MSH-3")
    sending_facility: str = Field("", max_length=180, description="MSH-4")
    receiving_application: str = Field("", max_length=180, description="MSH-5")
    receiving_facility: str = Field("", max_length=180, description="MSH-6")
    host: str | None = Field(None, description="who takes them by MLLP; absent: they are written to files only")
    port: int | None = Field(None, ge=1, le=65535, description="its port")
    timeout: timedelta = Field(timedelta(seconds=30), gt=timedelta(0), description="longest wait for an answer")
    tls: bool = Field(False, description="MLLP over TLS")
    certificate: AbsolutePath | None = Field(
        None, description="our certificate and its chain, where the receiver asks for one"
    )
    key: AbsolutePath | None = Field(None, description="its private key; absent: in the certificate's file")
    ca: AbsolutePath | None = Field(
        None, description="who must have signed the receiver's; absent: those this machine trusts"
    )

    @model_validator(mode="after")
    def _belongs_together(self) -> "Hl7Options":
        if (self.host is None) != (self.port is None):
            raise ValueError("host and port belong together")
        if not self.tls and (self.certificate, self.key, self.ca) != (None, None, None):
            raise ValueError("certificate, key and ca are used with tls = true only")
        return self


class UpdateRule(BaseModel):
    """How a service comes to hold a later revision of what it holds already."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    existing: Existing = Field(
        Existing.KEPT, description="what it does with an instance it has already when one of the same UID comes"
    )
    orthanc: WebAccess | None = Field(
        None, description='Orthanc\'s REST API, through which old instances are taken back; with existing = "withdrawn"'
    )

    hl7: Hl7Options | None = Field(None, description='messages that correct it; with existing = "told"')

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "UpdateRule":
        if self.existing is Existing.WITHDRAWN and self.orthanc is None:
            raise ValueError(
                'existing = "withdrawn" needs the service\'s own call: a table [destinations.orthanc] with its url'
            )
        if self.orthanc is not None and self.existing is not Existing.WITHDRAWN:
            raise ValueError('the table orthanc is used with existing = "withdrawn" only')
        if (self.existing is Existing.TOLD) != (self.hl7 is not None):
            raise ValueError('existing = "told" and a table [destinations.hl7] belong together')
        return self
