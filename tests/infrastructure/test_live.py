"""The tree `live/`, as Terragrunt reads it: who is where, and what each unit is given."""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines import missing

ROOT = Path(__file__).resolve().parents[2]
LIVE = ROOT / "live"
ENVIRONMENTS = ("dev", "staging", "prod")
IN_PRIMARY = {
    "ci-identity",
    "network",
    "cluster",
    "document-store",
    "workload-identity",
    "registry",
}
# The replica's table and bucket are made by the primary's document store; IAM is global.
IN_REPLICA = IN_PRIMARY - {"ci-identity", "document-store"}

Unit = dict[str, Any]


def _render(unit: Path, **environment: str) -> Unit:
    done = subprocess.run(
        ["terragrunt", "render", "--format", "json", "--no-color"],
        cwd=unit,
        # No credentials: nothing here may depend on what is applied somewhere.
        env={**_without_aws(), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rendered: Unit = json.loads(done.stdout)
    return rendered


def _without_aws() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "nobody"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: a run leaves its cache beside the units."""
    if shutil.which("terragrunt") is None:
        missing("terragrunt is not on the PATH: `mise install` brings it")
    copy = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns(".terragrunt-cache", ".terraform")
    for part in ("live", "modules"):
        shutil.copytree(ROOT / part, copy / part, ignore=ignored)
    return copy / "live"


@pytest.fixture(scope="module")
def units(tree: Path) -> dict[str, Unit]:
    """Every unit by its path below live/, rendered."""
    found = sorted(path.parent for path in tree.glob("*/*/*/terragrunt.hcl"))
    with ThreadPoolExecutor(4) as threads:
        rendered = threads.map(_render, found)
        return {
            str(path.relative_to(tree)): unit for path, unit in zip(found, rendered, strict=True)
        }


def _inputs(units: dict[str, Unit], unit: str, environment: str) -> dict[str, Any]:
    inputs: dict[str, Any] = units[f"{environment}/eu-central-1/{unit}"]["inputs"]
    return inputs


def _account(environment: str) -> str:
    text = (LIVE / environment / "account.hcl").read_text()
    found = re.search(r'account_id\s*=\s*"(\d{12})"', text)
    assert found, f"{environment}: no 12-digit account id"
    return found[1]


# --- who is where ---------------------------------------------------------------------------


def test_every_account_has_every_unit(units: dict[str, Unit]) -> None:
    expected = {f"{env}/eu-central-1/{unit}" for env in ENVIRONMENTS for unit in IN_PRIMARY}
    expected |= {f"prod/eu-west-1/{unit}" for unit in IN_REPLICA}
    assert set(units) == expected


def test_account_ids_are_distinct() -> None:
    assert len({_account(environment) for environment in ENVIRONMENTS}) == len(ENVIRONMENTS)


def test_a_unit_acts_and_keeps_its_state_in_its_own_account_alone(units: dict[str, Unit]) -> None:
    for path, unit in units.items():
        account = _account(path.split("/")[0])
        provider = unit["generate"]["provider"]["contents"]
        assert f'allowed_account_ids = ["{account}"]' in provider, path
        state = unit["remote_state"]["config"]
        assert account in state["bucket"], path
        assert state["allowed_account_ids"] == [account], path


def test_no_two_units_share_a_state(units: dict[str, Unit]) -> None:
    states = [
        (unit["remote_state"]["config"]["bucket"], unit["remote_state"]["config"]["key"])
        for unit in units.values()
    ]
    assert len(set(states)) == len(states)


def test_state_is_locked_and_encrypted(units: dict[str, Unit]) -> None:
    for path, unit in units.items():
        state = unit["remote_state"]["config"]
        assert state["use_lockfile"] is True, path
        assert state["encrypt"] is True, path


def test_a_unit_acts_in_the_region_that_its_folder_names(units: dict[str, Unit]) -> None:
    for path, unit in units.items():
        region = path.split("/")[1]
        assert f'region              = "{region}"' in unit["generate"]["provider"]["contents"], path


def test_networks_do_not_overlap(units: dict[str, Unit]) -> None:
    networks = [
        ipaddress.ip_network(unit["inputs"]["cidr"])
        for path, unit in units.items()
        if path.endswith("/network")
    ]
    assert len(networks) == 4
    assert not any(a.overlaps(b) for a, b in itertools.combinations(networks, 2))


def test_names_of_replicas_differ_where_iam_is_global(units: dict[str, Unit]) -> None:
    for unit in IN_REPLICA - {"registry"}:
        ours = {units[f"prod/{region}/{unit}"]["inputs"]["name"] for region in _prod_regions()}
        assert len(ours) == 2, unit


def _prod_regions() -> tuple[str, str]:
    return "eu-central-1", "eu-west-1"


# --- what cannot happen by a slip -----------------------------------------------------------


def test_only_dev_is_disposable(units: dict[str, Unit]) -> None:
    for path, unit in units.items():
        dev = path.startswith("dev/")
        assert unit["prevent_destroy"] is not dev, path
    for environment in ENVIRONMENTS:
        dev = environment == "dev"
        assert _inputs(units, "document-store", environment)["disposable"] is dev
        assert _inputs(units, "registry", environment)["force_delete"] is dev
        assert _inputs(units, "cluster", environment)["deletion_protection"] is not dev


@pytest.mark.parametrize("named", ["", "dev", "staging", "production", "PROD", "*", "true"])
def test_another_name_does_not_lift_the_protection_of_prod(tree: Path, named: str) -> None:
    unit = _render(tree / "prod/eu-central-1/registry", STRONGROOM_DESTROY=named)
    assert unit["prevent_destroy"] is True


def test_its_own_name_lifts_it_for_one_command(tree: Path) -> None:
    unit = _render(tree / "prod/eu-central-1/registry", STRONGROOM_DESTROY="prod")
    assert unit["prevent_destroy"] is False
    assert unit["inputs"]["force_delete"] is True


def test_another_account_than_dev_cannot_be_made_disposable(tree: Path) -> None:
    account = tree / "prod/account.hcl"
    before = account.read_text()
    account.write_text(before.replace("disposable = false", "disposable = true"))
    try:
        with pytest.raises(AssertionError, match="only dev may be disposable"):
            _render(tree / "prod/eu-central-1/registry")
    finally:
        account.write_text(before)


def test_mock_outputs_are_for_validate_alone(units: dict[str, Unit]) -> None:
    for path, dependency in _dependencies(units):
        assert dependency["mock_outputs_allowed_terraform_commands"] == ["validate"], path


def test_a_preview_allows_them_to_a_plan_but_never_to_an_apply(tree: Path) -> None:
    unit = _render(tree / "dev/eu-central-1/network", STRONGROOM_PREVIEW="yes")
    allowed = unit["dependency"]["ci_identity"]["mock_outputs_allowed_terraform_commands"]
    assert allowed == ["validate", "plan"]


def test_every_mock_value_says_that_it_is_one(units: dict[str, Unit]) -> None:
    for path, dependency in _dependencies(units):
        for value in _strings(dependency["mock_outputs"]):
            assert "mock" in value or value == "due", f"{path}: {value}"


def _dependencies(units: dict[str, Unit]) -> list[tuple[str, Any]]:
    found = [(path, one) for path, unit in units.items() for one in unit["dependency"].values()]
    assert len(found) > 20
    return found


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in _strings(one)]
    return [value]


# --- two regions ----------------------------------------------------------------------------


def test_documents_are_written_in_one_region_alone(units: dict[str, Unit]) -> None:
    writable = {
        region: units[f"prod/{region}/workload-identity"]["inputs"]["writable"]
        for region in _prod_regions()
    }
    assert writable == {"eu-central-1": True, "eu-west-1": False}


@pytest.mark.parametrize("region", _prod_regions())
def test_moving_the_fence_moves_the_right_to_write(tree: Path, region: str) -> None:
    """Wherever it stands, never two regions may write."""
    account = tree / "prod/account.hcl"
    before = account.read_text()
    account.write_text(re.sub(r'(writable_region\s*=) "[^"]+"', rf'\1 "{region}"', before))
    try:
        writable = [
            one
            for one in _prod_regions()
            if _render(tree / f"prod/{one}/workload-identity")["inputs"]["writable"]
        ]
    finally:
        account.write_text(before)
    assert writable == [region]


def test_a_fence_at_a_region_that_is_not_there_is_refused(tree: Path) -> None:
    account = tree / "prod/account.hcl"
    before = account.read_text()
    account.write_text(re.sub(r'(writable_region\s*=) "[^"]+"', r'\1 "us-east-1"', before))
    try:
        with pytest.raises(AssertionError, match="writable_region must be one of"):
            _render(tree / "prod/eu-central-1/workload-identity")
    finally:
        account.write_text(before)


def test_images_go_from_dev_to_every_other_registry(units: dict[str, Unit]) -> None:
    registries = {path: unit["inputs"] for path, unit in units.items() if path.endswith("registry")}
    everywhere = {(_account(path.split("/")[0]), path.split("/")[1]) for path in registries}
    sent_to = {
        (one["account_id"], one["region"])
        for one in registries["dev/eu-central-1/registry"]["replication_destinations"]
    }
    assert sent_to == everywhere - {(_account("dev"), "eu-central-1")}
    for path, inputs in registries.items():
        if not path.startswith("dev/"):
            assert inputs["replication_destinations"] == [], path
            assert inputs["replication_source_account_ids"] == [_account("dev")], path


def test_only_the_account_of_the_first_registry_has_a_role_that_pushes(
    units: dict[str, Unit],
) -> None:
    pushes = {
        env: _inputs(units, "ci-identity", env)["push_repository_arns"] for env in ENVIRONMENTS
    }
    account = _account("dev")
    assert pushes == {
        "dev": [f"arn:aws:ecr:eu-central-1:{account}:repository/strongroom"],
        "staging": [],
        "prod": [],
    }


# --- sizing ---------------------------------------------------------------------------------


def test_prod_is_never_smaller_than_staging_nor_staging_than_dev(units: dict[str, Unit]) -> None:
    sizes = [_sizes(units, environment) for environment in ENVIRONMENTS]
    for smaller, larger in itertools.pairwise(sizes):
        for what, size in smaller.items():
            assert size <= larger[what], what


def test_prod_survives_the_loss_of_a_zone(units: dict[str, Unit]) -> None:
    nodes = _inputs(units, "cluster", "prod")["node_groups"]["main"]
    assert nodes["min_size"] >= 3
    assert nodes["capacity_type"] == "ON_DEMAND"
    assert _inputs(units, "network", "prod")["nat"] == "per_az"
    assert len(_inputs(units, "network", "prod")["availability_zones"]) == 3


def _sizes(units: dict[str, Unit], environment: str) -> dict[str, int]:
    network = _inputs(units, "network", environment)
    nodes = _inputs(units, "cluster", environment)["node_groups"]["main"]
    size = nodes["instance_types"][0].split(".")[1]
    return {
        "nat": ["single", "per_az"].index(network["nat"]),
        "endpoints": 0 if network["interface_endpoints"] == [] else 1,
        "zones": len(network["availability_zones"]),
        "least nodes": nodes["min_size"],
        "most nodes": nodes["max_size"],
        "nodes": nodes["desired_size"],
        "node": ["medium", "large", "xlarge", "2xlarge", "4xlarge"].index(size),
        "node kind": ["SPOT", "ON_DEMAND"].index(nodes["capacity_type"]),
        "days of logs": network["flow_log_retention_days"],
    }


def test_one_value_chooses_the_processor(tree: Path) -> None:
    account = tree / "dev/account.hcl"
    before = account.read_text()
    account.write_text(re.sub(r'(architecture\s*=) "x86_64"', r'\1 "arm64"', before))
    try:
        nodes = _render(tree / "dev/eu-central-1/cluster")["inputs"]["node_groups"]["main"]
    finally:
        account.write_text(before)
    assert nodes["architecture"] == "arm64"
    assert all(re.match(r"m\d+g\.", kind) for kind in nodes["instance_types"])


# --- versions -------------------------------------------------------------------------------


def _minor(version: str) -> int:
    return int(version.split(".")[1])


def test_each_account_names_its_versions_and_dev_goes_first(units: dict[str, Unit]) -> None:
    """prod is never ahead of staging, nor staging of dev; nor one behind by more than a step."""
    clusters = [_inputs(units, "cluster", environment) for environment in ENVIRONMENTS]
    minors = [_minor(cluster["kubernetes_version"]) for cluster in clusters]
    assert minors == sorted(minors, reverse=True)
    assert minors[0] - minors[-1] <= 1
    for cluster in clusters:
        version = cluster["kubernetes_version"]
        assert set(cluster["addon_versions"]) == {
            *("coredns", "kube-proxy", "metrics-server", "vpc-cni")
        }
        assert cluster["addon_versions"]["kube-proxy"].startswith(f"v{version}.")
        assert cluster["node_groups"]["main"]["release_version"].startswith(f"{version}.")


@pytest.mark.parametrize(
    ("line", "other", "told"),
    [
        ('release_version    = "1.36.', 'release_version    = "1.35.', "release_version must be"),
        ('kube-proxy     = "v1.36.', 'kube-proxy     = "v1.35.', "must name a kube-proxy of"),
    ],
)
def test_nodes_and_kube_proxy_are_of_the_clusters_version(
    tree: Path, line: str, other: str, told: str
) -> None:
    account = tree / "dev/account.hcl"
    before = account.read_text()
    assert line in before
    account.write_text(before.replace(line, other))
    try:
        with pytest.raises(AssertionError, match=told):
            _render(tree / "dev/eu-central-1/cluster")
    finally:
        account.write_text(before)


# --- the tree -------------------------------------------------------------------------------


def test_every_unit_gives_its_module_all_it_asks_for_and_nothing_else(tree: Path) -> None:
    done = subprocess.run(
        ["terragrunt", "hcl", "validate", "--inputs", "--strict", "--no-color"],
        cwd=tree,
        env=_without_aws(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tree_is_formatted(tree: Path) -> None:
    done = subprocess.run(
        ["terragrunt", "hcl", "fmt", "--check", "--no-color"],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_knows_of_an_emulator() -> None:
    files = [
        path
        for part in ("live", "modules")
        for path in (ROOT / part).rglob("*")
        if path.suffix in {".hcl", ".tf"} and ".terra" not in str(path)
    ]
    assert len(files) > 40
    for path in files:
        found = re.search(
            r"emulat|ministack|localstack|localhost|127\.0\.0\.1|endpoints\s*\{", path.read_text()
        )
        assert found is None, f"{path}: {found}"
