"""What IAM decides, worked out from policies: for what the emulator does not look at.

It knows the part of IAM's published logic that the policies of this repository use, within one
account: explicit denies, identity policies, one boundary, trust policies. Whatever else it meets
(another operator, a policy variable) it raises, rather than guess.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]
Statement = Mapping[str, Any]

_STATEMENT = {
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Principal",
    "Condition",
}


@dataclass(frozen=True)
class Request:
    """`context` holds condition keys as the policy spells them; a list is a key of many values."""

    action: str
    resource: str = "*"
    context: Mapping[str, str | list[str]] = field(default_factory=dict)


def allowed(request: Request, identity: Iterable[Policy], boundary: Policy | None = None) -> bool:
    """Whether a principal with these policies, within this boundary, may do it."""
    layers = [list(statements(*identity))]
    if boundary is not None:
        layers.append(list(statements(boundary)))
    if any(_says("Deny", statement, request) for layer in layers for statement in layer):
        return False
    return all(any(_says("Allow", statement, request) for statement in layer) for layer in layers)


def trusts(policy: Policy, principal: tuple[str, str], request: Request) -> bool:
    """Whether a role with this trust policy lets this principal, such as
    `("Federated", provider_arn)`, assume it."""
    about = [s for s in statements(policy) if _is_principal(s["Principal"], principal)]
    if any(_says("Deny", statement, request) for statement in about):
        return False
    return any(_says("Allow", statement, request) for statement in about)


def statements(*policies: Policy) -> list[Statement]:
    found: list[Statement] = []
    for policy in policies:
        given = policy["Statement"]
        found += [given] if isinstance(given, Mapping) else list(given)
    for statement in found:
        unknown = set(statement) - _STATEMENT
        if unknown:
            raise NotImplementedError(f"statements with {', '.join(sorted(unknown))}")
    return found


def listed(value: Any) -> list[Any]:
    """A policy may have one value in place of a list of one."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def matches(pattern: str, value: str) -> bool:
    if "${" in pattern:
        raise NotImplementedError(f"policy variables: {pattern}")
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, value, re.DOTALL) is not None


def _says(effect: str, statement: Statement, request: Request) -> bool:
    return (
        statement["Effect"] == effect
        and _is_action(statement, request.action)
        and _is_resource(statement, request.resource)
        and _holds(statement.get("Condition", {}), request.context)
    )


def _is_action(statement: Statement, action: str) -> bool:
    named = listed(statement.get("Action", statement.get("NotAction")))
    # Actions have no case.
    met = any(matches(pattern.lower(), action.lower()) for pattern in named)
    return met if "Action" in statement else not met


def _is_resource(statement: Statement, resource: str) -> bool:
    if "Resource" not in statement and "NotResource" not in statement:
        return True  # the policy of a resource itself
    named = listed(statement.get("Resource", statement.get("NotResource")))
    met = any(matches(pattern, resource) for pattern in named)
    return met if "Resource" in statement else not met


def _is_principal(named: Any, principal: tuple[str, str]) -> bool:
    kind, value = principal
    if named == "*":
        return True
    return value in listed(named.get(kind, [])) or "*" in listed(named.get(kind, []))


def _equal(wanted: str, given: str) -> bool:
    return wanted == given


def _same_boolean(wanted: str, given: str) -> bool:
    return wanted.lower() == given.lower()


_OPERATORS: Mapping[str, tuple[Callable[[str, str], bool], bool]] = {
    "StringEquals": (_equal, True),
    "StringNotEquals": (_equal, False),
    "StringLike": (matches, True),
    "StringNotLike": (matches, False),
    "ArnEquals": (matches, True),
    "ArnLike": (matches, True),
    "ArnNotEquals": (matches, False),
    "ArnNotLike": (matches, False),
    "Bool": (_same_boolean, True),
}


def _holds(condition: Mapping[str, Any], context: Mapping[str, str | list[str]]) -> bool:
    return all(
        _operator(operator, listed(wanted), context.get(key))
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    )


def _operator(name: str, wanted: list[str], given: str | list[str] | None) -> bool:
    quantifier, _, operator = name.rpartition(":")
    base = operator.removesuffix("IfExists")
    if base not in _OPERATORS or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise NotImplementedError(f"the operator {name}")
    compare, positive = _OPERATORS[base]

    def one(value: str) -> bool:
        return any(compare(str(want), value) for want in wanted) is positive

    if quantifier == "ForAllValues":  # holds of none, too
        return all(one(value) for value in listed(given if given is not None else []))
    if quantifier == "ForAnyValue":
        return any(one(value) for value in listed(given if given is not None else []))
    if given is None:
        return not positive or operator.endswith("IfExists")
    if not isinstance(given, str):
        raise NotImplementedError(f"{name} over several values")
    return one(given)
