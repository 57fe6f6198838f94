"""What a cluster and its node groups are given, changes of it, deletion protection, the issuer."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from ministack.core.responses import get_region
from ministack.services import ec2, eks

_OF_CLUSTER = ("upgradePolicy", "zonalShiftConfig", "deletionProtection")
_OF_NODES = ("updateConfig", "nodeRepairConfig", "launchTemplate")

_NAME = "([A-Za-z0-9_-]+)"


def install() -> None:
    # Its own names the port on which it listens, which changes.
    eks._ministack_issuer_base = _issuers
    create_cluster, create_nodes = eks._create_cluster, eks._create_nodegroup
    delete_cluster, answer = eks._delete_cluster, eks._handle_request_sync

    def create(asked: Any, creator: str | None = None) -> Any:
        made = create_cluster(asked, creator)
        return _remember(made, "cluster", eks._clusters, asked.get("name"), asked, _OF_CLUSTER)

    def create_group(cluster: str, asked: Any) -> Any:
        made = create_nodes(cluster, asked)
        key = f"{cluster}/{asked.get('nodegroupName')}"
        return _remember(made, "nodegroup", eks._nodegroups, key, asked, _OF_NODES)

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
        return answer(method, path, headers, body, query)

    eks._create_cluster, eks._create_nodegroup = create, create_group
    eks._delete_cluster, eks._handle_request_sync = delete, handle


def _issuers() -> str:
    return f"https://oidc.eks.{get_region()}.amazonaws.com"


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
