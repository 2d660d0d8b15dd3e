"""Signature Version 4 of AWS, for a proxy that changes what was signed."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

UNSIGNED = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs as the holder of one key (AWS General Reference, "Create a signed AWS API request")."""

    access_key: str
    secret_key: str
    region: str

    def signed(self, method: str, target: str, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers with a signature over host and every x-amz- header; bodies are not signed.

        `headers` are by their lower-case names and hold host and x-amz-date.
        """
        headers = {name: value for name, value in headers.items() if name not in ("authorization", "content-md5")}
        headers["x-amz-content-sha256"] = UNSIGNED
        names = sorted(name for name in headers if name == "host" or name.startswith("x-amz-"))
        path, _, query = target.partition("?")
        pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, True))
        canonical = "\n".join(
            [
                method,
                path,
                "&".join(f"{name}={value}" for name, value in pairs),
                *(f"{name}:{' '.join(headers[name].split())}" for name in names),
                "",
                ";".join(names),
                UNSIGNED,
            ]
        )
        moment = headers["x-amz-date"]
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = "\n".join([_ALGORITHM, moment, scope, digest])
        key = f"AWS4{self.secret_key}".encode()
        for step in scope.split("/"):
            key = hmac.digest(key, step.encode(), "sha256")
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        credential = f"Credential={self.access_key}/{scope}"
        signed_names = f"SignedHeaders={';'.join(names)}"
        return headers | {"authorization": f"{_ALGORITHM} {credential}, {signed_names}, Signature={signature}"}
