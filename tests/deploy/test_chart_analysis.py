"""What a release is judged by: one definition, of metrics that exist, that no silence can pass."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.web.metrics import Metrics
from tests.deploy import chart
from tests.deploy.chart import ALL, Manifest, kinds, one
from tests.support import service as services
from tests.support.engines import Engine, free_port
from tests.support.service import Service

SMOKE = chart.CHART / "files" / "smoke.py"


def metrics_of(manifests: list[Manifest], which: str = "sli") -> dict[str, dict[str, Any]]:
    (template,) = [
        template
        for template in kinds(manifests, "AnalysisTemplate")
        if template["metadata"]["name"].endswith(f"-{which}")
    ]
    return {metric["name"]: metric for metric in template["spec"]["metrics"]}


def query(metric: dict[str, Any], canary: str = "new", stable: str = "old") -> str:
    found: str = metric["provider"]["prometheus"]["query"]
    return found.replace("{{args.canary-hash}}", canary).replace("{{args.stable-hash}}", stable)


def rules(manifests: list[Manifest], kind: str) -> dict[str, dict[str, Any]]:
    groups = one(manifests, "PrometheusRule")["spec"]["groups"]
    return {rule[kind]: rule for group in groups for rule in group["rules"] if kind in rule}


# --- the templates ----------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "way", "everything"), ALL)
def test_no_answer_is_a_failure(place: str, way: str, everything: bool) -> None:
    """Of a step, that is. In the background it is left open: see below."""
    for template in kinds(chart.rendered(place, way, everything=everything), "AnalysisTemplate"):
        if template["metadata"]["name"].endswith("-background"):
            continue
        for metric in template["spec"]["metrics"]:
            if "job" in metric["provider"]:
                assert metric["provider"]["job"]["spec"]["backoffLimit"] == 0
                continue
            assert metric["successCondition"].startswith("len(result) > 0 && !isNaN(result[0]) && ")
            assert "failureCondition" not in metric
            assert metric["failureLimit"] == 0
            assert metric["count"] > 0  # without end it could not be a step


@pytest.mark.parametrize(("place", "way", "everything"), ALL)
def test_a_canary_is_judged_from_its_first_client_on(
    place: str, way: str, everything: bool
) -> None:
    manifests = chart.rendered(place, way, everything=everything)
    if chart.workload(manifests)["kind"] != "Rollout" or not kinds(manifests, "AnalysisTemplate"):
        return
    strategy = one(manifests, "Rollout")["spec"]["strategy"]
    if "canary" not in strategy:
        assert len(kinds(manifests, "AnalysisTemplate")) == 2
        return
    canary = strategy["canary"]
    background = canary["analysis"]
    assert [each["templateName"] for each in background["templates"]] == ["strongroom-background"]
    begins = background.get("startingStep", 0)
    assert begins == next(i for i, step in enumerate(canary["steps"]) if "setWeight" in step)
    assert {argument["name"] for argument in background["args"]} == {"canary-hash", "stable-hash"}


def test_the_background_judges_by_what_the_steps_do_but_never_by_silence() -> None:
    """An idle environment has no requests in a pause. An inconclusive run would pause the release
    until a person comes, a failed one would end it; the step after the pause judges the silence."""
    manifests = chart.rendered("prod")
    steps, background = metrics_of(manifests), metrics_of(manifests, "background")
    assert set(background) == set(steps)
    for name, metric in background.items():
        known, limit = steps[name]["successCondition"].rsplit(" && ", 1)
        assert metric["successCondition"] == f"{known} && {limit}"
        assert metric["failureCondition"] == f"{known} && {limit.replace('<=', '>')}"
        assert query(steps[name]).strip() in query(metric)
        assert "count" not in metric  # for as long as the release takes
        assert (metric["failureLimit"], metric["inconclusiveLimit"]) == (0, 1_000_000)


def test_versions_are_told_apart_and_compared_in_the_same_window() -> None:
    manifests = chart.rendered("prod")
    found = metrics_of(manifests)
    assert set(found) == {"errors", "errors-above-stable", "slow", "slow-above-stable"}
    for name, metric in found.items():
        text = query(metric)
        compared = {"new", "old"} if "above" in name else {"new"}
        assert set(re.findall(r'rollouts_pod_template_hash="([^"]+)"', text)) == compared
        selectors = re.findall(r"strongroom_\w+\{(.*?)\}", text)
        assert all("rollouts_pod_template_hash=" in selector for selector in selectors)
        assert set(re.findall(r"\[(\w+)\]", text)) == {"300s"}
    monitor = one(manifests, "ServiceMonitor")["spec"]
    assert monitor["podTargetLabels"] == ["rollouts-pod-template-hash"]


def test_alerts_and_analysis_share_one_definition() -> None:
    """The same but for the version's hash, which alerts sum over."""
    manifests = chart.rendered("prod")
    recorded = rules(manifests, "record")
    for sli in ("errors", "slow"):
        analysed = metrics_of(manifests)[sli]["provider"]["prometheus"]["query"]
        summed = analysed.replace(',rollouts_pod_template_hash="{{args.canary-hash}}"', "")
        summed = summed.replace("by (rollouts_pod_template_hash) ", "")
        assert summed.split() == recorded[f"strongroom:{sli}:ratio_rate5m"]["expr"].split()


