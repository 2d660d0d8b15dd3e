"""What a person does about an endpoint that cannot be used: which setting to look at, and what to try next."""

from storage.errors import StorageError
from storage.sinks.deadline import HANGS

_LEDGER = {
    "no_password": "Set password in [ledger]: where the password is, as env:NAME or file:/path.",
    "password": "Check the secret that password in [ledger] names, and the user in its url.",
    "role": "Correct the user in url of [ledger], or create it in Postgres.",
    "database": "Correct the database in url of [ledger], or create it: createdb.",
    "host_rule": "Have Postgres admit this machine (pg_hba.conf), or correct url in [ledger].",
    "permission": "Grant the user the database, or correct url in [ledger].",
    "tls": "Add or correct sslmode in url of [ledger].",
    "host": "Correct the host in url of [ledger].",
    "port": "Correct host and port in url of [ledger], or start Postgres.",
    "silent": "Correct host and port in url of [ledger], or open the firewall.",
    "starting": "Wait for it, then run again.",
    "full": "End other clients of that Postgres, or raise its max_connections.",
}
_S3 = {
    "403": "Check access_key and secret_key of the destination, and what that key may do in the bucket.",
    "AccessDenied": "Check access_key and secret_key of the destination, and what that key may do in the bucket.",
    "InvalidAccessKeyId": "Check the key id that access_key of the destination names.",
    "SignatureDoesNotMatch": "Check the secret that secret_key of the destination names.",
    "NoSuchBucket": "Correct bucket of the destination, or have the bucket made.",
    "NoCredentialsError": "Set access_key and secret_key of the destination, or give this machine a role or profile.",
    "301": "Correct region of the destination: the bucket is in another one.",
    "PermanentRedirect": "Correct region of the destination: the bucket is in another one.",
    "AuthorizationHeaderMalformed": "Correct region of the destination: the bucket is in another one.",
    "EndpointConnectionError": "Correct endpoint_url of the destination, or open the firewall; or start the store.",
    "ConnectTimeoutError": "Correct endpoint_url of the destination, or open the firewall.",
    "SSLError": "Name the store's authority in ca_bundle of the destination, or correct endpoint_url.",
    "RequestTimeTooSkewed": "Let NTP set this machine's clock.",
}
_TRY = "Then: limosa check"


def advice(error: StorageError) -> str:
    """The setting to look at and the next command; empty where the error's own words are all there is to say."""
    return advice_on(error.operation, error.place, error.code)


def advice_on(operation: str, place: str, code: str) -> str:
    """As `advice`, of an error's parts."""
    step = ""
    if operation == "read secret":
        step = f"The job file says that a secret is there ({place}): put it there, or correct that setting."
    elif place.startswith("ledger at "):
        step = _LEDGER.get(code, "Check url in [ledger].")
    elif place.startswith("s3://"):
        step = _S3.get(code, "")
    elif place.startswith("device ") and code == HANGS:
        step = "See to its cable, the disk or the share: it neither reads nor writes."
    elif place.startswith("device "):
        step = "Mount it where devices of the destination says, or correct devices."
    return f"{step} {_TRY}" if step else ""
