"""What must be there before an apply, looked at one by one: what is wrong, and who can mend it."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from scripts.platform import github as github_api
from scripts.platform import state, versions
from scripts.platform.accounts import Account, environments
from scripts.platform.errors import PlatformError
from scripts.platform.github import Environment, GitHub
from scripts.platform.terragrunt import hcl_locals

# As the tree is published.
PLACEHOLDERS = {"111122223333", "222233334444", "333344445555"}
_PUBLISHED_GITHUB = {"owner": "example-org", "owner_id": "1000001", "repository_id": "2000002"}

_EDITOR = "whoever edits live/"
_OPERATOR = "you"
_ADMINISTRATOR = "the account's administrators"
_ORGANIZATION = "the organization's administrators"
_REPOSITORY = "the repository's administrators"

# Platforms for which `make providers-lock` writes checksums: CI's, and those of people's machines.
_PLATFORMS = 3
_OLD_IMAGE = 60  # days


@dataclass(frozen=True)
class Finding:
    status: str  # ok, warn (it will be wrong one day), wrong, unknown (it could not be looked at)
    what: str
    who: str = ""

    def tell(self) -> str:
        mend = f" Can be mended by {self.who}." if self.who and self.status != "ok" else ""
        return f"{self.status:8} {self.what}{mend}"


def ok(what: str) -> Finding:
    return Finding("ok", what)


def wrong(what: str, who: str) -> Finding:
    return Finding("wrong", what, who)


def warn(what: str, who: str) -> Finding:
    return Finding("warn", what, who)


def unknown(what: str, who: str) -> Finding:
    return Finding("unknown", what, who)


Check = Callable[[Account], Iterator[Finding]]


def checks(account: Account) -> Iterator[Finding]:
    """In an order in which the first that is wrong explains the rest. What only a later step of
    docs/runbooks/before-the-first-apply.md can give is asked for once that step was taken."""
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
        kubernetes,
        operators,
        provider,
        dns,
        github,
    ):
        try:
            yield from check(account)
        except (BotoCoreError, ClientError) as error:
            name = check.__name__.replace("_", " ")
            yield unknown(f"{name}: AWS does not tell: {error}.", _ADMINISTRATOR)
        except PlatformError as error:
            yield unknown(f"{check.__name__.replace('_', ' ')}: {error}.", _ADMINISTRATOR)


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
        if state.plans_expire(account):
            yield ok(f"state bucket {bucket}: plan files expire after {state.PLAN_DAYS} days")
        else:
            yield wrong(
                f"state bucket {bucket}: its plan files never expire, and hold values in clear: "
                f"python -m scripts.platform bring-up {account.environment} sees to it.",
                _ADMINISTRATOR,
            )
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
_ADDRESSES, _VPCS = "L-0263D0A3", "L-F678F1CE"
_VCPUS = {
    "ON_DEMAND": ("L-1216C47A", "vCPUs of standard on-demand instances"),
    "SPOT": ("L-34B43A08", "vCPUs of standard spot instances"),
}
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
        # While EKS gives nodes another image it adds up to two in each zone.
        most = sizing["nodes"]["max"] + 2 * len(region["availability_zones"])
        cpus = most * _VCPUS_OF.get(sizing["nodes"]["size"], 0)
        code, kind = _VCPUS[sizing["nodes"]["capacity_type"]]
        wanted = [
            ("vpc", _VPCS, "VPCs", len(vpcs) + (not there)),
            ("ec2", _ADDRESSES, "elastic addresses", len(addresses) + (0 if there else nats)),
            ("ec2", code, kind, cpus),
        ]
        for service, quota, what, needed in wanted:
            yield _quota(account, name, service, quota, what, needed)


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


def kubernetes(account: Account) -> Iterator[Finding]:
    version = account.values["kubernetes_version"]
    today = datetime.datetime.now(datetime.UTC).date()
    answer = account.client("eks").describe_cluster_versions()
    yield of_version(version, answer, today)
    problems = versions.absent(account)
    if problems:
        yield wrong(f"EKS {version} has no add-on {'; '.join(problems)}.", _EDITOR)
    else:
        yield ok(f"EKS {version} has all {len(account.values['addon_versions'])} add-ons")
    release, newest = account.values["release_version"], versions.newest_image(account)
    if release == newest:
        yield ok(f"nodes' image {release} is the newest")
    else:
        days = versions.image_age(release, today)
        told = f"nodes' image {release} is {days} days old, and {newest} is the newest."
        yield warn(told, _EDITOR) if days > _OLD_IMAGE else ok(told)


def of_version(version: str, answer: dict[str, Any], today: datetime.date) -> Finding:
    """`answer` is that of `DescribeClusterVersions`."""
    found = versions.support(version, answer, today)
    if found is None:
        known = sorted(each["clusterVersion"] for each in answer["clusterVersions"])
        return wrong(f"EKS has no {version}: there is {', '.join(known)}.", _EDITOR)
    told = f"EKS {version} is in standard support until {found.ends}: {found.days} days"
    newer = [
        other.version
        for each in answer["clusterVersions"]
        if (other := versions.support(each["clusterVersion"], answer, today))
        and other.days > max(found.days, versions.WARN)
    ]
    move = f" Move to {', '.join(sorted(newer))}, one at a time." if newer else ""
    if found.status == "wrong":
        least = versions.REFUSE
        return wrong(f"{told}, fewer than {least}: EKS would upgrade it by itself.{move}", _EDITOR)
    return warn(f"{told}.{move}", _EDITOR) if found.status == "warn" else ok(told)


def operators(account: Account) -> Iterator[Finding]:
    """EKS takes no access entry of a role that is not there, nor one without the role's path."""
    iam = account.client("iam")
    for arn in account.values["operators"]:
        name = arn.rpartition("/")[2]
        try:
            found = str(iam.get_role(RoleName=name)["Role"]["Arn"])
        except iam.exceptions.NoSuchEntityException:
            yield wrong(f"operators: there is no role {name}: EKS would refuse it.", _ORGANIZATION)
            continue
        if found == arn:
            yield ok(f"operators: {arn} is there")
        else:
            yield wrong(f"operators: {arn} must be {found}, with its path.", _EDITOR)


