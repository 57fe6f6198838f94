"""How far back a table can be restored, and the key of each replica."""

from __future__ import annotations

import json
from typing import Any

from ministack.core.responses import get_account_id
from ministack.services import dynamodb

_DAYS = "_recovery_days"  # in the table's own record, which is saved


def install() -> None:
    update, describe = dynamodb._update_continuous_backups, dynamodb._describe_continuous_backups
    replicate = dynamodb._apply_replica_updates

    def update_backups(asked: Any) -> Any:
        answer = update(asked)
        table = _table(asked)
        if table is not None:
            wanted = asked.get("PointInTimeRecoverySpecification", {})
            table[_DAYS] = wanted.get("RecoveryPeriodInDays", 35)
        return _with_days(answer, table)

    def describe_backups(asked: Any) -> Any:
        return _with_days(describe(asked), _table(asked))

    def apply_replica_updates(name: str, table: Any, updates: Any) -> Any:
        refused = replicate(name, table, updates)
        for change in updates if refused is None else ():
            asked = change.get("Create") or change.get("Update") or {}
            replica = dynamodb._tables.get_scoped(get_account_id(), asked.get("RegionName"), name)
            if replica is not None and asked.get("KMSMasterKeyId"):
                replica["SSEDescription"] = {
                    "Status": "ENABLED",
                    "SSEType": "KMS",
                    "KMSMasterKeyArn": asked["KMSMasterKeyId"],
                }
        return refused

    dynamodb._update_continuous_backups = update_backups
    dynamodb._describe_continuous_backups = describe_backups
    dynamodb._apply_replica_updates = apply_replica_updates


def _table(asked: Any) -> Any:
    return dynamodb._tables.get(dynamodb._normalize_table_name(asked.get("TableName")))


def _with_days(answer: Any, table: Any) -> Any:
    status, headers, body = answer
    if table is None or status != 200:
        return answer
    told = json.loads(body)
    recovery = told["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    if recovery["PointInTimeRecoveryStatus"] == "ENABLED":
        recovery["RecoveryPeriodInDays"] = table.get(_DAYS, 35)
    return status, headers, json.dumps(told).encode()
