"""Command lines and boto3 in the place of Limosa's writers: `how` names one of the ways below."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from perf.pieces.task import Task, converse
from perf.servers import ACCESS, SECRET

COMMANDS = {
    # Through a pipe, as everywhere else: tar that writes to /dev/null itself reads nothing.
    "tar": "for d in *; do tar -cf - $d | cat > $OUT/$d.tar; done",
    "tar-zstd": "for d in *; do tar -cf - $d | zstd -q -1 > $OUT/$d.tar.zst; done",
    "cp-sync": "cp -r . $OUT && sync -f $OUT",
    "tar-openssl-sync": "for d in *; do tar -cf - $d | openssl enc -aes-256-ctr -pbkdf2 -pass file:$KEY > $OUT/$d.enc;"
    " done; sync -f $OUT",
    "tar-zstd-sync": "for d in *; do tar -cf - $d | zstd -q -1 > $OUT/$d.tar.zst; done; sync -f $OUT",
}
UPLOADERS = 4
CHUNK = 16 << 20


def run(task: Task) -> None:
    """The command line was run in the folder of files. Raises `CalledProcessError`."""
    environment = {"OUT": task.out, "KEY": task.disk_key, "PATH": "/usr/bin:/bin"}
    subprocess.run(["/bin/sh", "-e", "-c", COMMANDS[task.how]], cwd=task.files, env=environment, check=True)


def rclone(task: Task) -> None:
    """All files were copied by rclone: with its defaults, but for the size of parts and for what spares it requests,
    since the bucket is there and empty. Raises `CalledProcessError`."""
    store = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": task.endpoint,
        "REGION": "us-east-1",
        "ACCESS_KEY_ID": os.environ[ACCESS],
        "SECRET_ACCESS_KEY": os.environ[SECRET],
    }
    # Certificates and profiles of the machine's own: rclone stops at some of them, and the endpoint needs none.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {f"RCLONE_CONFIG_STORE_{name}": value for name, value in store.items()}
    command = [
        *("rclone", "copy", task.files, f"store:{task.bucket}", "--config", "/dev/null", "--quiet"),
        *("--transfers", str(task.lanes), "--s3-upload-concurrency", str(UPLOADERS)),
        *("--s3-chunk-size", "16M", "--s3-upload-cutoff", "16M"),
        # The endpoint that forgets has ETags of its own, which are no MD5.
        *("--no-check-dest", "--s3-no-check-bucket", "--ignore-checksum"),
    ]
    subprocess.run(command, env=environment, check=True)


def client_of(task: Task) -> Any:
    """boto3's client of the task's endpoint; its checksums are its defaults."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=task.endpoint,
        region_name="us-east-1",
        aws_access_key_id=os.environ[ACCESS],
        aws_secret_access_key=os.environ[SECRET],
        config=Config(s3={"addressing_style": "path", "payload_signing_enabled": False}, max_pool_connections=16),
    )


def upload(task: Task, client: Any, files: list[Path]) -> None:
    """Every file is an object: `upload_file` is boto3's own multipart, `put` one request each."""
    transfer = TransferConfig(multipart_chunksize=CHUNK, max_concurrency=UPLOADERS)

    def one(path: Path) -> None:
        if task.how == "upload_file":
            client.upload_file(str(path), task.bucket, path.name, Config=transfer)
        else:
            client.put_object(Bucket=task.bucket, Key=f"{path.parent.name}/{path.name}", Body=path.read_bytes())

    with ThreadPoolExecutor(task.lanes) as pool:
        for done in [pool.submit(one, path) for path in files]:
            done.result()


def main() -> None:
    task = Task.told()
    files = sorted(path for path in Path(task.files).rglob("*") if path.is_file())
    client = client_of(task) if task.how in ("upload_file", "put") else None

    def work() -> dict[str, Any]:
        if client is not None:
            upload(task, client, files)
        elif task.how == "rclone":
            rclone(task)
        else:
            run(task)
        return {"objects": len(files)}

    converse(work)


if __name__ == "__main__":
    main()
