"""The settings of a registry as a whole: its policy, and where it replicates to.

They are kept, and no more: an image that is pushed is not replicated.
"""

from __future__ import annotations

import json
from typing import Any

from ministack.core.responses import (
    AccountRegionScopedDict,
    error_response_json,
    get_account_id,
    json_response,
)
from ministack.services import ecr

_PREFIX = "AmazonEC2ContainerRegistry_V20150921."
_settings: Any = AccountRegionScopedDict()  # "policy" and "replication"


def install() -> None:
    """Before what ministack itself answers, and among what it saves."""
    handle, get_state, load = ecr.handle_request, ecr.get_state, ecr.load_persisted_state

    async def handle_request(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Any:
        action = headers.get("x-amz-target", "").removeprefix(_PREFIX)
        added = _ACTIONS.get(action)
        if added is None:
            return await handle(method, path, headers, body, query)
        return added(json.loads(body or b"{}"))

    def state() -> Any:
        return get_state() | {"registry_settings": _settings}

    def restore(data: Any) -> None:
        load(data)
        _settings.update((data or {}).get("registry_settings", {}))

    ecr.handle_request, ecr.get_state, ecr.load_persisted_state = handle_request, state, restore


def _put_policy(asked: Any) -> Any:
    _settings["policy"] = asked["policyText"]
    return _policy()


def _get_policy(_asked: Any) -> Any:
    if "policy" not in _settings:
        return _no_policy()
    return _policy()


def _delete_policy(_asked: Any) -> Any:
    if "policy" not in _settings:
        return _no_policy()
    answer = _policy()
    del _settings["policy"]
    return answer


def _policy() -> Any:
    return json_response({"registryId": get_account_id(), "policyText": _settings["policy"]})


def _no_policy() -> Any:
    told = f"Registry policy does not exist in the registry with id '{get_account_id()}'"
    return error_response_json("RegistryPolicyNotFoundException", told, 400)


def _put_replication(asked: Any) -> Any:
    _settings["replication"] = asked["replicationConfiguration"]
    return json_response({"replicationConfiguration": _settings["replication"]})


def _describe(_asked: Any) -> Any:
    replication = _settings.get("replication") or {"rules": []}
    return json_response({"registryId": get_account_id(), "replicationConfiguration": replication})


_ACTIONS = {
    "PutRegistryPolicy": _put_policy,
    "GetRegistryPolicy": _get_policy,
    "DeleteRegistryPolicy": _delete_policy,
    "PutReplicationConfiguration": _put_replication,
    "DescribeRegistry": _describe,
}
