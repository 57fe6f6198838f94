"""`scripts/promote`: one line of one file, or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
VALUES = """\
# what {environment} runs
image:
  repository: registry.example/strongroom # where it is
  # by digest alone
  digest: "{digest}" # written by scripts/promote
  pullPolicy: IfNotPresent
other:
  digest: "left alone"
"""


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    for environment in ("dev", "staging", "prod"):
        text = VALUES.format(environment=environment, digest=OLD)
        (tmp_path / f"values-{environment}.yaml").write_text(text)
    return tmp_path


def promote(chart: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts/promote", "--chart", chart, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def texts(chart: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in chart.iterdir()}


def test_a_digest_is_written_into_that_environment_alone(chart: Path) -> None:
    before = texts(chart)
    done = promote(chart, "set-digest", "dev", NEW)
    assert done.returncode == 0, done.stderr
    assert NEW in done.stdout
    dev = "values-dev.yaml"
    assert texts(chart) == before | {dev: before[dev].replace(OLD, NEW)}


def test_the_same_digest_again_changes_nothing(chart: Path) -> None:
    promote(chart, "set-digest", "dev", NEW)
    before = texts(chart)
    done = promote(chart, "set-digest", "dev", NEW)
    assert done.returncode == 0
    assert "already" in done.stdout
    assert texts(chart) == before


def test_staging_gets_what_dev_runs_and_prod_what_staging_runs(chart: Path) -> None:
    promote(chart, "set-digest", "dev", NEW)
    assert promote(chart, "copy", "dev", "staging").returncode == 0
    assert NEW in (chart / "values-staging.yaml").read_text()
    assert NEW not in (chart / "values-prod.yaml").read_text()
    assert promote(chart, "copy", "staging", "prod").returncode == 0
    assert NEW in (chart / "values-prod.yaml").read_text()


@pytest.mark.parametrize(
    ("source", "target"),
    [("dev", "prod"), ("prod", "dev"), ("staging", "dev"), ("dev", "dev")],
)
def test_no_environment_is_left_out(chart: Path, source: str, target: str) -> None:
    before = texts(chart)
    done = promote(chart, "copy", source, target)
    assert done.returncode == 1
    assert "one step at a time" in done.stderr
    assert texts(chart) == before


@pytest.mark.parametrize(
    "digest",
    [
        "latest",
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        OLD[7:],
        OLD + "\n",
        f'{OLD}"\nx: "',
        "",
    ],
)
def test_what_is_no_digest_is_refused(chart: Path, digest: str) -> None:
    before = texts(chart)
    done = promote(chart, "set-digest", "dev", digest)
    assert done.returncode == 1
    assert "no digest" in done.stderr
    assert texts(chart) == before


@pytest.mark.parametrize("environment", ["production", "", "../dev", "DEV"])
def test_an_unknown_environment_is_refused(chart: Path, environment: str) -> None:
    before = texts(chart)
    done = promote(chart, "set-digest", environment, NEW)
    assert done.returncode == 1
    assert "there are dev, staging, prod" in done.stderr
    assert texts(chart) == before


@pytest.mark.parametrize(
    "text",
    ["", "image:\n  repository: x\n", f"image:\n  digest: {OLD}\nimage:\n  digest: {OLD}\n"],
)
def test_a_values_file_of_another_shape_is_left_alone(chart: Path, text: str) -> None:
    file = chart / "values-dev.yaml"
    file.write_text(text)
    done = promote(chart, "set-digest", "dev", NEW)
    assert done.returncode == 1
    assert "one `digest:`" in done.stderr
    assert file.read_text() == text


@pytest.mark.parametrize("value", ['""', "''", "", OLD, f"'{OLD}'"])
def test_however_the_digest_is_quoted(chart: Path, value: str) -> None:
    file = chart / "values-dev.yaml"
    file.write_text(f"image:\n  digest: {value}\n")
    assert promote(chart, "set-digest", "dev", NEW).returncode == 0
    assert file.read_text() == f'image:\n  digest: "{NEW}"\n'


def test_it_tells_what_runs_where(chart: Path) -> None:
    promote(chart, "set-digest", "dev", NEW)
    assert promote(chart, "show").stdout.split() == ["dev", NEW, "staging", OLD, "prod", OLD]


def test_a_full_disk_leaves_the_file_as_it_was(chart: Path) -> None:
    before = texts(chart)
    done = subprocess.run(
        [
            "bash",
            "-c",
            'ulimit -f 0; exec "$@"',
            "-",
            sys.executable,
            str(ROOT / "scripts/promote"),
            "--chart",
            str(chart),
            "set-digest",
            "dev",
            NEW,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert texts(chart) == before
