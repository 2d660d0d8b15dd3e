"""How a DICOMweb service is reached; destinations and sources compose it into their own settings."""

from datetime import timedelta
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from storage.paths import AbsolutePath
from storage.sinks.secret import SecretRef


class WebAccess(BaseModel):
    """Address, credentials and TLS of one service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        pattern=r"^https?://", description="what stands before /studies, e.g. https://pacs.example/dicom-web"
    )
    token: SecretRef | None = Field(None, description="where a bearer token is; read again for each request")
    user: str | None = Field(None, pattern=r"^[^:\x00-\x1f]+$", description="for basic authentication")
    password: SecretRef | None = Field(None, description="where the user's password is")
    ca_bundle: AbsolutePath | None = Field(None, description="certificates to trust instead of the system's")
    certificate: AbsolutePath | None = Field(
        None, description="our certificate and its chain, where the service asks for one"
    )
    key: AbsolutePath | None = Field(None, description="its private key; absent: in the certificate's file")
    timeout: timedelta = Field(timedelta(seconds=120), gt=timedelta(0), description="longest silence in an exchange")
    connections: int = Field(8, ge=1, le=256, description="most requests at once from one process")

    @field_validator("url")
    @classmethod
    def _base(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise ValueError('holds credentials; name where they are instead: token = "env:NAME", or user and password')
        if not parts.hostname or parts.query or parts.fragment:
            raise ValueError("is not the base address of a service")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _credentials_belong_together(self) -> "WebAccess":
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together")
        if self.token is not None and self.user is not None:
            raise ValueError("either token, or user and password")
        if self.key is not None and self.certificate is None:
            raise ValueError("a key without a certificate")
        return self