def steps(way: str) -> list[str]:
    canary = one(chart.rendered("prod", way), "Rollout")["spec"]["strategy"]["canary"]
    told = []
    for step in canary["steps"]:
        ((kind, what),) = step.items()
        if kind == "analysis":
            (template,) = what["templates"]
            told.append(template["templateName"].removeprefix("strongroom-"))
        else:
            told.append(f"{kind} {what}" if kind == "setWeight" else kind)
    return told


def test_load_comes_first_and_before_each_judgement() -> None:
    """Before any client, where a load balancer can hold them back."""
    judged = ["pause", "smoke", "sli"]
    assert steps("canary by ping and pong") == [
        *("setCanaryScale", "smoke", "setWeight 5", "setCanaryScale", *judged),
        *("setWeight 25", *judged),
        *("setWeight 50", *judged),
    ]
    assert steps("canary by pods") == [
        *("setWeight 5", "smoke", *judged),
        *("setWeight 25", *judged),
        *("setWeight 50", *judged),
    ]


def test_blue_green_is_judged_before_it_is_promoted() -> None:
    manifests = chart.rendered("prod", "blue and green")
    strategy = one(manifests, "Rollout")["spec"]["strategy"]["blueGreen"]
    analysis = strategy["prePromotionAnalysis"]
    assert [t["templateName"] for t in analysis["templates"]] == [
        "strongroom-smoke",
        "strongroom-sli",
    ]
    # They begin together, so the judgement waits for the load's end.
    (delay,) = [arg["value"] for arg in analysis["args"] if arg["name"] == "delay"]
    assert int(delay.removesuffix("s")) > 90 + 2 * 15
    (smoke,) = [p for p in chart.pods(manifests) if p.where == "AnalysisTemplate strongroom-smoke"]
    assert smoke.container["args"][0].startswith("http://strongroom-preview.")


@pytest.mark.parametrize("way", ["canary by pods", "canary by alb", "canary by ping and pong"])
def test_the_load_goes_to_the_new_version_alone(way: str) -> None:
    manifests = chart.rendered("prod", way)
    (smoke,) = [p for p in chart.pods(manifests) if p.where == "AnalysisTemplate strongroom-smoke"]
    assert smoke.container["args"][0] == "http://strongroom-canary.strongroom-prod.svc:8000"
    canary = one(manifests, "Rollout")["spec"]["strategy"]["canary"]
    assert canary["canaryService"] == "strongroom-canary"


# --- what the service exports -------------------------------------------------------------------


