"""What a plan would do, read from Terraform's JSON: no values, only addresses and attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

# What is lost with a resource of these types. A table's replica goes by an update of the table.
STATEFUL = {
    "aws_backup_vault": "backups",
    "aws_cloudwatch_log_group": "logs",
    "aws_db_instance": "a database",
    "aws_dynamodb_global_table": "a table",
    "aws_dynamodb_table": "a table",
    "aws_dynamodb_table_item": "a table's item",
    "aws_dynamodb_table_replica": "a table's replica",
    "aws_ebs_volume": "a volume",
    "aws_ecr_repository": "images",
    "aws_efs_file_system": "files",
    "aws_eks_cluster": "a cluster, and all that runs on it",
    "aws_kms_key": "a key, and all that it encrypts",
    "aws_kms_replica_key": "a key, and all that it encrypts",
    "aws_rds_cluster": "a database",
    "aws_route53_zone": "a zone, and its delegation",
    "aws_s3_bucket": "a bucket",
    "aws_s3_object": "an object",
    "aws_secretsmanager_secret": "a secret",
    "aws_ssm_parameter": "a parameter",
}

# How long AWS may take to make or change what is slow, in minutes.
_SLOW = {
    "aws_dynamodb_table": 15,
    "aws_eks_addon": 10,
    "aws_eks_cluster": 30,
    "aws_eks_node_group": 30,
}
_ALL_ELSE = 10
_TYPE = re.compile(r"(?:^|\.)(aws_\w+)\.\w")

# What the boundary keeps for an administrator's session: modules/ci-identity/boundary.tf.
_KEPT = {
    "aws_dynamodb_resource_policy",
    "aws_ecr_registry_policy",
    "aws_ecr_repository_policy",
    "aws_kms_key_policy",
    "aws_s3_access_point",
    "aws_s3_bucket_acl",
    "aws_s3_bucket_policy",
    "aws_s3_bucket_replication_configuration",
}

# An attribute that protects data: what it is when it does.
_PROTECTIONS = {
    "deletion_protection": True,
    "deletion_protection_enabled": True,
    "enable_key_rotation": True,
    "force_delete": False,
    "force_destroy": False,
    "point_in_time_recovery.enabled": True,
    "versioning_configuration.status": "Enabled",
    "block_public_acls": True,
    "block_public_policy": True,
    "ignore_public_acls": True,
    "restrict_public_buckets": True,
}

# `mock-issuer`, `vpc-mock0001`: see `mocks` in live/here.hcl.
_MOCK = re.compile(r"(?<![A-Za-z0-9])mock(-|\d)")

_ACTIONS = {
    ("create",): "create",
    ("update",): "update",
    ("delete",): "destroy",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("forget",): "forget",
    ("no-op",): "import",  # only if it is one, else it is no change
}
ORDER = ("create", "import", "update", "replace", "destroy", "forget")


@dataclass(frozen=True)
class Change:
    address: str
    action: str
    attributes: list[str] = field(default_factory=list)  # the names of those that change


@dataclass(frozen=True)
class Loss:
    address: str
    why: str


@dataclass(frozen=True)
class Summary:
    """One unit's plan, in a form that may be shown to anybody who may read the repository."""

    changes: list[Change] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    weakened: list[Loss] = field(default_factory=list)
    mocks: list[str] = field(default_factory=list)  # where they are
    outputs: list[str] = field(default_factory=list)  # those that change
    complete: bool = True  # false: made with -target

    @property
    def empty(self) -> bool:
        return not self.changes and not self.outputs

    @property
    def minutes(self) -> int:
        """How long its apply may take: one after the other what is slow, and the rest beside it."""
        types = {found[1] for change in self.changes if (found := _TYPE.search(change.address))}
        return _ALL_ELSE + sum(_SLOW.get(type_, 0) for type_ in types)

    @property
    def kept(self) -> list[str]:
        """Addresses of what no role of CI may change, whatever else it may."""
        return [change.address for change in self.changes if _is_kept(change)]

    def counts(self) -> dict[str, int]:
        actions = [change.action for change in self.changes]
        return {action: actions.count(action) for action in ORDER if action in actions}

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "counts": self.counts()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Summary:
        return cls(
            [Change(**change) for change in stored["changes"]],
            [Loss(**loss) for loss in stored["losses"]],
            [Loss(**loss) for loss in stored["weakened"]],
            stored["mocks"],
            stored["outputs"],
            stored["complete"],
        )


def _is_kept(change: Change) -> bool:
    found = _TYPE.search(change.address)
    if found and found[1] == "aws_kms_key":
        return change.action in ("destroy", "replace") or "policy" in change.attributes
    return bool(found and found[1] in _KEPT)


def read(plan: dict[str, Any]) -> Summary:
    """`plan` is what `terraform show -json` says of a plan file."""
    managed = [each for each in plan.get("resource_changes", []) if each["mode"] == "managed"]
    return Summary(
        changes=[change for each in managed if (change := _change(each))],
        losses=[loss for each in managed for loss in _losses(each)],
        weakened=[loss for each in managed for loss in _weakened(each)],
        mocks=sorted(set(_mocks(plan, ""))),
        outputs=[
            name
            for name, change in plan.get("output_changes", {}).items()
            if change["actions"] != ["no-op"]
        ],
        complete=plan.get("complete", True),
    )


def _action(resource: dict[str, Any]) -> str | None:
    actions = tuple(resource["change"]["actions"])
    if actions in (("no-op",), ("read",)) and not resource["change"].get("importing"):
        return None
    # An action that is new to us is shown by Terraform's name for it.
    return _ACTIONS.get(actions, "+".join(actions))


def _change(resource: dict[str, Any]) -> Change | None:
    action = _action(resource)
    if action is None:
        return None
    changed = _changed(resource["change"]) if action in ("update", "replace") else []
    return Change(resource["address"], action, changed)


def _changed(change: dict[str, Any]) -> list[str]:
    before, after = change.get("before") or {}, change.get("after") or {}
    unknown = change.get("after_unknown") or {}
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(names | {name for name, value in unknown.items() if value is True})


def _losses(resource: dict[str, Any]) -> Iterator[Loss]:
    action, type_ = _action(resource), resource["type"]
    if action is None or action in ("create", "import"):
        return
    if action != "update" and type_ in STATEFUL:
        yield Loss(resource["address"], f"{action} loses {STATEFUL[type_]}")
    if action == "update" and type_ == "aws_dynamodb_table":
        gone = _replicas(resource["change"]["before"]) - _replicas(resource["change"]["after"])
        for region in sorted(gone):
            yield Loss(resource["address"], f"update loses the replica in {region}")


def _replicas(table: dict[str, Any]) -> set[str]:
    return {str(replica.get("region_name")) for replica in table.get("replica") or []}


def _weakened(resource: dict[str, Any]) -> Iterator[Loss]:
    if _action(resource) != "update":
        return
    change = resource["change"]
    for path, safe in _PROTECTIONS.items():
        if _at(change["before"], path) == safe and _at(change["after"], path) not in (safe, None):
            yield Loss(resource["address"], f"update takes away {path}")


def _at(values: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(values, list):
            values = values[0] if values else None
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _mocks(value: Any, path: str) -> Iterator[str]:
    """Where a stand-in for another unit's output is. Never what it is."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if _MOCK.search(name):
                yield f"{path}.{name}".lstrip(".")
            yield from _mocks(inner, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _mocks(inner, f"{path}[{position}]")
    elif isinstance(value, str) and _MOCK.search(value):
        yield path
