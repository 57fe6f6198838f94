"""What `live/` says of itself: accounts, their ids, their regions and units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIVE = ROOT / "live"
PROFILES = ("dev", "staging", "prod")
PRIMARY_REGION = "eu-central-1"

# What stands in the tree as it is published.
_PUBLISHED = {"dev": "111122223333", "staging": "222233334444", "prod": "333344445555"}
_REGIONS = ("eu-central-1", "eu-west-1")

_ACCOUNT_ID = re.compile(r"""^\s*account_id\s*=\s*"(\d{12})"\s*(#.*)?$""", re.MULTILINE)
_DISPOSABLE = re.compile(r"^\s*disposable\s*=\s*true\b", re.MULTILINE)
_ROLE = re.compile(r'"arn:aws:iam::\d{12}:role(/(?:[\w+=,.@-]+/)*)([\w+=,.@-]+)"')


@dataclass(frozen=True)
class Unit:
    environment: str
    region: str
    name: str
    folder: Path


def account_ids(live: Path = LIVE) -> dict[str, str]:
    """By environment, from `live/<env>/account.hcl`; as published where there is none."""
    return {profile: _account_id(live, profile) for profile in PROFILES}


def regions(live: Path = LIVE) -> list[str]:
    """Those with a folder, those that are published, and the one of services without a region."""
    found = {file.parent.name for file in live.glob("*/*/region.hcl")}
    return sorted(found | set(_REGIONS) | {"us-east-1"})


def units(environment: str, live: Path = LIVE) -> list[Unit]:
    files = sorted((live / environment).glob("*/*/terragrunt.hcl"))
    return [Unit(environment, f.parents[1].name, f.parent.name, f.parent) for f in files]


def disposable(environment: str, live: Path = LIVE) -> bool:
    return bool(_DISPOSABLE.search(_account_file(live, environment)))


def operators(environment: str, live: Path = LIVE) -> list[tuple[str, str]]:
    """Path and name of each role that `account.hcl` expects to be there: `/` and `operator`."""
    return sorted(set(_ROLE.findall(_account_file(live, environment))))


def _account_id(live: Path, profile: str) -> str:
    found = _ACCOUNT_ID.search(_account_file(live, profile))
    return found.group(1) if found else _PUBLISHED[profile]


def _account_file(live: Path, environment: str) -> str:
    try:
        return (live / environment / "account.hcl").read_text()
    except OSError:
        return ""