def test_every_metric_and_label_is_one_that_the_service_exports() -> None:
    exported = Metrics()
    exported.answered("GET", "/v1/documents", 200, 0.01)
    exported.answered("GET", "/v1/documents", 503, 0.01)
    exported.shed("in flight")
    exported.gauge("strongroom_tasks", "as the bootstrap names it", "", {"": lambda: 0.0})
    exported.gauge("strongroom_backend_up", "as it names it", "backend", {"table": lambda: 1.0})
    series: dict[str, set[str]] = {}
    bounds = set()
    for line in exported.render().decode().splitlines():
        if found := re.match(r"(\w+)(?:\{(.*)\})? ", line):
            names = re.findall(r'(\w+)="', found[2] or "")
            series.setdefault(found[1], set()).update(names)
            bounds.update(re.findall(r'le="([^"]+)"', found[2] or ""))
    added = {"namespace", "rollouts_pod_template_hash"}  # by the ServiceMonitor
    for place in ("staging", "prod"):
        manifests = chart.rendered(place)
        texts = [query(metric) for metric in metrics_of(manifests).values()]
        texts += [query(metric) for metric in metrics_of(manifests, "background").values()]
        texts += [rule["expr"] for rule in rules(manifests, "record").values()]
        texts += [rule["expr"] for rule in rules(manifests, "alert").values()]
        used = 0
        for text in texts:
            for name, labels in re.findall(r"(strongroom_\w+)\{(.*?)\}", text):
                used += 1
                assert set(re.findall(r"(\w+)[!=]?[=~]", labels)) <= series[name] | added, name
                assert set(re.findall(r'le="([^"]+)"', labels)) <= bounds
        assert used > 20


# --- the rules, by promtool ---------------------------------------------------------------------

# Longer windows are not full by then; a ratio does not mind.
EVALUATED = "6h30m"
WHERE = 'namespace="strongroom-prod",pod="a"'
SERIES = f'strongroom_requests_total{{{WHERE},method="GET",route="/v1/documents",status="%s"}}'
SHED = f'strongroom_requests_shed_total{{{WHERE},reason="%s"}}'
UP_OF = 'strongroom_backend_up{namespace="strongroom-prod",pod="%s",backend="%s"}'
UP = {"series": UP_OF % ("a", "table"), "values": "1x400"}
DURATIONS = SERIES.replace("requests_total", "request_duration_seconds_%s")
TASKS = {"series": f"strongroom_tasks{{{WHERE}}}", "values": "0x400"}


def counting(status: str, per_minute: int, begin: str = "0", minutes: int = 400) -> dict[str, str]:
    return {"series": SERIES % status, "values": f"{begin}+{per_minute}x{minutes}"}


def timed(fast: int, all_: int, minutes: int = 400) -> list[dict[str, str]]:
    bucket = DURATIONS % ("bucket", "2xx")
    return [
        {"series": bucket.replace("}", ',le="1.0"}'), "values": f"0+{fast}x{minutes}"},
        {"series": DURATIONS % ("count", "2xx"), "values": f"0+{all_}x{minutes}"},
    ]