def provider(account: Account) -> Iterator[Finding]:
    modules = sorted(folder for folder in (account.root / "modules").iterdir() if folder.is_dir())
    without = [folder.name for folder in modules if not _locked(folder / ".terraform.lock.hcl")]
    if without:
        yield warn(
            f"no checksums of the provider for {', '.join(without)}: make providers-lock, where "
            "Terraform's registry can be reached, then commit them.",
            _EDITOR,
        )
    else:
        yield ok("the provider's checksums are committed for every module")


def _locked(file: Path) -> bool:
    return file.is_file() and file.read_text().count('"h1:') >= _PLATFORMS


# --- GitHub -------------------------------------------------------------------------------------


def github(account: Account) -> Iterator[Finding]:
    """Environments must be there, and protected, before there are roles that trust them: a job that
    names one that is not there makes it, and nothing protects it."""
    owner = account.project["github"]
    repository = f"{owner['owner']}/{owner['repository']}"
    try:
        asked = GitHub(repository)
        about = asked.about()
        yield from _repository(account, repository, about)
        for name, role in _environments(account).items():
            what = f"GitHub environment {name} of {repository}"
            found = asked.environment(name)
            if found is None:
                yield wrong(
                    f"{what} is not there: GitHub would make it, unprotected, for the first job "
                    "that names it.",
                    _REPOSITORY,
                )
                continue
            yield from _protection(account, what, role, found, str(about["default_branch"]))
            yield from _variables(account, what, name, found)
    except PlatformError as error:
        yield unknown(f"GitHub environments of {repository}: {error}.", _REPOSITORY)


def _environments(account: Account) -> dict[str, str]:
    """Each environment of GitHub's that is about this account, with the role that it is for."""
    found = {account.environment: "apply", f"{account.environment}-plan": "plan"}
    if account.environment == account.project["image_source"]:
        found["release"] = "push"
    return found


