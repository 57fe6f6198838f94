"""Which Kubernetes, add-ons and image of nodes an account runs, and what AWS says of them.

All stand in account.hcl. An image moves by one environment each week: dev takes AWS's newest, and
each other environment what the one before it has had since the last time.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.platform.accounts import Account
from scripts.platform.errors import PlatformError

# Days of standard support. Past its end EKS upgrades a cluster by itself, at a time of its choice.
WARN, REFUSE = 180, 60

# From the first to run a version to the last.
ORDER = ("dev", "staging", "prod")

_IMAGE = (
    "/aws/service/eks/optimized-ami/{}/amazon-linux-2023/{}/standard/recommended/release_version"
)
_RELEASE = re.compile(r'^(\s*release_version\s*=\s*)"([^"]*)"', re.MULTILINE)
_SHAPE = re.compile(r"1\.\d+\.\d+-\d{8}")


@dataclass(frozen=True)
class Support:
    """How long a version of Kubernetes is in standard support, in whole days from today."""

    version: str
    days: int
    ends: datetime.date

    @property
    def status(self) -> str:
        """`ok`, `warn`, or `wrong`: no cluster is to be made of it any more."""
        if self.days < REFUSE:
            return "wrong"
        return "warn" if self.days < WARN else "ok"


def support(version: str, answer: dict[str, Any], today: datetime.date) -> Support | None:
    """From what `DescribeClusterVersions` answers; None if EKS has no such version."""
    for found in answer["clusterVersions"]:
        if found["clusterVersion"] == version:
            ends = found["endOfStandardSupportDate"].astimezone(datetime.UTC).date()
            return Support(version, (ends - today).days, ends)
    return None


def absent(account: Account) -> list[str]:
    """Add-ons of account.hcl that EKS does not offer for its Kubernetes, with what it offers."""
    eks, kubernetes = account.client("eks"), account.values["kubernetes_version"]
    problems = []
    for name, version in account.values["addon_versions"].items():
        answer = eks.describe_addon_versions(addonName=name, kubernetesVersion=kubernetes)
        offered = [
            each["addonVersion"] for addon in answer["addons"] for each in addon["addonVersions"]
        ]
        if version not in offered:
            problems.append(f"{name} {version} (there is {', '.join(offered[:3]) or 'none'})")
    return problems


def newest_image(account: Account) -> str:
    """What AWS recommends for the account's Kubernetes and processor, as `1.36.4-20260917`."""
    processor = account.values["sizing"]["architecture"]
    name = _IMAGE.format(account.values["kubernetes_version"], processor)
    value = str(account.client("ssm").get_parameter(Name=name)["Parameter"]["Value"])
    if not _SHAPE.fullmatch(value):
        raise PlatformError(f"{name} is {value!r}, which is no release of an image")
    return value


def image_age(release: str, today: datetime.date) -> int:
    """Days since the image was made, which its name tells."""
    made = datetime.datetime.strptime(release.rpartition("-")[2], "%Y%m%d").date()
    return (today - made).days


def move_images(root: Path, newest: str) -> dict[str, str]:
    """Writes the newest image into dev's account.hcl, and into each other what the one before it
    has; one of another Kubernetes stays. Returns what changed, by environment."""
    if not _SHAPE.fullmatch(newest):
        raise PlatformError(f"{newest!r} is no release of an image, as in 1.36.4-20260917")
    files = {name: root / "live" / name / "account.hcl" for name in ORDER}
    had = {name: _release(file) for name, file in files.items()}
    moved = {}
    for name, release in zip(ORDER, (newest, *had.values()), strict=False):
        if _minor(release) == _minor(had[name]) and release != had[name]:
            text = files[name].read_text()
            files[name].write_text(_RELEASE.sub(rf'\g<1>"{release}"', text))
            moved[name] = release
    return moved


def _release(file: Path) -> str:
    found = _RELEASE.search(file.read_text())
    if found is None:
        raise PlatformError(f"{file} names no release_version")
    return found[2]


def _minor(release: str) -> str:
    return ".".join(release.split(".")[:2])
