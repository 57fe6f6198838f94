"""What is in the accounts, as the state files tell that Terraform keeps there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from scripts.live_local.accounts import EmulatedAccounts

# Outputs that a person wants to see: what one uses, not what one configures.
_TOLD = (
    "vpc_id",
    "cluster_name",
    "table_name",
    "bucket_name",
    "repository_urls",
    "role_arn",
    "plan_role_arn",
    "apply_role_arn",
    "push_role_arn",
)


@dataclass(frozen=True)
class Made:
    unit: str  # <region>/<name>
    resources: int
    told: list[str]


def of(accounts: EmulatedAccounts, profile: str) -> list[Made]:
    """Of the units that have a state; empty if there is none."""
    bucket = state_bucket(accounts, profile)
    if bucket is None:
        return []
    s3 = accounts.session(profile).client("s3")
    keys = [
        entry["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for entry in page.get("Contents", [])
        if entry["Key"].endswith("/terraform.tfstate")
    ]
    return [
        _made(key, json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
        for key in sorted(keys)
    ]


def state_bucket(accounts: EmulatedAccounts, profile: str) -> str | None:
    s3 = accounts.session(profile).client("s3")
    try:
        buckets = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    except ClientError:
        return None
    ending = f"-{profile}-{accounts.account_ids[profile]}-tfstate"
    return next((name for name in buckets if name.endswith(ending)), None)


def table(accounts: EmulatedAccounts) -> Iterator[str]:
    for profile in accounts.profiles:
        made = of(accounts, profile)
        count = sum(unit.resources for unit in made)
        yield f"{profile} ({accounts.account_ids[profile]}): {count} resource{'s'[: count != 1]}"
        width = max((len(unit.unit) for unit in made), default=0)
        for unit in made:
            first, *more = unit.told or [""]
            yield f"  {unit.unit:{width}}  {unit.resources:>3}  {first}".rstrip()
            for line in more:
                yield f"  {'':{width}}       {line}"
        yield ""


def _made(key: str, state: Any) -> Made:
    resources = sum(
        len(resource["instances"])
        for resource in state.get("resources", [])
        if resource["mode"] == "managed"
    )
    outputs = {name: output["value"] for name, output in state.get("outputs", {}).items()}
    told = [line for name in _TOLD if name in outputs for line in _tell(name, outputs[name])]
    return Made(key.removesuffix("/terraform.tfstate"), resources, told if resources else [])


def _tell(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (str(each) for each in value.values())
    elif value is not None:
        # An ARN and an id say themselves what they are.
        yield str(value) if str(value).startswith(("arn:", "vpc-")) else f"{name} {value}"
