"""The SBOM of the image: complete, reproducible, and red when anything is left out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import pipeline
from tests.deploy.pipeline import ROOT, run

DPKG = "var/lib/dpkg/status"
SITE = "opt/venv/lib/python3.13/site-packages"
DEBIAN = b"Package: libc6\nStatus: install ok installed\nVersion: 2.41-12\n\nPackage: gone\n" \
         b"Status: deinstall ok config-files\nVersion: 1\n\nPackage: python3.13\n" \
         b"Status: install ok installed\nVersion: 3.13.5-2\n"  # fmt: skip
NPM = b'{"name": "some-ui", "version": "5.1.0"}'
LOCK = """\
[[package]]
name = "Some_Package"
version = "1.2"
groups = ["main"]
files = []

[[package]]
name = "windows-only"
version = "3"
groups = ["main"]
markers = "sys_platform == 'win32'"
files = []

[[package]]
name = "pytest"
version = "9"
groups = ["test"]
files = []
"""


def metadata(name: str, version: str) -> bytes:
    return f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n\nName: not-this\n".encode()


class Case:
    """A small image of three layers, a lock, and an SBOM that has all of it."""

    def __init__(self, folder: Path) -> None:
        self.image, self.lock = folder / "image.tar", folder / "poetry.lock"
        self.sbom = folder / "sbom.json"
        self.lock.write_text(LOCK)
        pip = "usr/local/lib/python3.13/site-packages/pip-26.dist-info"
        identity = pipeline.image(
            self.image,
            None,
            {DPKG: DEBIAN, f"{pip}/METADATA": metadata("pip", "26")},
            {f"{Path(pip).parent}/.wh.{Path(pip).name}": b""},
            {
                f"{SITE}/some_package-1.2.dist-info/METADATA": metadata("some.package", "1.2"),
                "opt/strongroom/app/web/docs/some-ui/package.json": NPM,
                "opt/venv/package.json": b"of no package",
            },
        )
        self.told: dict[str, Any] = {
            "bomFormat": "CycloneDX",
            "metadata": {"properties": [{"name": "strongroom:image:id", "value": identity}]},
            "components": [
                {"name": "libc6", "purl": "pkg:deb/debian/libc6@2.41-12?arch=amd64"},
                {"name": "python3.13", "purl": "pkg:deb/debian/python3.13@3.13.5-2?arch=amd64"},
                {"name": "some-package", "purl": "pkg:pypi/some-package@1.2"},
                {"name": "some-ui", "purl": "pkg:npm/some-ui@5.1.0"},
            ],
        }

    def checked(self) -> tuple[int, str]:
        self.sbom.write_text(json.dumps(self.told))
        files = ("--image", self.image, "--sbom", self.sbom, "--lock", self.lock)
        done = run(ROOT / "scripts/sbom", "check", *files)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def _refused(case: Case, told: str) -> None:
    code, text = case.checked()
    assert code == 1
    assert told in text


def test_a_complete_one_passes(case: Case) -> None:
    code, text = case.checked()
    assert code == 0, text
    assert "4 packages (1 pypi, 1 npm, 2 deb)" in text


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("libc6", "deb libc6 2.41-12 is in the image, and is left out"),
        ("some-package", "pypi some-package 1.2 is in the image, and is left out"),
        ("some-ui", "npm some-ui 5.1.0 is in the image, and is left out"),
        ("python3.13", "the Python itself is left out"),
    ],
)
def test_a_package_that_is_left_out_is_seen(case: Case, left_out: str, told: str) -> None:
    case.told["components"] = [c for c in case.told["components"] if c["name"] != left_out]
    _refused(case, told)


def test_another_version_is_seen(case: Case) -> None:
    case.told["components"][0]["purl"] = "pkg:deb/debian/libc6@2.41-11?arch=amd64"
    _refused(case, "libc6 2.41-12 is in the image, and is left out")


def test_what_the_lock_does_not_have_is_seen(case: Case) -> None:
    case.lock.write_text(LOCK.replace('"1.2"', '"1.3"'))
    _refused(case, "some-package 1.2 is in the image, and the lock has 1.3")


def test_what_the_image_does_not_have_is_seen(case: Case) -> None:
    case.lock.write_text(LOCK.replace("markers", "# markers"))
    _refused(case, "windows-only is in the lock, and is not in the image")


def test_the_sbom_of_another_image_is_seen(case: Case) -> None:
    pipeline.image(case.image, {"another": "one"}, {DPKG: DEBIAN})
    _refused(case, "and the image is sha256:")


@pytest.mark.parametrize("told", [{}, {"bomFormat": "SPDX"}])
def test_what_is_no_sbom_is_seen(case: Case, told: dict[str, Any]) -> None:
    case.told = told
    _refused(case, "is no CycloneDX")


# --- of the real image, where one is named ---


@pytest.fixture(scope="session")
def archive() -> Path:
    file = os.environ.get("STRONGROOM_IMAGE")
    if not file:
        pytest.skip("STRONGROOM_IMAGE names no image: make image, then scripts/image check")
    pipeline.need("syft")
    return Path(file)


@pytest.fixture(scope="session")
def real(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sbom = tmp_path_factory.mktemp("sbom") / "sbom.json"
    done = run(ROOT / "scripts/sbom", "make", "--image", archive, "--sbom", sbom)
    assert done.returncode == 0, done.stdout + done.stderr
    return sbom


def test_the_same_image_elsewhere_gives_the_same_sbom(
    archive: Path, real: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "another-name.tar"
    shutil.copy(archive, elsewhere)
    again = tmp_path / "sbom.json"
    done = run(ROOT / "scripts/sbom", "make", "--image", elsewhere, "--sbom", again)
    assert done.returncode == 0, done.stdout + done.stderr
    assert again.read_bytes() == real.read_bytes()


def test_every_package_of_the_real_one_is_missed(archive: Path, real: Path) -> None:
    """Each in turn: `check` takes nobody's word for what the image has."""
    sbom = pipeline.script("sbom")
    told = json.loads(real.read_text())
    packages = [one for one in told["components"] if one.get("purl")]
    assert len(packages) > 50
    for left_out in packages:
        kept = [one for one in told["components"] if one is not left_out]
        real_without = real.with_name("without.json")
        real_without.write_text(json.dumps(told | {"components": kept}))
        problems = list(sbom.check(archive, real_without, ROOT / "poetry.lock"))
        assert problems, left_out["purl"]
