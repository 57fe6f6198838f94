"""A plan file: what Terraform will do when it is applied, and with which locks and provider.

The file is a zip. It holds the backend that an apply will use, so whether that locks is read from
the file itself, not from a configuration that may have changed since.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from scripts.platform.errors import PlatformError

# As `terragrunt run --all --out-dir D --json-out-dir D` lays them out, a folder for each unit.
PLAN = "tfplan.tfplan"
JSON = "tfplan.json"

_LOCKED = b"use_lockfile\xc3"  # MessagePack: the key, and true
_PROVIDER = re.compile(r'provider "registry\.terraform\.io/([^"]+)" \{\s+version += +"([^"]+)"')


def checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def locks_state(plan: Path) -> bool:
    """Whether applying this file takes the state's lock."""
    return _LOCKED in _part(plan, "tfplan")


def providers(plan: Path) -> dict[str, str]:
    return dict(_PROVIDER.findall(_part(plan, ".terraform.lock.hcl").decode()))


def content(json_file: Path) -> dict[str, Any]:
    return dict(json.loads(json_file.read_text()))


def _part(plan: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(plan) as archive:
            return archive.read(name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise PlatformError(f"{plan} is no plan file of Terraform: {error}") from error
