"""What must be there before an apply, looked at one by one: what is wrong, and who can mend it."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from scripts.platform import state
from scripts.platform.accounts import Account, environments
from scripts.platform.errors import PlatformError
from scripts.platform.terragrunt import hcl_locals

# As the tree is published.
PLACEHOLDERS = {"111122223333", "222233334444", "333344445555"}
_PUBLISHED_GITHUB = {"owner": "example-org", "owner_id": "1000001", "repository_id": "2000002"}

_EDITOR = "whoever edits live/"
_OPERATOR = "you"
_ADMINISTRATOR = "the account's administrators"
_ORGANIZATION = "the organization's administrators"
_REPOSITORY = "the repository's administrators"

_VARIABLES = ("ACCOUNT", "REGION", "S3_BUCKET", "DYNAMODB_TABLE", "GIT_HUB_ROLE", "ENVIRONMENT")
_GH_VARIABLES = ("gh", "variable", "list", "--json", "name,value")


@dataclass(frozen=True)
class Finding:
    status: str  # ok, wrong, or unknown: it could not be looked at
    what: str
    who: str = ""

    def tell(self) -> str:
        mend = f" Can be mended by {self.who}." if self.who and self.status != "ok" else ""
        return f"{self.status:8} {self.what}{mend}"


def ok(what: str) -> Finding:
    return Finding("ok", what)


def wrong(what: str, who: str) -> Finding:
    return Finding("wrong", what, who)


def unknown(what: str, who: str) -> Finding:
    return Finding("unknown", what, who)


Check = Callable[[Account], Iterator[Finding]]


def checks(account: Account) -> Iterator[Finding]:
    """In an order in which the first that is wrong explains the rest."""
    yield from identity(account)
    if account.caller["account"] != account.id:
        return  # what another account has tells nothing
    for check in (
        placeholders,
        administrator,
        state_bucket,
        regions,
        networks,
        quotas,
        dns,
        github,
    ):
        try:
            yield from check(account)
        except (BotoCoreError, ClientError) as error:
            name = check.__name__.replace("_", " ")
            yield unknown(f"{name}: AWS does not tell: {error}.", _ADMINISTRATOR)


def identity(account: Account) -> Iterator[Finding]:
    caller = account.caller
    if caller["account"] == account.id:
        yield ok(f"this session is of {account.environment}'s account, {account.id}")
    else:
        yield wrong(
            f"this session is of account {caller['account']}, account.hcl says {account.id}: "
            f"export AWS_PROFILE={account.environment}, or correct account.hcl.",
            _OPERATOR,
        )


def placeholders(account: Account) -> Iterator[Finding]:
    # STS agreed: so these are accounts that somebody emulates under the published ids.
    if account.id in PLACEHOLDERS:
        yield ok(f"account.hcl has the published id {account.id}, and this session is of it")
    kept = [
        name
        for name, value in _PUBLISHED_GITHUB.items()
        if str(account.project["github"].get(name)) == value
    ]
    if kept:
        yield wrong(
            f"live/project.hcl: github.{', github.'.join(kept)} as published: workflows of "
            "your repository could assume no role.",
            _EDITOR,
        )
    others = {
        environment: str(
            hcl_locals(account.root / "live" / environment / "account.hcl")["account_id"]
        )
        for environment in environments(account.root)
    }
    twice = [
        name for name, id_ in others.items() if id_ == account.id and name != account.environment
    ]
    if twice:
        yield wrong(f"{', '.join(twice)} has the same account id.", _EDITOR)


def administrator(account: Account) -> Iterator[Finding]:
    arn = account.caller["arn"]
    if arn.endswith(":root"):
        yield wrong("this is the account's root: use a role instead.", _OPERATOR)
    elif _name(arn) == f"{account.project['name']}-{account.environment}-ci-apply":
        yield ok(f"this session is the apply role: {arn}")
    elif "AdministratorAccess" in _policies(account, arn):
        yield ok(f"this session is an administrator: {arn}")
    else:
        yield wrong(
            f"{arn} is neither an administrator nor the apply role: it can plan at most.",
            _ORGANIZATION,
        )


def _name(arn: str) -> str:
    """A user's, or that of the role behind a session."""
    parts = arn.rpartition(":")[2].split("/")
    return parts[1] if parts[0] == "assumed-role" else parts[-1]


