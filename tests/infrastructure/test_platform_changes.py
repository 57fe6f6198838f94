"""What the platform tool reads out of a plan. The plans in plans/ are Terraform's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.platform import changes
from scripts.platform.changes import Change, Loss

PLANS = Path(__file__).parent / "plans"


def recorded(name: str) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((PLANS / f"{name}.json").read_text())
    return plan


def resource(
    type_: str,
    actions: list[str],
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    **change: Any,
) -> dict[str, Any]:
    values = {"actions": actions, "before": before, "after": after, **change}
    return {"address": f"{type_}.this", "mode": "managed", "type": type_, "change": values}


def read(*resources: dict[str, Any], **plan: Any) -> changes.Summary:
    return changes.read({"resource_changes": list(resources), **plan})


def test_a_plan_that_changes_nothing_is_empty() -> None:
    summary = changes.read(recorded("changes_nothing"))
    assert summary.empty
    assert (summary.losses, summary.weakened, summary.mocks) == ([], [], [])


def test_a_new_key_replaces_the_table_and_loses_its_content() -> None:
    summary = changes.read(recorded("replaces_a_table"))
    assert summary.counts() == {"replace": 1}
    assert summary.losses == [Loss("aws_dynamodb_table.this", "replace loses a table")]


def test_a_bucket_that_is_no_longer_named_is_lost() -> None:
    summary = changes.read(recorded("destroys_a_bucket"))
    assert summary.changes == [Change("aws_s3_bucket.this", "destroy")]
    assert summary.losses == [Loss("aws_s3_bucket.this", "destroy loses a bucket")]


@pytest.mark.parametrize(
    ("addresses", "minutes"),
    [
        ([], 10),
        (["aws_iam_role.this", 'aws_iam_role.other["a.b"]'], 10),
        (["aws_eks_cluster.this"], 40),
        (["aws_eks_cluster.this", 'module.x.aws_eks_node_group.this["aws_eks_addon.y"]'], 70),
        (['aws_eks_addon.this["coredns"]', 'aws_eks_addon.this["vpc-cni"]'], 20),
    ],
)
def test_how_long_an_apply_may_take(addresses: list[str], minutes: int) -> None:
    made = changes.Summary(changes=[Change(address, "create") for address in addresses])
    assert made.minutes == minutes


def test_what_the_boundary_keeps_for_administrators_is_known() -> None:
    made = changes.Summary(
        changes=[
            Change('aws_s3_bucket_policy.this["eu-central-1"]', "create"),
            Change("aws_s3_bucket.this", "update", ["tags"]),
            Change("aws_kms_key.tags", "update", ["tags", "tags_all"]),
            Change("aws_kms_key.policy", "update", ["policy"]),
            Change("aws_kms_key.gone", "destroy"),
            Change("aws_kms_key.new", "create"),
            Change("aws_ecr_registry_policy.this[0]", "update", ["policy"]),
        ]
    )
    assert made.kept == [
        'aws_s3_bucket_policy.this["eu-central-1"]',
        "aws_kms_key.policy",
        "aws_kms_key.gone",
        "aws_ecr_registry_policy.this[0]",
    ]


def test_an_update_names_the_attributes_and_not_their_values() -> None:
    summary = changes.read(recorded("updates_a_table"))
    assert summary.changes == [
        Change("aws_dynamodb_table.this", "update", ["deletion_protection_enabled"])
    ]
    assert summary.losses == []


def test_what_is_shown_holds_no_value_of_the_plan() -> None:
    secret = "a-value-that-nobody-should-see"
    summary = read(
        resource("aws_ssm_parameter", ["update"], {"value": "was"}, {"value": secret}),
        resource("aws_iam_policy", ["create"], None, {"policy": secret}),
        variables={"boundary": {"value": f"mock-{secret}"}},
        output_changes={"told": {"actions": ["update"], "before": "was", "after": secret}},
    )
    assert summary.counts() == {"create": 1, "update": 1}
    assert secret not in json.dumps(summary.as_json())


def test_a_summary_comes_back_as_it_was_stored() -> None:
    summary = changes.read(recorded("replaces_a_table"))
    stored = json.loads(json.dumps(summary.as_json()))
    assert changes.Summary.from_json(stored) == summary


@pytest.mark.parametrize("actions", [["delete"], ["delete", "create"], ["create", "delete"]])
@pytest.mark.parametrize("type_", sorted(changes.STATEFUL))
def test_no_resource_that_holds_data_goes_unnoticed(type_: str, actions: list[str]) -> None:
    assert [loss.address for loss in read(resource(type_, actions)).losses] == [f"{type_}.this"]


def test_what_the_modules_keep_data_in_is_known() -> None:
    kept = ("dynamodb_table", "s3_bucket", "kms_key", "ecr_repository", "eks_cluster")
    assert {f"aws_{name}" for name in kept} <= set(changes.STATEFUL)
    assert {"aws_cloudwatch_log_group", "aws_kms_replica_key"} <= set(changes.STATEFUL)


def test_outputs_that_change_are_named() -> None:
    """What depends on them cannot be applied from the same plan."""
    same = {"actions": ["no-op"], "before": "x", "after": "x"}
    other = {"actions": ["update"], "before": "x", "after_unknown": True}
    summary = read(output_changes={"same": same, "other": other})
    assert summary.outputs == ["other"]
    assert not summary.empty
    assert read(output_changes={"same": same}).empty


def test_a_resource_that_is_only_forgotten_is_a_loss_too() -> None:
    """Nobody would know of it any more."""
    assert read(resource("aws_s3_bucket", ["forget"])).losses


@pytest.mark.parametrize("actions", [["create"], ["update"], ["no-op"], ["read"]])
def test_what_stays_is_no_loss(actions: list[str]) -> None:
    assert read(resource("aws_s3_bucket", actions, {}, {})).losses == []


def test_what_holds_no_data_may_go() -> None:
    assert read(resource("aws_iam_policy", ["delete"])).losses == []


def test_a_replica_that_an_update_takes_away_is_a_loss() -> None:
    before = {"replica": [{"region_name": "eu-west-1"}, {"region_name": "eu-north-1"}]}
    after = {"replica": [{"region_name": "eu-north-1"}]}
    summary = read(resource("aws_dynamodb_table", ["update"], before, after))
    assert summary.losses == [
        Loss("aws_dynamodb_table.this", "update loses the replica in eu-west-1")
    ]
    assert read(resource("aws_dynamodb_table", ["update"], after, before)).losses == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"deletion_protection_enabled": True}, {"deletion_protection_enabled": False}),
        ({"force_destroy": False}, {"force_destroy": True}),
        (
            {"point_in_time_recovery": [{"enabled": True}]},
            {"point_in_time_recovery": [{"enabled": False}]},
        ),
        (
            {"versioning_configuration": [{"status": "Enabled"}]},
            {"versioning_configuration": [{"status": "Suspended"}]},
        ),
    ],
)
def test_a_protection_that_is_taken_away_is_told(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert len(read(resource("aws_any", ["update"], before, after)).weakened) == 1
    assert read(resource("aws_any", ["update"], after, before)).weakened == []


@pytest.mark.parametrize(
    "value",
    ["mock-issuer", "arn:aws:iam::1:policy/mock-boundary", "vpc-mock0000", "https://mock-x"],
)
def test_a_stand_in_is_found_wherever_it_is(value: str) -> None:
    deep = {"statement": [{"resources": ["fine", value]}]}
    assert read(resource("aws_any", ["create"], None, deep)).mocks == [
        "resource_changes[0].change.after.statement[0].resources[1]"
    ]
    assert read(variables={"x": {"value": value}}).mocks == ["variables.x.value"]
    assert len(read(variables={"x": {"value": {value: 1}}}).mocks) == 1


@pytest.mark.parametrize("value", ["hammock-7", "mockingbird", "smock1", "a mock", ""])
def test_what_only_sounds_like_a_stand_in_is_none(value: str) -> None:
    assert read(variables={"x": {"value": value}}).mocks == []


def test_every_stand_in_of_the_tree_is_recognised() -> None:
    """live/here.hcl is where they are made; a new one must be one that is found."""
    text = (PLANS.parents[2] / "live/here.hcl").read_text()
    block = text[text.index("  mocks = {") :]
    values = [word for word in block.split('"')[1::2] if "mock" in word]
    assert len(values) > 8
    for value in values:
        assert read(variables={"x": {"value": value}}).mocks, value


def test_a_plan_of_a_part_says_so() -> None:
    assert not read(complete=False).complete
    assert read(complete=True).complete


def test_an_import_is_a_change_and_no_loss() -> None:
    summary = read(resource("aws_s3_bucket", ["no-op"], {}, {}, importing={"id": "x"}))
    assert summary.counts() == {"import": 1}
    assert summary.losses == []


def test_an_action_that_is_new_to_us_is_shown_and_not_let_through() -> None:
    summary = read(resource("aws_s3_bucket", ["transmogrify"]))
    assert summary.changes == [Change("aws_s3_bucket.this", "transmogrify")]
    assert summary.losses
