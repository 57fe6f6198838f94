"""Two regions of one account, one of which writes: read in the other, fail over, fail back.

The emulator replicates at once. How long it takes on AWS, and what a sudden failover loses, is not
rehearsed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.live_local.accounts import EmulatedAccounts
from tests.infrastructure.conftest import Module
from tests.support.terraform import Terraform
from tests.support.workload import (
    ISSUER,
    NAMESPACE,
    SERVICE_ACCOUNT,
    Running,
    Workload,
    drift,
)

PROFILE = "prod"
HERE, THERE = "eu-central-1", "eu-west-1"
NAME = "regions-prod"

Writing = Callable[[str], None]


@dataclass
class Regions:
    """The service in each region; `writing` says which one may write, and applies it."""

    running: dict[str, Running]
    writing: Writing


@pytest.fixture(scope="module")
def boundary(accounts: EmulatedAccounts) -> str:
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
    iam = accounts.session(PROFILE).client("iam")
    made = iam.create_policy(PolicyName=f"{NAME}-boundary", PolicyDocument=json.dumps(everything))
    return str(made["Policy"]["Arn"])


@pytest.fixture(scope="module")
def store(terraform_module: Module, boundary: str) -> Terraform:
    made = terraform_module(
        "document-store",
        {
            "name": NAME,
            "bucket_name": f"{NAME}-{HERE}",
            "replicas": {THERE: {"bucket_name": f"{NAME}-{THERE}"}},
            "disposable": False,
            "permissions_boundary_arn": boundary,
        },
        PROFILE,
    )
    made.apply()
    return made


@pytest.fixture(scope="module")
def regions(
    accounts: EmulatedAccounts,
    terraform_module: Module,
    store: Terraform,
    boundary: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Regions]:
    iam = accounts.session(PROFILE).client("iam")
    provider = iam.create_open_id_connect_provider(
        Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"]
    )

    def identity(region: str, writing: str) -> dict[str, Any]:
        given = store.outputs["regions"][region]
        return {
            "name": f"{NAME}-{region}",
            "oidc_provider_arn": provider["OpenIDConnectProviderArn"],
            "oidc_issuer": ISSUER,
            "namespace": NAMESPACE,
            "service_account": SERVICE_ACCOUNT,
            **{name: given[name] for name in ("table_arn", "index_arn", "bucket_arn", "key_arns")},
            "writable": region == writing,
            "permissions_boundary_arn": boundary,
        }

    applied = {
        region: terraform_module("workload-identity", identity(region, HERE), PROFILE)
        for region in (HERE, THERE)
    }

    def writing(region: str) -> None:
        """First the fence of the one that wrote, then the other's: never both at once."""
        for each in sorted(applied, key=lambda other: other == region):
            _give(applied[each], identity(each, region))
            applied[each].run("apply", "-auto-approve", "-input=false", "-no-color")

    for made in applied.values():
        made.apply()
    with ExitStack() as stack:
        running: dict[str, Running] = {}
        for region, made in applied.items():
            place = store.outputs["regions"][region]
            directory: Path = tmp_path_factory.mktemp(region)
            workload = Workload(accounts, PROFILE, region, place, made.outputs, directory)
            key = running[HERE].service.key if running else ""
            running[region] = stack.enter_context(workload.serving(key))
        yield Regions(running, writing)


def _give(applied: Terraform, variables: dict[str, Any]) -> None:
    """Other values for the module."""
    file = applied.directory / "main.tf.json"
    root = json.loads(file.read_text())
    root["module"]["this"] = {"source": root["module"]["this"]["source"], **variables}
    file.write_text(json.dumps(root))


def test_a_second_plan_is_empty(store: Terraform) -> None:
    assert drift(store) == set()


