"""Every folder in modules/: it is formatted and valid, its own tests pass, its README is true.

Each module is copied, initialized and tested once. All that its README shows is made with a mocked
provider; from what that makes, every policy is read as AWS would get it, however the module came to
write it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.maintenance.provision import cors_rules
from scripts.live_local import provider
from tests.support import iam
from tests.support.terraform import need_terraform

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.name for path in (ROOT / "modules").iterdir() if path.is_dir())
ACCOUNT, REGION = "111122223333", "eu-central-1"

# Services that assume a role and tell nothing that a trust could compare.
SILENT_SERVICES = {
    "ec2.amazonaws.com": "an instance's role is assumed by the instance itself, without a source",
}

# A rule's ignoring comment, and what must follow it.
SKIPS = re.compile(r"(checkov:skip|tflint-ignore|tfsec:ignore|trivy:ignore)[=:]?\s*(.*)")
REASON = re.compile(r"CKV[A-Z0-9_]*_[0-9]+:\S.{14,}")


@dataclass(frozen=True)
class Block:
    """A `variable` or an `output`, as `terraform fmt` lays it out."""

    name: str
    body: str

    def has(self, attribute: str) -> bool:
        return re.search(rf"^  {attribute}\s*=", self.body, re.MULTILINE) is not None

    @property
    def description(self) -> str:
        found = re.search(r'^  description\s*=\s*"(.+)"$', self.body, re.MULTILINE)
        return found[1] if found else ""

    @property
    def validations(self) -> list[str]:
        """Their messages."""
        parts = self.body.split("\n  validation {\n")[1:]
        found = [re.search(r"^    error_message\s*=\s*(.*)$", part, re.MULTILINE) for part in parts]
        return [message[1] if message else "" for message in found]


@dataclass(frozen=True)
class Made:
    """A resource, with a mocked provider."""

    address: str
    type: str
    values: dict[str, Any]


Events = list[dict[str, Any]]
Run = Callable[[str], tuple[int, Events]]


def text(module: str) -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / "modules" / module).glob("*.tf")))


def blocks(module: str, kind: str) -> list[Block]:
    found = re.findall(rf'^{kind} "([^"]+)" {{\n(.*?)^}}', text(module), re.MULTILINE | re.DOTALL)
    return [Block(name, body) for name, body in found]


def readme(module: str) -> str:
    file = ROOT / "modules" / module / "README.md"
    assert file.is_file(), f"modules/{module} has no README.md"
    return file.read_text()


def examples(module: str) -> str:
    """The calls that a README shows, all of them."""
    found = re.findall(r"^```hcl\n(module .*?)^```", readme(module), re.MULTILINE | re.DOTALL)
    assert found, f"modules/{module}/README.md shows no ```hcl block that begins with a module"
    return "\n".join(found)


# --- as Terraform sees it -------------------------------------------------------------------------


def terraform(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(
        ["terraform", *arguments],
        cwd=directory,
        # Nobody, so that a test that asks AWS after all is refused.
        env={**kept, **provider.environment(), "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def succeeded(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, f"{done.args}\n{done.stdout[-20_000:]}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """modules/ as it is, where what init writes is in nobody's way."""
    need_terraform()
    copy = tmp_path_factory.mktemp("tree") / "modules"
    shutil.copytree(
        ROOT / "modules", copy, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*")
    )
    return copy


def test_web_pages_get_the_same_rules_of_provision() -> None:
    [rule] = cors_rules(["https://app.example.com"])
    [written] = re.findall(r"  cors_rule {\n(.*?)  }", text("document-store"), re.DOTALL)
    lists = dict(re.findall(r"(\w+)\s*= (\[.*\])", written))
    assert json.loads(lists["allowed_methods"]) == rule["AllowedMethods"]
    assert json.loads(lists["allowed_headers"]) == rule["AllowedHeaders"]
    assert json.loads(lists["expose_headers"]) == rule["ExposeHeaders"]
    assert f"max_age_seconds = {rule['MaxAgeSeconds']}" in written


@pytest.fixture(scope="module")
def tested(copies: Path) -> Run:
    """A module's own `terraform test`, once."""

    @cache
    def run(module: str) -> tuple[int, Events]:
        directory = copies / module
        succeeded(terraform(directory, "init", "-backend=false", "-input=false", "-no-color"))
        done = terraform(directory, "test", "-json")
        return done.returncode, _events(done.stdout)

    return run


