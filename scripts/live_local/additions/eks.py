"""What a cluster and its node groups are given, changes of it, deletion protection, the issuer; and
which versions of Kubernetes, add-ons and images there are, and until when."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import ec2, eks, iam, ssm

_OF_CLUSTER = ("upgradePolicy", "zonalShiftConfig", "deletionProtection")
_OF_NODES = ("updateConfig", "nodeRepairConfig", "launchTemplate")

_NAME = "([A-Za-z0-9_-]+)"

# Days of standard support that are left. AWS has dates; here a version never grows old, so that
# what is said of it is the same each day.
_DAYS_LEFT = {"1.37": 330, "1.36": 240, "1.35": 120, "1.34": 30, "1.33": -120}
_DEFAULT = "1.36"
_DAY = 24 * 3600

# Of the add-ons that modules/cluster installs, some versions, with the Kubernetes that takes them.
_ALL = tuple(_DAYS_LEFT)
_ADDONS: dict[str, dict[str, tuple[str, ...]]] = {
    "coredns": {
        "v1.14.3-eksbuild.23": ("1.36",),
        "v1.13.2-eksbuild.31": ("1.35",),
        "v1.12.4-eksbuild.1": ("1.33", "1.34"),
    },
    "kube-proxy": {
        "v1.36.0-eksbuild.25": ("1.36",),
        "v1.35.3-eksbuild.29": ("1.35",),
        "v1.34.1-eksbuild.2": ("1.34",),
        "v1.33.8-eksbuild.2": ("1.33",),
    },
    "metrics-server": {"v0.9.0-eksbuild.11": _ALL, "v0.8.0-eksbuild.3": _ALL},
    "vpc-cni": {"v1.22.4-eksbuild.3": _ALL, "v1.20.4-eksbuild.2": _ALL},
}
# The newest image of a node, as AWS publishes it.
_IMAGES = {"1.36": "1.36.4-20260917", "1.35": "1.35.8-20260917", "1.34": "1.34.2-20260107"}
_IMAGE = (
    "/aws/service/eks/optimized-ami/{}/amazon-linux-2023/{}/standard/recommended/release_version"
)


def install() -> None:
    # Its own names the port on which it listens, which changes.
    eks._ministack_issuer_base = _issuers
    create_cluster, create_nodes = eks._create_cluster, eks._create_nodegroup
    delete_cluster, answer = eks._delete_cluster, eks._handle_request_sync
    create_addon, create_entry = eks._create_addon, eks._create_access_entry
    for kubernetes, release in _IMAGES.items():
        for processor in ("x86_64", "arm64"):
            ssm._PUBLIC_AMI_PARAMETERS[_IMAGE.format(kubernetes, processor)] = release

    def create(asked: Any, creator: str | None = None) -> Any:
        asked = {"version": _DEFAULT} | asked
        if asked["version"] not in _DAYS_LEFT:
            return _invalid(f"unsupported Kubernetes version {asked['version']}")
        made = create_cluster(asked, creator)
        return _remember(made, "cluster", eks._clusters, asked.get("name"), asked, _OF_CLUSTER)

    def create_group(cluster: str, asked: Any) -> Any:
        made = create_nodes(cluster, asked)
        key = f"{cluster}/{asked.get('nodegroupName')}"
        return _remember(made, "nodegroup", eks._nodegroups, key, asked, _OF_NODES)

    def install_addon(cluster: str, asked: Any) -> Any:
        name, version = asked.get("addonName"), asked.get("addonVersion")
        kubernetes = (eks._clusters.get(cluster) or {}).get("version")
        if version and kubernetes not in _ADDONS.get(name, {}).get(version, ()):
            return _invalid(f"Addon version specified is not supported: {name} {version}")
        return create_addon(cluster, asked)

    def let_in(cluster: str, asked: Any) -> Any:
        if not _is_principal(str(asked.get("principalArn"))):
            return _invalid("The specified principalArn is invalid: invalid principal.")
        return create_entry(cluster, asked)

    def delete(name: str) -> Any:
        if (eks._clusters.get(name) or {}).get("deletionProtection"):
            told = f"Cluster {name} has deletion protection enabled: disable it first."
            return eks._error(400, "InvalidRequestException", told)
        return delete_cluster(name)

    def handle(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        for pattern, wanted, change in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == wanted:
                return change(*found.groups(), json.loads(body or b"{}"))
        if method == "GET" and path in _ASKED:
            return eks._json_resp(200, _ASKED[path](query))
        return answer(method, path, headers, body, query)

    eks._create_cluster, eks._create_nodegroup = create, create_group
    eks._delete_cluster, eks._handle_request_sync = delete, handle
    eks._create_addon, eks._create_access_entry = install_addon, let_in


def _issuers() -> str:
    return f"https://oidc.eks.{get_region()}.amazonaws.com"


def _invalid(told: str) -> Any:
    return eks._error(400, "InvalidParameterException", told)


def _is_principal(arn: str) -> bool:
    """Whether there is this role or user, by its whole ARN: with its path."""
    store = iam._roles if ":role/" in arn else iam._users
    found = store.get_scoped(get_account_id(), None, arn.rpartition("/")[2])
    return bool(found and found["Arn"] == arn)


# --- what there is ------------------------------------------------------------------------------


def _cluster_versions(query: Mapping[str, Any]) -> dict[str, Any]:
    asked, now = query.get("clusterVersions") or _ALL, time.time()
    return {
        "clusterVersions": [
            {
                "clusterVersion": version,
                "clusterType": "eks",
                "endOfStandardSupportDate": now + days * _DAY,
                "endOfExtendedSupportDate": now + (days + 365) * _DAY,
                "versionStatus": "STANDARD_SUPPORT" if days > 0 else "EXTENDED_SUPPORT",
            }
            for version, days in _DAYS_LEFT.items()
            if version in asked
        ]
    }


def _addon_versions(query: Mapping[str, Any]) -> dict[str, Any]:
    addon, kubernetes = eks._qp(query, "addonName"), eks._qp(query, "kubernetesVersion")
    return {
        "addons": [
            {
                "addonName": name,
                "addonVersions": [
                    {
                        "addonVersion": version,
                        "compatibilities": [{"clusterVersion": each} for each in taken],
                    }
                    for version, taken in versions.items()
                    if kubernetes in ("", *taken)
                ],
            }
            for name, versions in _ADDONS.items()
            if addon in ("", name)
        ]
    }


_ASKED = {"/cluster-versions": _cluster_versions, "/addons/supported-versions": _addon_versions}


def _remember(
    made: Any, kind: str, store: Any, key: Any, asked: Any, fields: tuple[str, ...]
) -> Any:
    status, headers, body = made
    if status != 200:
        return made
    record = store[key]
    record |= {name: _completed(name, asked[name]) for name in fields if name in asked}
    told = json.loads(body) | {kind: eks._sanitize(record)}
    return status, headers, json.dumps(told).encode()


def _completed(name: str, value: Any) -> Any:
    """A launch template is given by its id or its name, and told by both."""
    if name != "launchTemplate":
        return value
    for template in ec2._launch_templates.values():
        if value.get("id") == template["LaunchTemplateId"] or (
            value.get("name") == template["LaunchTemplateName"]
        ):
            return value | {
                "id": template["LaunchTemplateId"],
                "name": template["LaunchTemplateName"],
            }
    return value


# --- changes, each done at once -----------------------------------------------------------------


def _update_cluster(name: str, asked: Any) -> Any:
    cluster = eks._clusters.get(name)
    if cluster is None:
        return eks._error(404, "ResourceNotFoundException", f"No cluster found for name: {name}.")
    for field in (*_OF_CLUSTER, "logging", "version"):
        if field in asked:
            cluster[field] = asked[field]
    for field in ("resourcesVpcConfig", "accessConfig"):
        cluster[field] = cluster[field] | asked.get(field, {})
    return _update()


def _update_nodes(cluster: str, name: str, asked: Any) -> Any:
    nodes = eks._nodegroups.get(f"{cluster}/{name}")
    if nodes is None:
        told = f"No node group found for name: {name}."
        return eks._error(404, "ResourceNotFoundException", told)
    for field in (*_OF_NODES, "scalingConfig", "version", "releaseVersion"):
        if field in asked:
            nodes[field] = _completed(field, asked[field])
    labels = asked.get("labels", {})
    kept = {k: v for k, v in nodes["labels"].items() if k not in labels.get("removeLabels", [])}
    nodes["labels"] = kept | labels.get("addOrUpdateLabels", {})
    return _update()


def _describe_update(_name: str, id_: str, _asked: Any) -> Any:
    return _update(id_)


def _update(id_: str | None = None) -> Any:
    told = {
        "id": id_ or str(uuid.uuid4()),
        "status": "Successful",
        "type": "ConfigUpdate",
        "params": [],
        "createdAt": time.time(),
        "errors": [],
    }
    return eks._json_resp(200, {"update": told})


_ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    (f"/clusters/{_NAME}/update-config", "POST", _update_cluster),
    (f"/clusters/{_NAME}/updates", "POST", _update_cluster),
    (f"/clusters/{_NAME}/updates/([A-Za-z0-9-]+)", "GET", _describe_update),
    (f"/clusters/{_NAME}/node-groups/{_NAME}/update-config", "POST", _update_nodes),
    (f"/clusters/{_NAME}/node-groups/{_NAME}/update-version", "POST", _update_nodes),
)