@pytest.mark.parametrize("region", [HERE, THERE])
def test_table_and_bucket_are_protected_in_each_region(
    accounts: EmulatedAccounts, store: Terraform, region: str
) -> None:
    place = store.outputs["regions"][region]
    session = accounts.session(PROFILE, region)
    dynamodb, s3 = session.client("dynamodb"), session.client("s3")
    name, bucket = place["table_name"], place["bucket_name"]

    table = dynamodb.describe_table(TableName=name)["Table"]
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    ttl = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]

    assert table["TableArn"] == place["table_arn"]
    assert table["DeletionProtectionEnabled"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "ttl")
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == region
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    (rule,) = encryption["Rules"]
    default = rule["ApplyServerSideEncryptionByDefault"]
    assert [default["KMSMasterKeyID"]] == place["key_arns"]
    assert place["key_arns"][0].split(":")[3] == region


def test_one_writes_the_other_reads_and_both_can_change_places(regions: Regions) -> None:
    before = _written_in(HERE, regions)
    _cannot_write(regions.running[THERE])

    regions.writing(THERE)

    during = _written_in(THERE, regions)
    _cannot_write(regions.running[HERE])
    replaced = regions.running[THERE].service.request(
        "PUT", f"/v1/documents/{before['id']}/content", b"replaced there"
    )
    assert replaced.status == 200
    assert _content(regions.running[HERE], before) == b"replaced there"

    regions.writing(HERE)

    after = _written_in(HERE, regions)
    _cannot_write(regions.running[THERE])
    for running in regions.running.values():
        listed = running.service.request("GET", "/v1/documents?tag=regions").json()["items"]
        assert [item["id"] for item in listed] == [d["id"] for d in (after, during, before)]
        verified = running.command("verify", "--json")
        assert verified.returncode == 0, verified.stdout + verified.stderr


def test_bytes_that_somebody_hides_are_hidden_in_both_and_found_again_in_each(
    accounts: EmulatedAccounts, store: Terraform, regions: Regions
) -> None:
    """S3 replicates a delete marker, but not its removal: a restore has to see to every region."""
    document = _written_in(HERE, regions)
    path = f"/v1/documents/{document['id']}/content"
    prefix = f"acme/{document['id']}/"
    s3 = {region: accounts.session(PROFILE, region).client("s3") for region in (HERE, THERE)}
    bucket = {region: store.outputs["regions"][region]["bucket_name"] for region in s3}
    (found,) = s3[HERE].list_objects_v2(Bucket=bucket[HERE], Prefix=prefix)["Contents"]

    s3[HERE].delete_object(Bucket=bucket[HERE], Key=found["Key"])

    for region in (HERE, THERE):
        service = regions.running[region].service
        assert service.request("GET", path).status >= 500
        listed = s3[region].list_object_versions(Bucket=bucket[region], Prefix=prefix)
        (marker,) = listed["DeleteMarkers"]
        s3[region].delete_object(
            Bucket=bucket[region], Key=marker["Key"], VersionId=marker["VersionId"]
        )
        assert service.request("GET", path).body == b"written in eu-central-1"


def test_purged_bytes_stay_in_the_other_region_until_it_may_write(regions: Regions) -> None:
    """S3 replicates no deletion of a version: `verify` there tells of them, and takes them away."""
    here, there = regions.running[HERE], regions.running[THERE]
    here.expired()

    assert here.sweep()[1]["versions"] >= 1
    assert here.command("verify").returncode == 0
    left = json.loads(there.command("verify", "--json").stdout)
    assert {finding["kind"] for finding in left["findings"]} == {"orphan-object"}

    regions.writing(THERE)
    try:
        there.command("verify", "--remove-orphans")
        assert there.command("verify").returncode == 0
    finally:
        regions.writing(HERE)


def _written_in(region: str, regions: Regions) -> dict[str, Any]:
    """A new document, which both regions can read."""
    bytes_ = f"written in {region}".encode()
    document = regions.running[region].service.create(bytes_, Document_Tags="regions")
    for running in regions.running.values():
        assert running.service.read(document["id"]).json() == document
        assert _content(running, document) == bytes_
    return document


def _content(running: Running, document: dict[str, Any]) -> bytes:
    answer = running.service.request("GET", f"/v1/documents/{document['id']}/content")
    assert answer.status == 200, answer.body
    return answer.body


def _cannot_write(running: Running) -> None:
    before = running.service.ids()
    assert running.service.request("POST", "/v1/documents", b"refused").status == 503
    assert running.service.ids() == before