@pytest.fixture(scope="module")
def shown(copies: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What a module's README shows, made with a mocked provider, once."""
    types: dict[str, set[str]] = {}

    @cache
    def run(module: str) -> tuple[int, Events]:
        directory = tmp_path_factory.mktemp(module)
        source = f'  source = "{copies / module}"'
        given = re.sub(r'^  source\s*=\s*".*"$', source, examples(module), flags=re.MULTILINE)
        (directory / "main.tf").write_text(given)
        shutil.copy(copies / module / "versions.tf", directory)
        succeeded(terraform(directory, "init", "-backend=false", "-input=false", "-no-color"))
        if not types:
            types.update(_computed(directory))
        (directory / "example.tftest.hcl").write_text(_mocked(copies / module, types))
        # Verbose, it tells what was made, and the provider's whole schema (5 MB) for each run.
        done = terraform(directory, "test", "-json", "-verbose")
        return done.returncode, _events(done.stdout)

    return run


def _events(output: str) -> Events:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def _computed(directory: Path) -> dict[str, set[str]]:
    """The attributes that the provider fills in, by type."""
    schemas = json.loads(succeeded(terraform(directory, "providers", "schema", "-json")).stdout)
    (found,) = schemas["provider_schemas"].values()
    return {
        kind: {
            name
            for name, attribute in schema["block"].get("attributes", {}).items()
            if attribute.get("computed")
        }
        for kind, schema in found["resource_schemas"].items()
    }


def _mocked(module: Path, types: dict[str, set[str]]) -> str:
    """A test that makes the example. What is computed is of the right form where others take it.

    A module whose resources need more of one another says so in tests/mocks/*.tfmock.hcl.
    """
    if (module / "tests" / "mocks").is_dir():
        mocks = f'  source = "{module / "tests" / "mocks"}"\n'
    else:
        used = re.findall(
            r'^resource "(aws_\w+)"', "\n".join(p.read_text() for p in module.glob("*.tf")), re.M
        )
        mocks = "".join(
            f'  mock_resource "{kind}" {{\n    defaults = {{ arn = "{_arn(kind)}" }}\n  }}\n'
            for kind in sorted(set(used))
            if "arn" in types[kind]
        )
        for kind, values in (
            ("aws_caller_identity", f'account_id = "{ACCOUNT}"'),
            ("aws_partition", 'partition = "aws", dns_suffix = "amazonaws.com"'),
            ("aws_region", f'region = "{REGION}"'),
        ):
            mocks += f'  mock_data "{kind}" {{\n    defaults = {{ {values} }}\n  }}\n'
    return f'mock_provider "aws" {{\n{mocks}}}\n\nrun "example" {{\n  command = apply\n}}\n'


def _arn(kind: str) -> str:
    service, _, thing = kind.removeprefix("aws_").partition("_")
    thing = {"openid_connect_provider": "oidc-provider"}.get(thing, thing)
    where = "" if service == "iam" else REGION
    return f"arn:aws:{service}:{where}:{ACCOUNT}:{thing or service}/mock"


def made_by(events: Events) -> list[Made]:
    return [
        Made(resource["address"], resource["type"], resource["values"])
        for event in events
        if event["type"] == "test_state"
        for resource in _resources(event["test_state"]["root_module"])
        if resource["mode"] == "managed"
    ]


def _resources(module: dict[str, Any]) -> list[dict[str, Any]]:
    found = list(module.get("resources", []))
    for child in module.get("child_modules", []):
        found += _resources(child)
    return found


def failures(events: Events) -> list[str]:
    """What a person has to know of what went wrong."""
    return [
        f"{event.get('@testrun', '')}: {event['diagnostic']['summary']}: "
        f"{event['diagnostic']['detail'][:600]}"
        for event in events
        if event["type"] == "diagnostic" and event["diagnostic"]["severity"] == "error"
    ]


# --- each module ----------------------------------------------------------------------------------


def test_there_are_modules() -> None:
    assert MODULES


def test_modules_are_formatted() -> None:
    need_terraform()
    succeeded(terraform(ROOT / "modules", "fmt", "-check", "-recursive", "-diff"))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_laid_out_as_all_are(module: str) -> None:
    directory = ROOT / "modules" / module
    for name in ("main.tf", "variables.tf", "outputs.tf", "versions.tf", "README.md"):
        assert (directory / name).is_file(), f"modules/{module}/{name} is missing"
    assert list(directory.glob("tests/*.tftest.hcl")), f"modules/{module} has no tests"
    for kind, file in (("variable", "variables.tf"), ("output", "outputs.tf")):
        for path in directory.glob("*.tf"):
            if path.name != file:
                assert not re.search(rf'^{kind} "', path.read_text(), re.MULTILINE), path


@pytest.mark.parametrize("module", MODULES)
def test_the_provider_is_pinned_and_no_other(module: str) -> None:
    versions = (ROOT / "modules" / module / "versions.tf").read_text()
    assert re.findall(r"source\s*=\s*(\S+)\s+version\s*=\s*(.+)", versions) == [
        ('"hashicorp/aws"', f'"= {provider.pinned()}"')
    ]
    assert re.search(r'required_version\s*=\s*">= 1\.11', versions)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_calls_no_module_and_configures_no_provider(module: str) -> None:
    assert not re.findall(r'^(?:module|provider) "', text(module), re.MULTILINE)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_valid(module: str, copies: Path, tested: Run) -> None:
    tested(module)
    found = json.loads(terraform(copies / module, "validate", "-json").stdout)
    assert found["valid"], found["diagnostics"]
    assert found["warning_count"] == 0, found["diagnostics"]


@pytest.mark.parametrize("module", MODULES)
def test_a_modules_own_tests_pass(module: str, tested: Run) -> None:
    code, events = tested(module)
    (summary,) = [event["test_summary"] for event in events if event["type"] == "test_summary"]
    assert (code, summary["status"]) == (0, "pass"), "\n".join(failures(events))
    assert summary["passed"] > 0
    assert summary["skipped"] == 0


@pytest.mark.parametrize("module", MODULES)
def test_every_test_is_of_a_mocked_provider(module: str) -> None:
    for path in (ROOT / "modules" / module / "tests").glob("*.tftest.hcl"):
        assert 'mock_provider "aws"' in path.read_text(), f"{path} would ask AWS"


@pytest.mark.parametrize("module", MODULES)
def test_each_validation_is_refused_by_a_test(module: str) -> None:
    """At least as many runs expect a variable to fail as it has validations."""
    written = "\n".join(
        path.read_text() for path in (ROOT / "modules" / module / "tests").glob("*.tftest.hcl")
    )
    expected = re.findall(r"expect_failures\s*=\s*\[(.*?)\]", written, re.DOTALL)
    untested = {
        variable.name: len(variable.validations)
        for variable in blocks(module, "variable")
        if sum(f"var.{variable.name}" in re.findall(r"[\w.]+", e) for e in expected)
        < len(variable.validations)
    }
    assert not untested, f"variables with more validations than tests of bad values: {untested}"


@pytest.mark.parametrize("module", MODULES)
def test_what_a_variable_refuses_it_explains(module: str) -> None:
    for variable in blocks(module, "variable"):
        for message in variable.validations:
            assert len(message) > 30, f"{variable.name}: {message!r} does not say what to do"


@pytest.mark.parametrize("module", MODULES)
def test_variables_and_outputs_say_what_they_are(module: str) -> None:
    for variable in blocks(module, "variable"):
        assert variable.has("type"), f"variable {variable.name} has no type"
        assert len(variable.description) > 10, f"variable {variable.name} has no description"
    for output in blocks(module, "output"):
        assert len(output.description) > 10, f"output {output.name} has no description"


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("section", "kind"), [("Inputs", "variable"), ("Outputs", "output")])
def test_the_readme_lists_inputs_and_outputs(module: str, section: str, kind: str) -> None:
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", readme(module), re.M | re.S)
    assert found, f"modules/{module}/README.md has no section {section}"
    rows = re.findall(r"^\| (`[^|]*) \|", found[1], re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(listed) == sorted(block.name for block in blocks(module, kind))


@pytest.mark.parametrize("module", MODULES)
def test_what_the_readme_shows_can_be_made(module: str, shown: Run) -> None:
    code, events = shown(module)
    assert code == 0, "\n".join(failures(events))
    assert made_by(events), "the example makes nothing"


def test_skipped_checks_have_reasons() -> None:
    for directory in ("modules", "live"):
        for path in (ROOT / directory).rglob("*"):
            if path.suffix not in (".tf", ".hcl") or ".terraform" in str(path):
                continue
            for tool, rest in SKIPS.findall(path.read_text()):
                assert tool == "checkov:skip", f"{path}: {tool} has no place for a reason"
                assert REASON.fullmatch(rest.strip()), f"{path}: {rest!r} gives no reason"


# --- what it would make ---------------------------------------------------------------------------


@pytest.fixture(params=MODULES)
def made(request: pytest.FixtureRequest, shown: Run) -> list[Made]:
    code, events = shown(request.param)
    assert code == 0, "\n".join(failures(events))
    return made_by(events)


def policies(made: list[Made]) -> list[tuple[Made, str, dict[str, Any]]]:
    found = []
    for resource in made:
        for attribute, value in resource.values.items():
            if isinstance(value, str) and '"Statement"' in value:
                found.append((resource, attribute, json.loads(value)))
    return found


def test_every_role_has_a_boundary(made: list[Made]) -> None:
    for role in made:
        if role.type in ("aws_iam_role", "aws_iam_user"):
            assert role.values.get("permissions_boundary"), role.address


def test_no_user_no_group_no_lasting_key(made: list[Made]) -> None:
    lasting = {"aws_iam_user", "aws_iam_group", "aws_iam_access_key", "aws_iam_user_login_profile"}
    assert not [resource.address for resource in made if resource.type in lasting]


def test_no_statement_allows_everything(made: list[Made]) -> None:
    """Nor a whole service everywhere, but in the boundary, which grants nothing."""
    for resource, attribute, policy in policies(made):
        of_a_resource = any("Principal" in s or "NotPrincipal" in s for s in iam.statements(policy))
        for statement in iam.statements(policy):
            if statement["Effect"] != "Allow":
                continue
            where = (resource.address, attribute, statement)
            assert "NotAction" not in statement, where
            assert "NotResource" not in statement, where
            actions = iam.listed(statement["Action"])
            if "*" not in iam.listed(statement.get("Resource", [])):
                continue
            assert not {"*", "*:*"} & set(actions), where
            if of_a_resource or resource.address.endswith("aws_iam_policy.boundary"):
                continue
            assert not [action for action in actions if action.endswith(":*")], where


def test_no_trust_and_no_resource_is_open(made: list[Made]) -> None:
    for resource, attribute, policy in policies(made):
        for statement in iam.statements(policy):
            principal = statement.get("Principal")
            if statement["Effect"] != "Allow" or principal is None:
                continue
            where = (resource.address, attribute, statement)
            anybody = principal == "*" or any("*" in iam.listed(v) for v in principal.values())
            assert not anybody or statement.get("Condition"), where
            if attribute != "assume_role_policy" or statement.get("Condition"):
                continue
            services = iam.listed(principal.get("Service", []))
            assert set(principal) == {"Service"}, where
            assert set(services) <= set(SILENT_SERVICES), where


def test_what_github_may_assume_is_pinned(made: list[Made]) -> None:
    """Audience and subject, both by equality, neither with a wildcard. GitHub's tokens also by
    environment and repository; and by workflow and ref, which for plans alone are patterns."""
    of_github = []
    for resource, attribute, policy in policies(made):
        if attribute != "assume_role_policy":
            continue
        for statement in iam.statements(policy):
            if "Federated" not in statement["Principal"]:
                continue
            where = (resource.address, statement)
            conditions = dict(statement["Condition"])
            keys = conditions.pop("StringEquals")
            wanted = {"aud", "sub"}
            # By the keys: the provider's ARN is not known before it is made.
            if any(key.startswith("token.actions.githubusercontent.com:") for key in keys):
                of_github.append(resource.address)
                wanted |= {"environment", "repository_id"}
                like = conditions.pop("StringLike")
                assert _claims(like) == {"job_workflow_ref", "ref"}, where
                assert _patterns(like) == [] or resource.address.endswith(".plan"), where
            assert conditions == {}, where
            assert _claims(keys) == wanted, where
            assert _patterns(keys) == [], where
    roles = [r.address for r, *_ in policies(made) if "ci_identity.aws_iam_role." in r.address]
    assert not roles or len(of_github) > 2


def _claims(keys: dict[str, Any]) -> set[str]:
    return {key.rpartition(":")[2] for key in keys}


def _patterns(keys: dict[str, Any]) -> list[str]:
    return [value for values in keys.values() for value in iam.listed(values) if "*" in value]