def _repository(account: Account, repository: str, about: dict[str, Any]) -> Iterator[Finding]:
    given = account.project["github"]
    ids = {"owner_id": str(about["owner"]["id"]), "repository_id": str(about["id"])}
    other = [f"{name} must be {id_}" for name, id_ in ids.items() if str(given[name]) != id_]
    if other:
        yield wrong(f"live/project.hcl: of {repository}, {' and '.join(other)}.", _EDITOR)
    elif about["default_branch"] != "main":
        yield wrong(
            f"{repository}: the default branch is {about['default_branch']}, and roles trust main.",
            _REPOSITORY,
        )
    else:
        yield ok(f"{repository} has the ids of live/project.hcl, and main")


def _protection(
    account: Account, what: str, role: str, found: Environment, branch: str
) -> Iterator[Finding]:
    if role == "plan":  # it reads alone, for pull requests too
        yield ok(f"{what} is there")
        return
    problems = []
    if found.branches is None:
        problems.append(f"jobs of any branch may use it: limit it to {branch}")
    elif found.branches != [branch]:
        named = ", ".join(found.branches) or "every protected branch"
        problems.append(f"it is for {named}: limit it to {branch}")
    approvers = account.values["approvers"] if role == "apply" else []
    lacking = [name for name in approvers if name not in found.reviewers]
    if lacking:
        problems.append(f"{', '.join(lacking)} must be its reviewers, as account.hcl says")
    others = [name for name in found.reviewers if approvers and name not in approvers]
    if others:
        problems.append(f"{', '.join(others)} may approve, whom account.hcl does not name")
    if problems:
        yield wrong(f"{what}: {'; '.join(problems)}.", _REPOSITORY)
    elif approvers and (found.self_review or found.bypass):
        weak = "who starts a job may approve it" if found.self_review else "administrators pass by"
        yield warn(f"{what} is protected, but {weak}.", _REPOSITORY)
    else:
        yield ok(f"{what} is protected")


def _variables(account: Account, what: str, name: str, found: Environment) -> Iterator[Finding]:
    wanted = expected_variables(account, name)
    if not _is_role(account, wanted["GIT_HUB_ROLE"]):
        yield ok(f"{what}: its variables come after bring-up, which makes the role of {name}")
        return
    general = {account.environment: "*", f"{account.environment}-plan": "*-plan"}.get(name, name)
    read = github_api.variables_read(account.root).get(general, set())
    absent = sorted((set(wanted) | read) - set(found.variables))
    other = [
        f"{variable} is {found.variables[variable]!r}, not {value!r}"
        for variable, value in wanted.items()
        if found.variables.get(variable, value) != value
    ]
    if absent:
        yield wrong(f"{what} lacks the variables {', '.join(absent)}.", _REPOSITORY)
    if other:
        yield wrong(f"{what}: {'; '.join(other)}.", _REPOSITORY)
    if not absent and not other:
        yield ok(f"{what} has its variables")


def expected_variables(account: Account, name: str) -> dict[str, str]:
    """Those variables of a GitHub environment whose values follow from the tree. Raises if no role
    of this account trusts it."""
    role = _environments(account).get(name)
    if role is None:
        known = ", ".join(_environments(account))
        raise PlatformError(f"no role of {account.environment} is for {name}; there are: {known}")
    project, environment = account.project["name"], account.environment
    region = str(account.values["primary_region"])
    found = {
        "ACCOUNT": account.id,
        "REGION": region,
        "GIT_HUB_ROLE": f"arn:aws:iam::{account.id}:role/{project}-{environment}-ci-{role}",
    }
    if role != "apply":
        return found
    return found | {
        "ENVIRONMENT": environment,
        "S3_BUCKET": f"{project}-{environment}-{account.id}-{region}",
        "DYNAMODB_TABLE": str(account.values["table_name"]),
    }


def _is_role(account: Account, arn: str) -> bool:
    iam = account.client("iam")
    try:
        iam.get_role(RoleName=arn.rpartition("/")[2])
    except iam.exceptions.NoSuchEntityException:
        return False
    return True