def _policies(account: Account, arn: str) -> set[str]:
    iam, name = account.client("iam"), _name(arn)
    if ":assumed-role/" in arn:
        found = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        return {policy["PolicyName"] for policy in found}
    found = iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]
    for group in iam.list_groups_for_user(UserName=name)["Groups"]:
        found += iam.list_attached_group_policies(GroupName=group["GroupName"])["AttachedPolicies"]
    return {policy["PolicyName"] for policy in found}


def state_bucket(account: Account) -> Iterator[Finding]:
    bucket, problems = account.backend["bucket"], state.problems(account)
    if not account.backend.get("use_lockfile"):
        yield wrong("live/root.hcl: remote_state without use_lockfile = true.", _EDITOR)
    if problems is None:
        yield ok(f"state bucket {bucket} is not there yet; bring-up makes it")
    elif problems:
        yield wrong(f"state bucket {bucket}: {'; '.join(problems)}.", _ADMINISTRATOR)
    else:
        yield ok(f"state bucket {bucket} is versioned, encrypted and private")
        for lock in state.locks(account):
            yield unknown(f"{lock.tell(account)}\n        ", lock.who)


def regions(account: Account) -> Iterator[Finding]:
    ec2 = account.client("ec2")
    names = [str(region["name"]) for region in account.regions]
    answer = ec2.describe_regions(RegionNames=names, AllRegions=True)["Regions"]
    status = {region["RegionName"]: region.get("OptInStatus", "") for region in answer}
    for region in account.regions:
        name = str(region["name"])
        if status.get(name) not in ("opt-in-not-required", "opted-in"):
            yield wrong(f"region {name} is not enabled.", _ORGANIZATION)
            continue
        zones = account.client("ec2", name).describe_availability_zones()["AvailabilityZones"]
        absent = set(region["availability_zones"]) - {zone["ZoneName"] for zone in zones}
        if absent:
            yield wrong(f"{name} has no zone {', '.join(sorted(absent))}.", _EDITOR)
        else:
            yield ok(
                f"region {name} is enabled, with its {len(region['availability_zones'])} zones"
            )


def networks(account: Account) -> Iterator[Finding]:
    """Against the networks that are there, and against those of all accounts in the tree: they
    may be connected one day."""
    planned = {
        f"{file.parent.parent.name}/{file.parent.name}": _network(hcl_locals(file)["cidr"])
        for file in sorted(account.root.glob("live/*/*/region.hcl"))
    }
    for region in account.regions:
        place = f"{account.environment}/{region['name']}"
        mine = planned[place]
        clashes = [
            name for name, other in planned.items() if name != place and mine.overlaps(other)
        ]
        clashes += [
            f"{vpc['VpcId']} ({vpc['CidrBlock']})"
            for vpc in account.client("ec2", region["name"]).describe_vpcs()["Vpcs"]
            if not _ours(account, vpc) and mine.overlaps(_network(vpc["CidrBlock"]))
        ]
        if clashes:
            yield wrong(f"{place}: {mine} overlaps with {', '.join(clashes)}.", _EDITOR)
        else:
            yield ok(f"{place}: {mine} overlaps with no other network")


def _network(cidr: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(cidr)


def _ours(account: Account, vpc: dict[str, Any]) -> bool:
    tags = {tag["Key"]: tag["Value"] for tag in vpc.get("Tags", [])}
    return bool(tags.get("Project") == account.project["name"])


# Code, service, what it is, and how much of it one region's units take.
_VCPUS, _ADDRESSES, _VPCS = "L-1216C47A", "L-0263D0A3", "L-F678F1CE"
_VCPUS_OF = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32}


