"""The emulated accounts are accounts: apart, with enforcement, and reached by the proxy alone."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from scripts.live_local.accounts import EmulatedAccounts

PROFILES = ("dev", "staging", "prod")


def refused(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_is_its_accounts_administrator(
    accounts: EmulatedAccounts, profile: str
) -> None:
    caller = accounts.session(profile).client("sts").get_caller_identity()

    assert caller["Account"] == accounts.account_ids[profile]
    assert caller["Arn"] == f"arn:aws:iam::{caller['Account']}:user/administrator"
