"""The emulated AWS that the pods reach: its process, an account, and the service's user in it.

`python -m scripts.cluster_local.aws DIRECTORY` is the process. It holds a lock on `aws.lock`, in
which its process id stands, and keeps nothing: who stops it forgets what it held.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from scripts.cluster_local.errors import ClusterError
from scripts.cluster_local.shell import Say, run

ROOT = Path(__file__).parents[2]
ADDRESS, PORT = "10.244.255.1", 4566  # the node's own address, which pods reach
URL = f"http://{ADDRESS}:{PORT}"
# As deploy/chart/values-dev.yaml names them.
ACCOUNT, REGION, TABLE = "111122223333", "eu-central-1", "strongroom-dev"
BUCKET = f"strongroom-dev-{ACCOUNT}-{REGION}"
USER = "strongroom-dev-service"
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0


class Aws:
    def __init__(self, home: Path, say: Say) -> None:
        self._lock = home / "aws.lock"
        self._log = home / "aws.log"
        self._home = home
        self._say = say

    @property
    def pid(self) -> int | None:
        """Of the emulator, if it runs."""
        try:
            lock = self._lock.open("r+")
        except OSError:
            return None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                held = lock.read().strip()
                return int(held) if held.isdigit() else None
        return None

    def up(self) -> None:
        if self.pid is None:
            self._say("starting the emulated AWS …")
            with self._log.open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "scripts.cluster_local.aws", str(self._home)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=ROOT,
                    start_new_session=True,
                )
            self._await(process)
        run(sys.executable, "-m", "app", "provision", environment=self.administrator, folder=ROOT)

    def down(self) -> None:
        pid = self.pid
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        ends = time.monotonic() + _STOP_SECONDS
        while self.pid == pid:
            if time.monotonic() > ends:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    @property
    def administrator(self) -> dict[str, str | None]:
        """The environment of commands that act as the account's root."""
        return environment(ACCOUNT, "test")

    def service_key(self, stored: dict[str, str]) -> dict[str, str]:
        """An access key of the service's user, who may do what the service's role may."""
        iam = self._client("iam")
        with suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_user(UserName=USER)
        iam.put_user_policy(
            UserName=USER, PolicyName="service", PolicyDocument=json.dumps(policy())
        )
        known = {
            key["AccessKeyId"] for key in iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]
        }
        if stored.get("AWS_ACCESS_KEY_ID") in known:
            return stored
        for key in known:
            iam.delete_access_key(UserName=USER, AccessKeyId=key)
        made = iam.create_access_key(UserName=USER)["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
        }

    def new_key(self, tenant: str, scopes: tuple[str, ...]) -> str:
        """An API key of the service's, as an operator makes one."""
        wanted = [part for scope in scopes for part in ("--scope", scope)]
        command = ("keys", "create", "--tenant", tenant, "--name", "cluster-local", "--json")
        made = run(
            *(sys.executable, "-m", "app", *command, *wanted),
            environment=self.administrator,
            folder=ROOT,
        )
        return str(json.loads(made)[0]["key"])

    def _client(self, service: str) -> Any:
        session: Any = boto3.session.Session()
        return session.client(
            service,
            region_name=REGION,
            endpoint_url=URL,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="test",
            config=Config(proxies={}, retries={"total_max_attempts": 2}),
        )

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        ends = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends and process.poll() is None:
            if _answers():
                return
            time.sleep(0.1)
        tail = self._log.read_text(errors="replace").splitlines()[-12:]
        raise ClusterError("\n  ".join(["the emulated AWS did not start:", *tail]))


def environment(access_key: str, secret_key: str) -> dict[str, str | None]:
    """For child processes, whatever account the shell is set up for."""
    foreign = {name: None for name in os.environ if name.startswith("AWS_")}
    return {
        **foreign,
        "AWS_ENDPOINT_URL": URL,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": f"{ADDRESS},127.0.0.1,localhost",
        "no_proxy": f"{ADDRESS},127.0.0.1,localhost",
        "DYNAMODB_TABLE": TABLE,
        "S3_BUCKET": BUCKET,
    }


def policy() -> dict[str, Any]:
    """What modules/workload-identity gives the service's role, but for its keys of KMS."""
    table = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{TABLE}"
    bucket = f"arn:aws:s3:::{BUCKET}"
    allowed = [
        (["BatchGetItem", "GetItem", "Query", "Scan"], "dynamodb", table),
        (["Query"], "dynamodb", f"{table}/index/due"),
        (["DeleteItem", "PutItem", "UpdateItem"], "dynamodb", table),
        (["ListBucket", "ListBucketMultipartUploads", "ListBucketVersions"], "s3", bucket),
        (["GetObject"], "s3", f"{bucket}/*"),
        (["AbortMultipartUpload", "DeleteObjectVersion", "PutObject"], "s3", f"{bucket}/*"),
    ]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": [f"{service}:{name}" for name in names], "Resource": arn}
            for names, service, arn in allowed
        ],
    }


def _answers() -> bool:
    connection = http.client.HTTPConnection(ADDRESS, PORT, timeout=5)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# --- the process --------------------------------------------------------------------------------


def _main(home: Path) -> int:
    with (home / "aws.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("another one runs on this directory", flush=True)
            return 3
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ |= {
            "AUTH": "true",  # the policies hold
            "BIND_HOST": ADDRESS,
            "GATEWAY_PORT": str(PORT),
            "SERVICES": "s3,dynamodb,sts,iam",
            "PERSIST_STATE": "0",
            "DOCKER_HOST": "unix:///nonexistent",  # else it looks for containers
            "IOT_MTLS_ENABLED": "0",  # else it listens on a fixed port
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
        }
        import ministack.app

        sys.argv[1:] = []
        ministack.app.main()
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