def quotas(account: Account) -> Iterator[Finding]:
    sizing = account.values["sizing"]
    for region in account.regions:
        name = str(region["name"])
        ec2 = account.client("ec2", name)
        vpcs = ec2.describe_vpcs()["Vpcs"]
        addresses = ec2.describe_addresses()["Addresses"]
        there = any(_ours(account, vpc) for vpc in vpcs)
        nats = len(region["availability_zones"]) if sizing["nat"] == "per_az" else 1
        cpus = sizing["nodes"]["max"] * _VCPUS_OF.get(sizing["nodes"]["size"], 0)
        wanted = [
            ("vpc", _VPCS, "VPCs", len(vpcs) + (not there)),
            ("ec2", _ADDRESSES, "elastic addresses", len(addresses) + (0 if there else nats)),
            ("ec2", _VCPUS, "vCPUs of standard on-demand instances", cpus),
        ]
        for service, code, what, needed in wanted:
            yield _quota(account, name, service, code, what, needed)


def _quota(
    account: Account, region: str, service: str, code: str, what: str, needed: int
) -> Finding:
    asked = f"{region}: {needed} {what} needed"
    try:
        client = account.client("service-quotas", region)
        answer = client.get_service_quota(ServiceCode=service, QuotaCode=code)
    except (BotoCoreError, ClientError) as error:
        return unknown(f"{asked}; the quota {code} is not told: {error}.", _ADMINISTRATOR)
    most = int(answer["Quota"]["Value"])
    if needed > most:
        return wrong(
            f"{asked}, the quota is {most}: ask for more: aws service-quotas "
            f"request-service-quota-increase --service-code {service} --quota-code {code} "
            f"--desired-value {needed} --region {region}.",
            _ADMINISTRATOR,
        )
    return ok(f"{asked}, {most} allowed")


def dns(account: Account) -> Iterator[Finding]:
    domain = account.values.get("domain")
    if not domain:
        yield ok("DNS: account.hcl names no domain, and no unit needs one yet")
        return
    answer = account.client("route53").list_hosted_zones_by_name(DNSName=domain)["HostedZones"]
    if any(zone["Name"] == f"{domain}." for zone in answer):
        yield ok(f"DNS: the zone {domain} is in this account")
    else:
        yield wrong(f"DNS: the zone {domain} is not in this account.", _ORGANIZATION)


def github(account: Account) -> Iterator[Finding]:
    """The environment's variables, where `gh` is here and signed in."""
    github = account.project["github"]
    repository = f"{github['owner']}/{github['repository']}"
    what = f"GitHub environment {account.environment} of {repository}"
    if shutil.which("gh") is None:
        yield unknown(f"{what}: needs `gh`, signed in.", _REPOSITORY)
        return
    try:
        found = _variables(repository, account.environment)
    except PlatformError as error:
        yield unknown(f"{what}: {error}.", _REPOSITORY)
        return
    absent = [name for name in _VARIABLES if name not in found]
    if absent:
        yield wrong(f"{what} lacks the variables {', '.join(absent)}.", _REPOSITORY)
    elif found["ACCOUNT"] != account.id:
        yield wrong(f"{what}: ACCOUNT is {found['ACCOUNT']}, not {account.id}.", _REPOSITORY)
    else:
        yield ok(f"{what} has its variables")


def _variables(repository: str, environment: str) -> dict[str, str]:
    done = subprocess.run(
        [*_GH_VARIABLES, "--repo", repository, "--env", environment],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode != 0:
        raise PlatformError(done.stderr.strip().splitlines()[0] if done.stderr else "gh failed")
    return {variable["name"]: variable["value"] for variable in json.loads(done.stdout)}