ALERTS: dict[str, tuple[list[dict[str, str]], set[str]]] = {
    # Of 99.9 %: 2 % burn twenty times the budget.
    "a fiftieth fails": (
        [TASKS, counting("2xx", 980), counting("5xx", 20)],
        {"FastBurn", "QuickBurn", "SteadyBurn", "SlowBurn"},
    ),
    "all fail": (
        [TASKS, counting("5xx", 60)],
        {"FastBurn", "QuickBurn", "SteadyBurn", "SlowBurn"},
    ),
    "one in 250 fails": (
        [TASKS, counting("2xx", 996), counting("5xx", 4)],
        {"SteadyBurn", "SlowBurn"},
    ),
    "few fail": ([TASKS, counting("2xx", 10000), counting("5xx", 5)], set()),
    "none ever failed": ([TASKS, counting("2xx", 1000)], set()),
    "clients are wrong": ([TASKS, counting("2xx", 100), counting("4xx", 900)], set()),
    "nobody asks": ([TASKS], set()),
    "one a minute, and it fails": ([TASKS, counting("5xx", 1)], set()),
    "it failed, and has recovered": (
        [TASKS, counting("2xx", 1000), {"series": SERIES % "5xx", "values": "0+20x60 1200x340"}],
        {"SlowBurn"},
    ),
    "it is gone": (
        [{**TASKS, "values": "0x60 stale"}, counting("2xx", 100, minutes=60)],
        {"Absent"},
    ),
    "it never was": ([], {"Absent"}),
    "the table is away": (
        [TASKS, UP, {**UP, "series": UP_OF % ("b", "table"), "values": "1x380 0x20"}],
        {"BackendAway"},
    ),
    "both are away from all": (
        [TASKS] + [{"series": UP_OF % (pod, what), "values": "1x380 0x20"}
                   for pod in "ab" for what in ("table", "bucket")],
        {"BackendAway"},
    ),
    "it has never answered": ([TASKS, {**UP, "values": "0x400"}], {"BackendAway"}),
    "it was away, and answers": ([TASKS, {**UP, "values": "1x370 0x10 1x20"}], set()),
    "the pod that did not reach it is gone": (
        [TASKS, UP, {**UP, "series": UP_OF % ("b", "table"), "values": "0x370 stale"}],
        set(),
    ),
    "it sheds": (
        [
            TASKS,
            {"series": SHED % "in flight", "values": "0+5x400"},
        ],
        {"Sheds"},
    ),
    "a client is held to its rate": (
        [
            TASKS,
            {"series": SHED % "rate", "values": "0+5x400"},
        ],
        set(),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def rule_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(json.dumps(one(chart.rendered("prod"), "PrometheusRule")["spec"]))
    return file


def test_the_rules_are_rules(rule_file: Path) -> None:
    done = promtool("check", "rules", "--lint-fatal", str(rule_file))
    assert done.returncode == 0, done.stderr


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [chart.tool("promtool"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def firing(
    rule_file: Path,
    series: list[dict[str, str]],
    at: str,
    folder: Path,
    *,
    interval: str = "1m",
    evaluated: str = "5m",
) -> set[str]:
    """Which alerts fire. promtool only compares, so it is asked to expect none, and what it got
    instead is read from what it says."""
    names = rules(chart.rendered("prod"), "alert")
    test = {
        "rule_files": [str(rule_file)],
        "evaluation_interval": evaluated,
        "tests": [
            {
                "interval": interval,
                "input_series": series,
                "alert_rule_test": [{"eval_time": at, "alertname": name} for name in names],
            }
        ],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    done = promtool("test", "rules", str(file))
    told = done.stdout + done.stderr
    assert done.returncode == 0 or "got:" in told, told
    return {name for name in names if f'alertname="{name}"' in told.partition("FAILED")[2]}


@pytest.mark.parametrize("case", ALERTS)
def test_what_fires(case: str, rule_file: Path, tmp_path: Path) -> None:
    series, expected = ALERTS[case]
    found = firing(rule_file, series, EVALUATED, tmp_path)
    wanted = {
        f"StrongroomErrors{name}" if "Burn" in name else f"Strongroom{name}" for name in expected
    }
    assert found == wanted


def test_the_first_failure_of_each_path_counts(rule_file: Path, tmp_path: Path) -> None:
    """Each is a series that begins at 1 and stays there: to rate() alone nothing happened."""
    failures = [
        {
            "series": (SERIES % "5xx").replace("/v1/documents", f"/v1/{path}"),
            "values": f"_x{384 + path % 5} 1x40",
        }
        for path in range(12)
    ]
    series = [TASKS, counting("2xx", 5), *failures]
    assert "StrongroomErrorsFastBurn" in firing(rule_file, series, EVALUATED, tmp_path)


def test_slowness_fires_too(rule_file: Path, tmp_path: Path) -> None:
    quick = [TASKS, counting("2xx", 1000), *timed(999, 1000)]
    assert firing(rule_file, quick, EVALUATED, tmp_path) == set()
    slow = [TASKS, counting("2xx", 1000), *timed(800, 1000)]
    assert firing(rule_file, slow, EVALUATED, tmp_path) == {
        f"StrongroomSlow{speed}Burn" for speed in ("Fast", "Quick", "Steady", "Slow")
    }


@pytest.mark.parametrize(
    ("values", "fires"),
    [
        pytest.param({"a": "1x20 0x20"}, True, id="a pod does not reach it for five minutes"),
        pytest.param({"a": "1x32 0x8"}, False, id="for two minutes"),
        pytest.param({"a": "0 1 " * 20, "b": "1 0 " * 20}, False, id="ten bad seconds, in turns"),
    ],
)
def test_a_few_bad_seconds_wake_nobody(
    values: dict[str, str], fires: bool, rule_file: Path, tmp_path: Path
) -> None:
    """Scraped every 15 s, as prod's ServiceMonitor has it; looked at after ten minutes."""
    series = [{"series": UP_OF % (pod, "bucket"), "values": told} for pod, told in values.items()]
    found = firing(
        *(rule_file, [TASKS, *series], "9m45s", tmp_path), interval="15s", evaluated="15s"
    )
    assert found == ({"StrongroomBackendAway"} if fires else set())


def test_every_alert_leads_to_a_runbook() -> None:
    for alert in rules(chart.rendered("prod"), "alert").values():
        assert alert["annotations"]["runbook_url"].endswith(".md")
        assert alert["labels"]["severity"] in {"page", "ticket"}


# --- the load, and the queries, for real ----------------------------------------------------------


@pytest.fixture(scope="module")
def stable(ministack: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("stable") / "log"
    with services.running(ministack, "smoke-load", log) as service:
        yield service


@dataclass(frozen=True)
class Versions:
    stable: Service
    good: Service
    bad: Service
    slow: Service


@pytest.fixture(scope="module")
def versions(stable: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    """Other versions beside the stable one, on the same table; two are bad on purpose."""
    work = tmp_path_factory.mktemp("versions")
    keys = (stable.key, stable.read_key, stable.other_key)

    def version(name: str, **faults: str) -> Any:
        port = {"PORT": str(free_port()), "APP_ENV": "dev"}
        return services.start(stable.environment | port | faults, keys, work / name)

    with (
        version("good") as good,
        version("bad", FAULT_ERROR_RATIO="0.05") as bad,
        version("slow", FAULT_DELAY_RATIO="0.2", FAULT_DELAY_SECONDS="1.5") as slow,
    ):
        yield Versions(stable, good, bad, slow)


def smoke(
    service: Service,
    folder: Path,
    *,
    seconds: float = 4,
    key: str = "",
    options: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """As the chart's Job runs it."""
    file = folder / "key"
    file.write_text(key or service.key)
    return subprocess.run(
        [
            *(sys.executable, str(SMOKE), service.url, f"--seconds={seconds}", "--rate=8"),
            *("--max-error-ratio=0.1", f"--key-file={file}", *options),
        ],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_the_load_passes_on_a_service_that_works(stable: Service, tmp_path: Path) -> None:
    done = smoke(stable, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 answered wrongly" in done.stdout
    metric = stable.metrics()
    for method, route in (
        ("POST", "/v1/documents"),
        ("GET", "/v1/documents"),
        ("GET", "/v1/documents/{id}"),
        ("GET", "/v1/documents/{id}/content"),
        ("PATCH", "/v1/documents/{id}"),
        ("DELETE", "/v1/documents/{id}"),
    ):
        assert metric("strongroom_requests_total", method=method, route=route, status="2xx") > 0


def test_it_passes_where_only_reading_is_allowed(stable: Service, tmp_path: Path) -> None:
    done = smoke(stable, tmp_path, key=stable.read_key, options=("--read-only",))
    assert done.returncode == 0, done.stdout + done.stderr
    assert smoke(stable, tmp_path, key=stable.read_key).returncode == 1


def test_it_fails_without_a_right_key(stable: Service, tmp_path: Path) -> None:
    done = smoke(stable, tmp_path, key="sr_no_key")
    assert done.returncode == 1
    assert "POST /v1/documents: 401" in done.stdout
    assert "sr_no_key" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def prometheus(versions: Versions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real one, that scrapes the versions each second as the ServiceMonitor would have it."""
    program = chart.tool("prometheus")
    work = tmp_path_factory.mktemp("prometheus")
    targets = [
        {
            "targets": [urllib.parse.urlsplit(service.url).netloc],
            "labels": {"namespace": "strongroom-dev", "rollouts_pod_template_hash": name},
        }
        for name, service in vars(versions).items()
    ]
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "strongroom", "static_configs": targets}],
    }
    (work / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(program, f"--config.file={work}/prometheus.yml"),
                *(f"--storage.tsdb.path={work}/data", f"--web.listen-address=127.0.0.1:{port}"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        services.eventually(lambda: answers(f"{url}/-/ready"), 60)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url):
            return True
    except OSError:
        return False


def answered(prometheus: str, metric: dict[str, Any], canary: str, stable: str) -> list[float]:
    asked = urllib.parse.urlencode({"query": query(metric, canary, stable)})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{asked}") as answer:
        result = json.load(answer)["data"]["result"]
    return [float(series["value"][1]) for series in result]


def holds(condition: str, numbers: list[float]) -> bool:
    """A condition of the chart's, which all have this form."""
    known, limit = condition.rsplit(" && result[0] ", 1)
    assert known == "len(result) > 0 && !isNaN(result[0])"
    if not numbers or math.isnan(numbers[0]):
        return False
    relation, bound = limit.split()
    assert relation in ("<=", ">")
    return (numbers[0] <= float(bound)) is (relation == "<=")


QUICK: dict[str, object] = {
    **chart.ANALYSED,
    "workload.kind": "Rollout",
    "metrics.serviceMonitor.intervalSeconds": 1,
    "analysis.windowSeconds": 60,
    "analysis.delaySeconds": 2,
    "analysis.count": 1,
}


def judged(prometheus: str, canary: str, stable: str = "stable") -> dict[str, bool]:
    """What Argo Rollouts would conclude from the chart's own queries and conditions."""
    return {
        name: holds(metric["successCondition"], answered(prometheus, metric, canary, stable))
        for name, metric in metrics_of(chart.render("dev", QUICK)).items()
    }


def watched(prometheus: str, canary: str, least: int, stable: str = "stable") -> set[str]:
    """What the background would conclude of each metric: good, bad, or open."""
    values = {**QUICK, "analysis.backgroundMinRequests": least}
    verdicts = set()
    for name, metric in metrics_of(chart.render("dev", values), "background").items():
        numbers = answered(prometheus, metric, canary, stable)
        good, bad = (holds(metric[f"{what}Condition"], numbers) for what in ("success", "failure"))
        assert not (good and bad)
        verdicts.add(f"{name} {'good' if good else 'bad' if bad else 'open'}")
    return verdicts


def test_the_queries_tell_good_from_bad(
    versions: Versions, prometheus: str, tmp_path: Path
) -> None:
    # Nobody has asked the good version yet: no answer, so no promotion.
    time.sleep(3)
    assert set(judged(prometheus, "good").values()) == {False}
    assert {verdict.split()[1] for verdict in watched(prometheus, "good", 5)} == {"open"}

    runs = {}
    for name, service in vars(versions).items():
        (tmp_path / name).mkdir()
        runs[name] = smoke(service, tmp_path / name, seconds=12)
    time.sleep(3)
    # A twentieth that fails is for the metrics to notice, not for the load.
    assert {name: run.returncode for name, run in runs.items()} == dict.fromkeys(runs, 0)
    assert judged(prometheus, "good") == dict.fromkeys(judged(prometheus, "good"), True)
    bad = judged(prometheus, "bad")
    assert (bad["errors"], bad["errors-above-stable"]) == (False, False)
    slow = judged(prometheus, "slow")
    assert (slow["slow"], slow["slow-above-stable"]) == (False, False)
    assert (slow["errors"], slow["errors-above-stable"]) == (True, True)
    # An idle stable version, or none, is nothing to be worse than.
    assert judged(prometheus, "good", stable="unknown")["errors-above-stable"] is True
    assert judged(prometheus, "bad", stable="unknown")["errors-above-stable"] is False
    # In the background the same, of a few requests; of fewer than it takes, nothing yet.
    assert {verdict.split()[1] for verdict in watched(prometheus, "good", 5)} == {"good"}
    assert {"errors bad", "errors-above-stable bad"} <= watched(prometheus, "bad", 5)
    assert {"slow bad", "slow-above-stable bad"} <= watched(prometheus, "slow", 5)
    assert {verdict.split()[1] for verdict in watched(prometheus, "bad", 1000)} == {"open"}
