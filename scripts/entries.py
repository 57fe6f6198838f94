"""What Argo CD renders in each cluster, by the list of deploy/argocd, and the images in it.

For scripts that run before anything is installed: needs Python and helm alone.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

LIST = Path("deploy/argocd/values.yaml")
CHART = Path("deploy/chart")
# The chart refuses to render staging and prod before their first release.
NO_DIGEST = "image.digest is not set"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE = re.compile(r"""(?:^|[\s{,])["']?image["']?[ \t]*:[ \t]*["']?([^\s"',{}|>]+)""", re.M)
# As deploy/argocd sets it for every entry.
ALWAYS = ("--set", "workload.kind=Rollout")


class CannotRender(Exception):
    """Why an entry, or the list itself, comes to no manifests; for a person."""


@dataclass(frozen=True)
class Entry:
    """One of the list: an environment in a region. `values` are files of deploy/chart; `registry`
    is the only one that its images may come from, empty in lists that are older than that."""

    name: str
    environment: str
    namespace: str
    registry: str
    values: tuple[str, ...]


def entries(root: Path) -> list[Entry]:
    """The list of a checkout, read without a YAML parser: its entries are flat, and helm reads them
    for real. Empty if the checkout has none."""
    text = (root / LIST).read_text() if (root / LIST).exists() else ""
    return [_entry(part) for part in re.split(r"^  - name:[ \t]*", text, flags=re.MULTILINE)[1:]]


def _entry(text: str) -> Entry:
    name = text.splitlines()[0].strip()
    found = {
        key: re.search(rf"^ +{key}:[ \t]*(\S.*?)[ \t]*$", text, re.MULTILINE)
        for key in ("environment", "namespace", "registry", "values")
    }
    told = {key: match[1] for key, match in found.items() if match}
    values = re.fullmatch(r"\[(.+)\]", told.pop("values", ""))
    if not {"environment", "namespace"} <= set(told) or values is None:
        raise CannotRender(
            f"{LIST}: {name} must have `environment:`, `namespace:` and `values: [...]`"
        )
    files = tuple(file.strip() for file in values[1].split(","))
    registry = told.get("registry", "")
    return Entry(name, told["environment"], told["namespace"], registry, files)


def render(root: Path, entry: Entry, *options: str) -> str:
    """The manifests of an entry, as Argo CD renders them; with further options of helm."""
    chart = root / CHART
    command = ["helm", "template", "strongroom", str(chart), "--namespace", entry.namespace]
    for file in entry.values:
        command += ["--values", str(chart / file)]
    try:
        done = subprocess.run([*command, *ALWAYS, *options], capture_output=True, text=True)
    except FileNotFoundError:
        raise CannotRender("helm is not on the PATH: `mise install`") from None
    if done.returncode != 0:
        raise CannotRender(done.stderr.strip().replace(str(root), ""))
    return done.stdout


def images(manifests: str) -> set[str]:
    """Every image that these manifests name, and every digest that stands anywhere else in them."""
    named = set(_IMAGE.findall(manifests))
    with_digest = {digest for image in named for digest in DIGEST.findall(image)}
    return named | (set(DIGEST.findall(manifests)) - with_digest)
