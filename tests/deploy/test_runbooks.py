"""Whoever is called at night finds the page, and its queries ask for what there is."""

from __future__ import annotations

import re
from pathlib import Path

from tests.deploy import chart
from tests.deploy.chart import one

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
_METRIC = re.compile(r"strongroom_[a-z_]+")
# What is written of them: the rest of a metric's name is Prometheus's.
_SUFFIXES = ("_total", "_bucket", "_count", "_sum")


def exported() -> set[str]:
    """Every name that the service's own files have."""
    sources = [*(ROOT / "app" / "web").glob("*.py"), ROOT / "app" / "bootstrap.py"]
    return {name for source in sources for name in _METRIC.findall(source.read_text())}


def test_each_alert_leads_to_a_page() -> None:
    groups = one(chart.rendered("prod"), "PrometheusRule")["spec"]["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert len(alerts) > 8
    for alert in alerts:
        page = alert["annotations"]["runbook_url"].rpartition("/docs/runbooks/")[2]
        assert page, alert["alert"]
        assert (RUNBOOKS / page).is_file(), f"{alert['alert']} leads to {page}"


def test_pages_ask_for_metrics_that_exist() -> None:
    known, found = exported(), set()
    for page in RUNBOOKS.glob("*.md"):
        for name in _METRIC.findall(page.read_text()):
            bare = next((name.removesuffix(s) for s in _SUFFIXES if name.endswith(s)), name)
            assert {name, bare} & known, f"{page.name}: there is no {name}"
            found.add(name)
    assert len(found) > 5


def test_pages_lead_to_pages() -> None:
    for page in [*RUNBOOKS.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} leads to {target}"
