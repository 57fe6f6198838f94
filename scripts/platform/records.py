"""What is known of a plan: the record that is reviewed, and that apply holds to.

A record's id is the commit and the record's own checksum: who has read the one has read the other,
and the record has the checksums of the plan files. So an id names exactly what will be done.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from scripts.platform import changes, planfiles
from scripts.platform.accounts import Account
from scripts.platform.changes import Summary
from scripts.platform.errors import PlatformError, Refused
from scripts.platform.state import PLANS, RECORDS

RECORD = "record.json"
APPLYING = "applying.json"  # who began, when, and in which run
APPLIED = "applied.json"  # who ended, and how
_SHORT = 12


@dataclass(frozen=True)
class UnitPlan:
    unit: str
    needs: list[str]  # the units whose outputs it is made from
    summary: Summary
    plan_sha256: str
    json_sha256: str
    locks: bool
    terraform: str
    providers: dict[str, str]

    @classmethod
    def read(cls, unit: str, needs: list[str], folder: Path) -> UnitPlan:
        """From the two files that Terragrunt left there."""
        plan, json_file = folder / planfiles.PLAN, folder / planfiles.JSON
        said = planfiles.content(json_file)
        return cls(
            unit,
            needs,
            changes.read(said),
            planfiles.checksum(plan),
            planfiles.checksum(json_file),
            planfiles.locks_state(plan),
            said["terraform_version"],
            planfiles.providers(plan),
        )


@dataclass(frozen=True)
class Record:
    environment: str
    account: str
    commit: str
    clean: bool
    created: str
    planned_by: str
    terragrunt: str
    units: list[UnitPlan]
    waiting: dict[str, list[str]] = field(default_factory=dict)  # for units that are not there
    failed: list[str] = field(default_factory=list)
    allow_destroy: list[str] = field(default_factory=list)

    def content(self) -> bytes:
        values = asdict(self)
        for stored, unit in zip(values["units"], self.units, strict=True):
            stored["summary"] = unit.summary.as_json()
        return (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()

    @classmethod
    def from_content(cls, content: bytes) -> Record:
        values = json.loads(content)
        values["units"] = [
            UnitPlan(**{**unit, "summary": Summary.from_json(unit["summary"])})
            for unit in values["units"]
        ]
        return cls(**values)

    @property
    def id(self) -> str:
        return f"{self.commit[:_SHORT]}-{hashlib.sha256(self.content()).hexdigest()[:_SHORT]}"

    @property
    def age(self) -> datetime.timedelta:
        return now() - datetime.datetime.fromisoformat(self.created)

    def unit(self, name: str) -> UnitPlan | None:
        return next((unit for unit in self.units if unit.unit == name), None)

    @property
    def held(self) -> dict[str, list[str]]:
        """Units that are planned from outputs that this very plan changes, with those whose they
        are. What they would do is known only when these are applied: another plan's business."""
        held = dict(self.waiting)
        for unit in self.units:
            changing = [need for need in unit.needs if need in held or self._changes(need)]
            if changing:
                held[unit.unit] = changing
        return held

    def _changes(self, name: str) -> bool:
        unit = self.unit(name)
        return unit is not None and bool(unit.summary.outputs)

    @property
    def applicable(self) -> list[UnitPlan]:
        """Units that an apply of this plan changes."""
        held = self.held
        return [unit for unit in self.units if not unit.summary.empty and unit.unit not in held]


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


