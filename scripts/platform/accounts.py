"""An account as `live/` describes it, and the session that may act in it."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.platform import terragrunt
from scripts.platform.errors import PlatformError, Refused

if TYPE_CHECKING:
    import boto3


# Where `AWS_CREDENTIAL_EXPIRATION` is not set: the output of GitHub's action, see apply.yml.
SESSION_ENDS = "STRONGROOM_SESSION_ENDS"


@dataclass(frozen=True)
class Account:
    """One environment's account: a folder in `live/`."""

    root: Path
    environment: str

    @classmethod
    def named(cls, root: Path, environment: str) -> Account:
        account = cls(root, environment)
        if not (account.folder / "account.hcl").is_file():
            known = ", ".join(environments(root)) or "none"
            raise PlatformError(f"live/{environment}/account.hcl is not there; known: {known}")
        return account

    @property
    def folder(self) -> Path:
        return self.root / "live" / self.environment

    @cached_property
    def values(self) -> dict[str, Any]:
        """What account.hcl says."""
        return terragrunt.hcl_locals(self.folder / "account.hcl")

    @cached_property
    def project(self) -> dict[str, Any]:
        return terragrunt.hcl_locals(self.root / "live" / "project.hcl")

    @cached_property
    def regions(self) -> list[dict[str, Any]]:
        files = sorted(self.folder.glob("*/region.hcl"))
        return [terragrunt.hcl_locals(file) for file in files]

    @property
    def id(self) -> str:
        return str(self.values["account_id"])

    @cached_property
    def units(self) -> dict[str, list[str]]:
        """Each unit's dependencies, in the order in which they can be applied."""
        return terragrunt.units(self.folder)

    @cached_property
    def backend(self) -> dict[str, Any]:
        """Where the state is: what root.hcl says, seen from the unit that depends on none."""
        return terragrunt.backend(self.folder / next(iter(self.units)))

    @cached_property
    def environ(self) -> dict[str, str]:
        """The variables for child processes: of the profile that bears the account's name, if the
        shell names none."""
        import boto3

        if os.environ.get("AWS_PROFILE") or os.environ.get("AWS_ACCESS_KEY_ID"):
            return dict(os.environ)
        if self.environment in boto3.Session().available_profiles:
            return {**os.environ, "AWS_PROFILE": self.environment}
        return dict(os.environ)

    @cached_property
    def session(self) -> boto3.Session:
        import boto3

        return boto3.Session(
            profile_name=self.environ.get("AWS_PROFILE"),
            region_name=str(self.values["primary_region"]),
        )

    def client(self, service: str, region: str | None = None) -> Any:
        from botocore.config import Config

        config = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 3})
        return self.session.client(service, region_name=region, config=config)  # type: ignore[call-overload]

    @property
    def session_ends(self) -> datetime.datetime | None:
        """When credentials end that nothing renews: those that the shell has in variables. None
        where nobody says so, and for a profile's, which every tool renews by itself."""
        told = os.environ.get(SESSION_ENDS) or os.environ.get("AWS_CREDENTIAL_EXPIRATION")
        if not told or self.environ.get("AWS_PROFILE"):
            return None
        try:
            ends = datetime.datetime.fromisoformat(told.strip('"'))  # GitHub's output has quotes
        except ValueError as error:
            raise PlatformError(f"{told!r} is no time at which a session ends: {error}") from error
        return ends if ends.tzinfo else ends.replace(tzinfo=datetime.UTC)

    @cached_property
    def caller(self) -> dict[str, str]:
        """Who we are, as AWS says."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self.client("sts").get_caller_identity()
        except (BotoCoreError, ClientError) as error:
            raise PlatformError(
                f"no session of {self.environment} ({error}): sign in, and name its profile: "
                f"export AWS_PROFILE={self.environment}"
            ) from error
        return {"account": answer["Account"], "arn": answer["Arn"]}

    def check_identity(self) -> str:
        """The caller's ARN; refuses a session of another account before anything runs."""
        caller = self.caller
        if caller["account"] != self.id:
            raise Refused(
                f"this session is of account {caller['account']} ({caller['arn']}), and "
                f"live/{self.environment}/account.hcl says {self.id}: "
                f"export AWS_PROFILE={self.environment}, or sign in to that account"
            )
        return caller["arn"]


def environments(root: Path) -> list[str]:
    return sorted(file.parent.name for file in root.glob("live/*/account.hcl"))


def repository() -> Path:
    """The repository that the command was called in."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "live" / "root.hcl").is_file():
            return folder
    raise PlatformError("no live/root.hcl here: run this from the root of the repository")
