"""What IAM knows of a request: boundaries as a condition, who a session's role is, which claims of
GitHub's it compares, and that an OIDC provider is registered.

A token's signature is not looked at: nobody here can reach its issuer's keys, and tests write
tokens of their own.
"""

from __future__ import annotations

import time
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.services import cognito, iam, sts

_KEY = "iam:PermissionsBoundary"
# The boundary that the request gives, or else that which the role or user has.
_GIVING = ("CreateRole", "CreateUser", "PutRolePermissionsBoundary", "PutUserPermissionsBoundary")
_HAVING = {
    **dict.fromkeys(
        ("AttachRolePolicy", "DeleteRolePolicy", "DetachRolePolicy", "PutRolePolicy"), "RoleName"
    ),
    **dict.fromkeys(
        ("AttachUserPolicy", "DeleteUserPolicy", "DetachUserPolicy", "PutUserPolicy"), "UserName"
    ),
    "DeleteRolePermissionsBoundary": "RoleName",
    "DeleteUserPermissionsBoundary": "UserName",
}


# Of a token's claims STS compares `aud`, `sub` and `amr`, and of GitHub's tokens these; no other.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html
_GITHUB = "token.actions.githubusercontent.com"
_GITHUB_CLAIMS = (
    *("actor", "actor_id", "enterprise_id", "environment", "job_workflow_ref"),
    *("ref", "repository", "repository_id", "workflow"),
)


def install() -> None:
    tags, denied = iam_actions.request_tag_context, sts._web_identity_trust_denied
    resolve, principal = iam_evaluator._resolve_condition_key, sts._web_identity_principal

    def context(service: str, action: str, body: bytes, asked: Any) -> Any:
        found = tags(service, action, body, asked)
        boundary = _boundary(action, asked) if service == "iam" else None
        return found | {_KEY: boundary} if boundary else found

    def web_identity_denied(role_arn: str, asked: Any, use_json: bool) -> Any:
        refused = denied(role_arn, asked, use_json)
        if refused is not None:
            return refused
        code = _refusal(role_arn, sts._p(asked, "WebIdentityToken"))
        return None if code is None else sts._error(400, code, "the token is not valid", ns="sts")

    def resolved(key: str, asked: Any) -> Any:
        found = resolve(key, asked)
        return _role_of(found) if key.lower() == "aws:principalarn" else found

    def federated(token: str, provider_id: str, role_arn: str) -> Any:
        name, keys = principal(token, provider_id, role_arn)
        return name, keys | _github(token)

    iam_evaluator._resolve_condition_key = resolved
    sts._web_identity_principal = federated
    iam_actions.request_tag_context = context
    sts._web_identity_trust_denied = web_identity_denied


def _role_of(arn: str) -> str:
    """AWS compares the role's ARN, which has its path, where ministack has the session's."""
    parts = arn.split(":")
    if len(parts) != 6 or not parts[5].startswith("assumed-role/"):
        return arn
    role = iam._roles.get_scoped(parts[4], None, parts[5].split("/")[1])
    return str(role["Arn"]) if role else arn


def _github(token: str) -> dict[str, Any]:
    try:
        claims = cognito._decode_id_token_unverified(token)
    except (TypeError, ValueError):
        return {}
    if not isinstance(claims, dict) or claims.get("iss") != f"https://{_GITHUB}":
        return {}
    return {f"{_GITHUB}:{name}": claims[name] for name in _GITHUB_CLAIMS if name in claims}


def _boundary(action: str, asked: Any) -> str | None:
    name = action.partition(":")[2]
    if name in _GIVING:
        return iam._p(asked, "PermissionsBoundary") or None
    if name not in _HAVING:
        return None
    store = iam._roles if _HAVING[name] == "RoleName" else iam._users
    bounded: str | None = (store.get(iam._p(asked, _HAVING[name])) or {}).get("PermissionsBoundary")
    return bounded


def _refusal(role_arn: str, token: str) -> str | None:
    """The code, unless the account has the issuer's provider for this audience, and in time."""
    claims = cognito._decode_id_token_unverified(token)
    account = role_arn.split(":")[4]
    host = str(claims.get("iss", "")).removeprefix("https://").rstrip("/")
    arn = f"arn:aws:iam::{account}:oidc-provider/{host}"
    provider = iam._oidc_providers.get_scoped(account, None, arn)
    audiences = claims.get("aud")
    wanted = {audiences} if isinstance(audiences, str) else set(audiences or ())
    if provider is None or not wanted & set(provider["ClientIDList"]):
        return "InvalidIdentityToken"
    if float(claims.get("exp", 0)) < time.time():
        return "ExpiredTokenException"
    return None
