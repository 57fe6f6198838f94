"""The service as a pod runs it: on what the modules made, with the role that they gave it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import urllib3

from scripts.live_local.accounts import EmulatedAccounts, web_identity_token, without_foreign
from tests.support import service
from tests.support.engines import free_port
from tests.support.iam import listed
from tests.support.service import ROOT, Service
from tests.support.terraform import Terraform

NAMESPACE = "strongroom"
SERVICE_ACCOUNT = "api"
ISSUER = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF"
SUBJECT = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"
CLAIMS = {"iss": f"https://{ISSUER}", "aud": "sts.amazonaws.com", "sub": SUBJECT}


@dataclass
class Workload:
    """`place` is what document-store puts out for the region; `identity`, workload-identity."""

    accounts: EmulatedAccounts
    profile: str
    region: str
    place: dict[str, Any]
    identity: dict[str, Any]
    directory: Path
    policy: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.policy = json.loads(self.identity["policy"])

    @property
    def role_arn(self) -> str:
        return str(self.identity["role_arn"])

    def environment(self) -> dict[str, str]:
        """What a pod is given, and no other credentials: those of the role must be found."""
        token = self.directory / "token"
        token.write_text(web_identity_token(CLAIMS | {"exp": 2**31}))
        kept = {k: v for k, v in without_foreign(os.environ).items() if not k.startswith("AWS_")}
        reached = self.accounts.environment()
        return {
            **kept,
            **{name: reached[name] for name in ("HTTPS_PROXY", "NO_PROXY", "AWS_CA_BUNDLE")},
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": self.region,
            "AWS_ROLE_ARN": self.role_arn,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "DYNAMODB_TABLE": self.place["table_name"],
            "S3_BUCKET": self.place["bucket_name"],
            "HOST": "127.0.0.1",
            "PORT": str(free_port()),
            "UPLOAD_PART_BYTES": str(5 * 1024 * 1024),
            "SHUTDOWN_GRACE_SECONDS": "0",
        }

    def session(self) -> boto3.Session:
        """One that acts as the role."""
        return self.accounts.assume_with_token(self.role_arn, CLAIMS, region=self.region)

    def administrator(self) -> boto3.Session:
        return self.accounts.session(self.profile, self.region)

    @contextmanager
    def without(self, sid: str, action: str) -> Iterator[None]:
        """The role as it is but for one permission."""
        with self.stored(minus(self.policy, sid, action)):
            yield

    @contextmanager
    def stored(self, policy: dict[str, Any]) -> Iterator[None]:
        iam = self.administrator().client("iam")
        name = self.identity["role_name"]
        (policy_name,) = iam.list_role_policies(RoleName=name)["PolicyNames"]

        def store(document: dict[str, Any]) -> None:
            iam.put_role_policy(
                RoleName=name, PolicyName=policy_name, PolicyDocument=json.dumps(document)
            )

        store(policy)
        try:
            yield
        finally:
            store(self.policy)

    @contextmanager
    def administering(self) -> Iterator[None]:
        """The role with every permission that another policy can give."""
        iam = self.administrator().client("iam")
        attached = {
            "RoleName": self.identity["role_name"],
            "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess",
        }
        iam.attach_role_policy(**attached)
        try:
            yield
        finally:
            iam.detach_role_policy(**attached)

    @contextmanager
    def serving(self, key: str = "") -> Iterator[Running]:
        environment = self.environment()
        made = key or service.new_key(environment, "acme")
        log = self.directory / "service.log"
        with service.start(environment, (made, "", ""), log) as process:
            yield Running(self, process, environment)


@dataclass
class Running:
    """A service process, and its command line with the same role."""

    workload: Workload
    service: Service
    environment: dict[str, str]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def sweep(self) -> tuple[int, dict[str, int]]:
        done = self.command("sweep", "--json")
        return done.returncode, json.loads(done.stdout or "{}")

    def expired(self) -> str:
        """A document whose time is just up."""
        ends = int(time.time()) + 4
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
        made = self.service.create(b"soon gone", Document_Expires=moment)
        time.sleep(max(0.0, ends - time.time()) + 0.1)
        return str(made["id"])

    def fetch(self, url: str) -> bytes:
        """As a client does that was sent to S3, with no credentials but those in the URL."""
        accounts = self.workload.accounts
        pool = urllib3.ProxyManager(accounts.proxy, ca_certs=str(accounts.certificate_authority))
        answer = pool.request("GET", url, retries=False)
        assert answer.status == 200, answer.data
        return bytes(answer.data)


def permissions(policy: dict[str, Any]) -> list[tuple[str, str]]:
    """Each permission by its statement and action."""
    return [
        (statement["Sid"], action)
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
    ]


def minus(policy: dict[str, Any], sid: str, action: str) -> dict[str, Any]:
    rest = deepcopy(policy)
    (statement,) = [s for s in rest["Statement"] if s["Sid"] == sid]
    statement["Action"] = [other for other in listed(statement["Action"]) if other != action]
    assert len(statement["Action"]) == len(listed(statement_of(policy, sid)["Action"])) - 1
    if not statement["Action"]:
        rest["Statement"].remove(statement)
    return rest


def statement_of(policy: dict[str, Any], sid: str) -> dict[str, Any]:
    (statement,) = [s for s in policy["Statement"] if s["Sid"] == sid]
    found: dict[str, Any] = statement
    return found


def drift(applied: Terraform) -> set[str]:
    """What a second plan would change, as `resource attribute`; nested ones by their path."""
    applied.run("plan", "-input=false", "-no-color", "-out=plan.bin")
    plan = json.loads(applied.run("show", "-json", "plan.bin").stdout)
    found = set()
    for change in plan.get("resource_changes", []):
        actions, before, after = (change["change"][k] for k in ("actions", "before", "after"))
        if actions not in (["no-op"], ["read"]):
            unknown = change["change"]["after_unknown"]
            differing = _differing(before, after, unknown) or {"(whole)"}
            found |= {f"{change['address']} {path}" for path in differing}
    return found


def _differing(before: Any, after: Any, unknown: Any, path: str = "") -> set[str]:
    if unknown is True or before == after:
        return set()  # what is known only afterwards follows from what differs
    if isinstance(before, dict) and isinstance(after, dict):
        return set().union(
            *(
                _differing(
                    before.get(name),
                    after.get(name),
                    unknown.get(name) if isinstance(unknown, dict) else None,
                    f"{path}.{name}" if path else name,
                )
                for name in before.keys() | after.keys()
            )
        )
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        unknowns = unknown if isinstance(unknown, list) else []
        return set().union(
            *(
                _differing(one, other, unknowns[i] if i < len(unknowns) else None, path)
                for i, (one, other) in enumerate(zip(before, after, strict=True))
            )
        )
    return {path}