class Store:
    """Where plans are: below .dev/plans/ here, and in the account's state bucket: what holds values
    below plans/, which expires, and what tells of it below records/, which stays."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.folder = account.root / ".dev" / "plans" / account.environment

    # --- here -------------------------------------------------------------------------------

    def keep(self, record: Record, files: Path) -> Path:
        """Move the plan files to where the record's id leads to. They hold values in clear."""
        (files / RECORD).write_bytes(record.content())
        kept = self.folder / record.id
        shutil.rmtree(kept, ignore_errors=True)
        files.rename(kept)
        return kept

    def newest(self) -> str:
        """The id of the plan that was made last."""
        found = sorted(self.folder.glob(f"*/{RECORD}"), key=lambda file: file.stat().st_mtime)
        if not found:
            env = self._account.environment
            raise PlatformError(f"no plan of {env} here: python -m scripts.platform plan {env}")
        return found[-1].parent.name

    def note(self, record: Record, name: str, content: bytes) -> None:
        """Beside the plan, here and in the bucket."""
        here = self.folder / record.id
        here.mkdir(mode=0o700, parents=True, exist_ok=True)
        (here / RECORD).write_bytes(record.content())
        (here / name).write_bytes(content)
        self._put(record.id, name, content)

    def forget_files(self, id_: str) -> None:
        """Leave the record alone: what is applied needs no more plan files here."""
        for name in (planfiles.PLAN, planfiles.JSON):
            for file in (self.folder / id_).rglob(name):
                file.unlink()

    # --- in the bucket ----------------------------------------------------------------------

    @property
    def _s3(self) -> Any:
        return self._account.client("s3", self._account.backend["region"])

    def _folder(self, id_: str) -> str:
        commit, _, digest = id_.partition("-")
        if len(commit) != _SHORT or len(digest) != _SHORT:
            raise PlatformError(f"{id_!r} is no plan's id; `plan` prints it, and `show` does")
        return f"{commit}/{digest}/"

    def _key(self, id_: str, name: str) -> str:
        kept = name in (RECORD, APPLYING, APPLIED)
        return f"{RECORDS if kept else PLANS}{self._folder(id_)}{name}"

    def upload(self, id_: str) -> str | None:
        """Store it in the bucket too; if that is refused, why."""
        kept = self.folder / id_
        try:
            for file in sorted(path for path in kept.rglob("*") if path.is_file()):
                self._put(id_, file.relative_to(kept).as_posix(), file.read_bytes())
        except ClientError as error:
            return str(error)
        return None

    def _put(self, id_: str, name: str, content: bytes) -> None:
        self._s3.put_object(
            Bucket=self._account.backend["bucket"],
            Key=self._key(id_, name),
            Body=content,
            ServerSideEncryption="AES256",
        )

    def _stored(self, id_: str) -> Iterator[tuple[str, bytes]]:
        bucket = self._account.backend["bucket"]
        listing = self._s3.get_paginator("list_objects_v2")
        for prefix in (RECORDS + self._folder(id_), PLANS + self._folder(id_)):
            for page in listing.paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Contents", []):
                    answer = self._s3.get_object(Bucket=bucket, Key=found["Key"])
                    yield found["Key"].removeprefix(prefix), answer["Body"].read()

    # --- both -------------------------------------------------------------------------------

    def fetch(self, id_: str, target: Path) -> Record:
        """The record and its files, from here or else from the bucket, in a folder of our own:
        nobody changes them between the check and the apply."""
        here = self.folder / id_
        if (here / RECORD).is_file():
            shutil.copytree(here, target, dirs_exist_ok=True)
        else:
            for name, content in self._stored(id_):
                if ".." in Path(name).parts:
                    raise Refused(f"{id_} in the bucket has a file named {name}")
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).write_bytes(content)
        return self._verified(id_, target)

    def record(self, id_: str) -> Record:
        """The record alone, to be shown."""
        here = self.folder / id_ / RECORD
        if here.is_file():
            return _checked(id_, here.read_bytes(), str(here))
        for name, content in self._stored(id_):
            if name == RECORD:
                return _checked(id_, content, "the bucket's")
        raise PlatformError(self._nowhere(id_))

    def _verified(self, id_: str, folder: Path) -> Record:
        if not (folder / RECORD).is_file():
            raise PlatformError(self._nowhere(id_))
        return _checked(id_, (folder / RECORD).read_bytes(), str(self.folder / id_ / RECORD))

    def _nowhere(self, id_: str) -> str:
        return f"no plan {id_}: neither in {self.folder} nor in {self._account.backend['bucket']}"


def _checked(id_: str, content: bytes, place: str) -> Record:
    """An id ends with the checksum of its record."""
    if hashlib.sha256(content).hexdigest()[:_SHORT] != id_.partition("-")[2]:
        raise Refused(f"{place} was altered since it was reviewed: plan and review again")
    return Record.from_content(content)
