"""Emulated accounts, for tests and for the command line.

with EmulatedAccounts(tmp_path) as accounts:
    accounts.session("dev").client("s3").create_bucket(...)
    subprocess.run(["terraform", "apply"], env=os.environ | accounts.environment("dev"))
"""

from __future__ import annotations

import base64
import configparser
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from scripts.live_local import supervisor, tree
from scripts.live_local.certificates import write_private

ADMINISTRATOR = "administrator"
_ADMINISTRATOR_POLICY = "arn:aws:iam::aws:policy/AdministratorAccess"
_START_SECONDS = 120.0
_STOP_SECONDS = 150.0

# What a shell may have of another account, or of another way to it.
FOREIGN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)


class AccountsError(Exception):
    """What keeps the accounts from being there, in words that say what to do."""


class EmulatedAccounts:
    """The accounts dev, staging and prod in `directory`, each with an administrator.

    As a context manager they live as long as the block does, and end with this process even if it
    is killed. `start(detached=True)` leaves them running; `stop()` ends them, whoever started them.
    What they hold is kept in the directory, and there again after the next start.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        account_ids: Mapping[str, str] | None = None,
        regions: list[str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.directory = Path(directory).absolute()
        self.account_ids = dict(account_ids or tree.account_ids())
        self.region = tree.PRIMARY_REGION
        self._regions = regions or tree.regions()
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._proxy = ""

    def __enter__(self) -> EmulatedAccounts:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # --- life -----------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Of the process that is the emulated AWS, if it runs."""
        return supervisor.running(self.directory)

    @property
    def log(self) -> Path:
        return self.directory / "emulator.log"

    def start(self, *, detached: bool = False) -> None:
        """Start them if they do not run, and see to the administrators. Raises `AccountsError`."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.pid is None:
            self._say("starting the emulated accounts …")
            self._launch(detached=detached)
        try:
            self._await_endpoint()
            self._see_to_administrators()
        except BaseException:
            if self._process is not None and not detached:
                self.stop()
            raise

    def attach(self) -> bool:
        """Use those that run already; whether they do."""
        if self.pid is None:
            return False
        self._await_endpoint()
        return True

    def stop(self) -> None:
        """Stop them and wait until what they hold is saved."""
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            self._await_end(pid)
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()

    def _launch(self, *, detached: bool) -> None:
        (self.directory / "endpoint.json").unlink(missing_ok=True)
        alone = [] if detached else ["--with-parent"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "scripts.live_local.supervisor"),
                    str(self.directory),
                    *("--regions", *self._regions),
                    *alone,
                ],
                stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=supervisor.ROOT,
                start_new_session=True,
            )
        self.log.chmod(0o600)

    def _await_endpoint(self) -> None:
        ends = time.monotonic() + _START_SECONDS
        while time.monotonic() < ends:
            with suppress(OSError, ValueError, KeyError):
                told = json.loads((self.directory / "endpoint.json").read_text())
                if told["pid"] == self.pid:
                    self._proxy = str(told["proxy"])
                    return
            if self._process is not None and self._process.poll() is not None:
                raise AccountsError(f"the emulator ended at once:\n{self._log_tail()}")
            time.sleep(0.05)
        raise AccountsError(f"the emulator does not answer:\n{self._log_tail()}")

    def _await_end(self, pid: int) -> None:
        ends = time.monotonic() + _STOP_SECONDS
        while self.pid == pid:
            if time.monotonic() > ends:
                raise AccountsError(f"the emulator (process {pid}) does not stop; see {self.log}")
            time.sleep(0.05)

    def _log_tail(self) -> str:
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()[-15:]
            return "\n".join(f"  {line}" for line in lines)
        return "  (no log)"

    # --- how to reach them ----------------------------------------------------------------------

    @property
    def profiles(self) -> list[str]:
        return list(self.account_ids)

    @property
    def proxy(self) -> str:
        """The proxy's URL."""
        return self._proxy

    @property
    def certificate_authority(self) -> Path:
        return self.directory / "ca.pem"

    def environment(self, profile: str | None = None) -> dict[str, str]:
        """For child processes: to be merged into what `without_foreign` leaves of theirs."""
        authority = str(self.certificate_authority)
        found = {
            "HTTPS_PROXY": self._proxy,
            "https_proxy": self._proxy,  # many look at this one first
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "AWS_CA_BUNDLE": authority,
            "SSL_CERT_FILE": authority,
            "AWS_CONFIG_FILE": str(self.directory / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.directory / "credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "CHECKPOINT_DISABLE": "1",
        }
        return found if profile is None else found | {"AWS_PROFILE": self._known(profile)}

    def session(self, profile: str, region: str | None = None) -> boto3.Session:
        """One whose clients act as the administrator of that account."""
        stored = self._stored(self._known(profile))
        if stored is None:
            raise AccountsError(f"{profile} has no administrator yet: start the accounts first")
        return self.session_of(*stored, region=region)

    def session_of(
        self,
        access_key: str,
        secret_key: str,
        token: str | None = None,
        *,
        region: str | None = None,
    ) -> boto3.Session:
        """One with these credentials, through the proxy whatever the environment says."""
        core = botocore.session.Session()
        core.set_config_variable("ca_bundle", str(self.certificate_authority))
        core.set_config_variable("profile", None)
        core.set_config_variable("ignore_configured_endpoint_urls", True)
        core.set_config_variable("config_file", os.devnull)
        core.set_config_variable("credentials_file", os.devnull)
        core.set_default_client_config(
            Config(
                proxies={"https": self._proxy},
                retries={"total_max_attempts": 2},
                s3={"addressing_style": "virtual"},
            )
        )
        core.set_credentials(access_key, secret_key, token)
        return boto3.Session(botocore_session=core, region_name=region or self.region)

    def root(self, profile: str, region: str | None = None) -> boto3.Session:
        """The account's root, whom no policy binds. For preparing what a test needs, only."""
        return self.session_of(self.account_ids[self._known(profile)], "test", region=region)

    def assume(
        self, session: boto3.Session, role_arn: str, name: str = "test", **more: Any
    ) -> boto3.Session:
        """The role's session, as this caller gets it. Raises `ClientError` if refused."""
        got = session.client("sts").assume_role(RoleArn=role_arn, RoleSessionName=name, **more)
        return self._assumed(got["Credentials"], session.region_name)

    def assume_with_token(
        self, role_arn: str, claims: Mapping[str, Any], region: str | None = None
    ) -> boto3.Session:
        """The role's session for a web identity with these claims (`iss`, `aud`, `sub`, …)."""
        sts = self.session_of("unused", "unused", region=region).client(
            "sts", config=Config(signature_version=botocore.UNSIGNED)
        )
        got = sts.assume_role_with_web_identity(
            RoleArn=role_arn, RoleSessionName="test", WebIdentityToken=web_identity_token(claims)
        )
        return self._assumed(got["Credentials"], region)

    def _assumed(self, credentials: Any, region: str | None) -> boto3.Session:
        return self.session_of(
            credentials["AccessKeyId"],
            credentials["SecretAccessKey"],
            credentials["SessionToken"],
            region=region,
        )

    def _known(self, profile: str) -> str:
        if profile not in self.account_ids:
            raise AccountsError(
                f"no such account: {profile} (there are {', '.join(self.profiles)})"
            )
        return profile

    # --- administrators -------------------------------------------------------------------------

    def _see_to_administrators(self) -> None:
        keys = {profile: self._administrator(profile) for profile in self.profiles}
        credentials = configparser.ConfigParser()
        config = configparser.ConfigParser()
        for profile, (access_key, secret_key) in keys.items():
            credentials[profile] = {
                "aws_access_key_id": access_key,
                "aws_secret_access_key": secret_key,
            }
            config[f"profile {profile}"] = {"region": self.region, "output": "json"}
        _write_ini(self.directory / "credentials", credentials)
        _write_ini(self.directory / "config", config)

    def _administrator(self, profile: str) -> tuple[str, str]:
        stored = self._stored(profile)
        if stored is not None and self._acts_as(profile, stored):
            return stored
        self._say(f"making an administrator of {profile} ({self.account_ids[profile]}) …")
        iam = self.root(profile).client("iam")
        with suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_user(UserName=ADMINISTRATOR)
        iam.attach_user_policy(UserName=ADMINISTRATOR, PolicyArn=_ADMINISTRATOR_POLICY)
        for key in iam.list_access_keys(UserName=ADMINISTRATOR)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=ADMINISTRATOR, AccessKeyId=key["AccessKeyId"])
        made = iam.create_access_key(UserName=ADMINISTRATOR)["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def _acts_as(self, profile: str, stored: tuple[str, str]) -> bool:
        try:
            caller = self.session_of(*stored).client("sts").get_caller_identity()
        except ClientError:
            return False
        return bool(caller["Account"] == self.account_ids[profile])

    def _stored(self, profile: str) -> tuple[str, str] | None:
        credentials = configparser.ConfigParser()
        credentials.read(self.directory / "credentials")
        try:
            section = credentials[profile]
            return section["aws_access_key_id"], section["aws_secret_access_key"]
        except KeyError:
            return None


def without_foreign(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the credentials, endpoints and proxies that would win over the emulated ones."""
    return {
        name: value
        for name, value in environment.items()
        if name not in FOREIGN and not name.startswith("AWS_ENDPOINT_URL")
    }


def web_identity_token(claims: Mapping[str, Any]) -> str:
    """A token with these claims. Its signature is none: the emulator does not look at it."""
    now = int(time.time())
    filled = {"iat": now, "exp": now + 600, **claims}
    parts = [{"alg": "RS256", "typ": "JWT"}, filled]
    encoded = [_base64(json.dumps(part).encode()) for part in parts]
    return ".".join([*encoded, _base64(b"unsigned")])


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _write_ini(file: Path, content: configparser.ConfigParser) -> None:
    lines = []
    for section in content.sections():
        lines.append(f"[{section}]")
        lines += [f"{name} = {value}" for name, value in content[section].items()]
        lines.append("")
    write_private(file, "\n".join(lines).encode())
