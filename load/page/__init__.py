"""The page of a run, or of a comparison: one file that needs nothing else."""

from __future__ import annotations

import html
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from load.compare import AS_FAST, SLOWER, UNTOLD, Comparison, Difference
from load.gate import PERCENTILES, Verdict
from load.profile import Profile
from load.samples import ERROR, OK, SHED, Run, Sample, percentile

_HERE = Path(__file__).parent
_MOST_BUCKETS = 120
_BINS_PER_DECADE = 14

Json = dict[str, Any]


def of_run(profile: Profile, run: Run, verdicts: Sequence[Verdict]) -> str:
    """The page as HTML."""
    missed = [verdict for verdict in verdicts if not verdict.held]
    parts = [
        _header(f"Load: {profile.name}", profile.about, _when(run), not missed),
        _cards(run),
        _missed(missed),
        '<div class="grid">',
        _over_time(profile),
        "</div>",
        _thresholds(verdicts),
        _details(profile, run),
    ]
    return _page(f"load {profile.name}", parts, _series(profile, run))


def of_comparison(comparison: Comparison, missed: Sequence[Verdict]) -> str:
    """The page as HTML. `missed` are the rounds' own thresholds."""
    profile, rounds, differences = comparison.profile, comparison.rounds, comparison.differences
    slower, untold = comparison.told(SLOWER), comparison.told(UNTOLD)
    told = (
        f"{len(rounds)} rounds, in turns, with the same arrivals. B counts as slower where the "
        f"lower bound is beyond ×{1 + comparison.margin:.2f}; with {comparison.confidence:.0%} "
        "confidence none of these verdicts is a false alarm."
    )
    worst = max((d.detectable for d in differences), default=math.nan)
    parts = [
        _header(
            "Is B slower than A?",
            f"A: {comparison.names[0]} · B: {comparison.names[1]} · profile {profile.name}",
            _when(rounds[0][0]),
            not slower and not missed,
            (
                "no slowdown shown" if untold else "B is not slower",
                "B is slower" if slower else "failed",
            ),
        ),
        _card_row(
            [
                ("slower", str(len(slower)), bool(slower)),
                ("not slower", str(len(comparison.told(AS_FAST))), False),
                ("cannot be told", str(len(untold)), False),
                ("rounds", str(len(rounds)), False),
                ("slowdown that would show", f"×{worst:.2f}", False),
            ]
        ),
        _missed(missed),
        '<div class="grid"><section class="wide"><h2>How much slower B is than A</h2>'
        f'<p class="soft">{html.escape(told)} Bars are bounds, small dots single rounds, the '
        "dashed line is the margin.</p>"
        '<div class="plot" id="forest" data-about="ratio of B to A, by endpoint"></div></section>'
        '<section class="wide"><h2>Latency of all rounds</h2>'
        '<div class="legend"><span><i style="background:var(--a)"></i>A</span>'
        '<span><i style="background:var(--b)"></i>B</span></div>'
        '<div class="plot" id="distribution" data-about="latency by endpoint, A and B"></div>'
        "</section></div>",
        _differences(differences),
    ]
    rows = [_row_of_two(endpoint, rounds) for endpoint in profile.endpoints]
    data = {
        "margin": comparison.margin,
        "differences": [
            {
                "endpoint": d.endpoint,
                "name": d.name,
                "ratio": d.ratio,
                "low": d.low,
                "high": d.high,
                "ratios": d.ratios,
                "verdict": d.verdict,
            }
            for d in differences
        ],
        "distribution": [row for row in rows if row["shapes"]],
    }
    return _page("load comparison", parts, data)


# --- data that the script draws -----------------------------------------------------------------


def _series(profile: Profile, run: Run) -> Json:
    """In buckets of time, by the intended start."""
    bucket = max(1, math.ceil(max(run.took, 1) / _MOST_BUCKETS))
    count = max(1, math.ceil(max(run.took, 1) / bucket))

    def counted(times: Iterable[float]) -> list[int]:
        found = Counter(min(count - 1, max(0, int(at // bucket))) for at in times)
        return [found[number] for number in range(count)]

    def per_second(counts: list[int]) -> list[float]:
        return [round(n / bucket, 3) for n in counts]

    intended = [0] * count
    for second, arrivals in enumerate(run.intended):
        intended[min(count - 1, second // bucket)] += arrivals
    measured = run.measured
    grouped = {"all endpoints": measured} | {e: run.of(e) for e in profile.endpoints}
    return {
        "seconds": run.took,
        "bucket": bucket,
        "at": [number * bucket for number in range(count)],
        "latency": {name: _latency(part, bucket, count) for name, part in grouped.items()},
        "intended": per_second(intended),
        "served": per_second(counted(at for at, _ in run.served)),
        "errors": counted(s.intended for s in run.samples if s.outcome == ERROR),
        "shed": counted(s.intended for s in run.samples if s.outcome == SHED),
        "dropped": counted(at for at, _ in run.drops),
        "distribution": [
            row for e in profile.endpoints if (row := _row(e, profile, run.of(e)))["shapes"]
        ],
    }


def _latency(samples: list[Sample], bucket: int, count: int) -> Json:
    parts: list[list[float]] = [[] for _ in range(count)]
    for sample in samples:
        if sample.outcome != SHED:
            at = min(count - 1, max(0, int(sample.intended // bucket)))
            parts[at].append(sample.latency * 1000)
    for part in parts:
        part.sort()
    return {
        name.removesuffix("_ms"): [
            round(percentile(part, share), 3) if part else None for part in parts
        ]
        for name, share in PERCENTILES.items()
    }


def _row(endpoint: str, profile: Profile, samples: list[Sample]) -> Json:
    values = sorted(s.latency * 1000 for s in samples if s.outcome == OK)
    limits = profile.thresholds[endpoint]
    p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
    return {
        "name": endpoint,
        "text": f"p50 {_short(p50)} · p99 {_short(p99)} · n {len(values)}",
        "shapes": [_shape(values, "var(--c2)")] if values else [],
        "limits": [
            (name.removesuffix("_ms"), limit)
            for name in PERCENTILES
            if (limit := getattr(limits, name)) is not None
        ],
    }


def _row_of_two(endpoint: str, rounds: Sequence[tuple[Run, Run]]) -> Json:
    shapes, texts = [], []
    for side, name, colour in ((0, "A", "var(--a)"), (1, "B", "var(--b)")):
        values = sorted(
            s.latency * 1000 for pair in rounds for s in pair[side].of(endpoint) if s.outcome == OK
        )
        if values:
            shapes.append(_shape(values, colour))
            texts.append(f"{name} p50 {_short(percentile(values, 0.5))}")
    return {"name": endpoint, "text": " · ".join(texts), "shapes": shapes}


def _shape(values: list[float], colour: str) -> Json:
    """A histogram with bins of equal width on a logarithmic scale, in milliseconds."""
    step = 10 ** (1 / _BINS_PER_DECADE)
    first = math.floor(math.log(max(values[0], 0.01), step))
    bins = Counter(math.floor(math.log(max(value, 0.01), step)) - first for value in values)
    return {
        "low": step**first,
        "high": step ** (first + max(bins) + 1),
        "step": step,
        "counts": [bins[number] for number in range(max(bins) + 1)],
        "colour": colour,
        "marks": [
            (name.removesuffix("_ms"), round(percentile(values, share), 3))
            for name, share in PERCENTILES.items()
        ],
    }


# --- parts of the page --------------------------------------------------------------------------


def _page(title: str, parts: list[str], data: Json) -> str:
    # "<" cannot end the script element that holds it.
    encoded = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    style, script = (_HERE / "page.css").read_text(), (_HERE / "page.js").read_text()
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title><style>{style}</style></head><body><main>",
            *parts,
            "<noscript><p>The plots need JavaScript; report.json has the figures.</p></noscript>",
            f'</main><script type="application/json" id="data">{encoded}</script>',
            f"<script>{script}</script></body></html>\n",
        ]
    )


def _header(
    title: str,
    about: str,
    when: str,
    held: bool,
    words: tuple[str, str] = ("passed", "failed"),
) -> str:
    kind, word = ("held", words[0]) if held else ("missed", words[1])
    return (
        f"<header><div><h1>{html.escape(title)}</h1><p>{html.escape(about)}</p>"
        f'<p class="soft">{html.escape(when)}</p></div>'
        f'<span class="badge {kind}">{word}</span></header>'
    )


def _when(run: Run) -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.started_at))
    return f"{moment} · {run.url} · seed {run.seed}"


def _cards(run: Run) -> str:
    measured = run.measured
    scheduled, took = sum(run.scheduled.values()), max(run.took, 1e-9)
    kinds = Counter(sample.outcome for sample in run.samples)
    latencies = sorted(s.latency * 1000 for s in measured if s.outcome != SHED)
    return _card_row(
        [
            ("requests", f"{len(measured):,}", not measured),
            ("arrivals/s served", f"{len(run.served) / took:.1f}", False),
            ("arrivals/s intended", f"{scheduled / max(run.seconds, 1e-9):.1f}", False),
            ("p50", _short(percentile(latencies, 0.5)), False),
            ("p99", _short(percentile(latencies, 0.99)), False),
            ("errors", f"{kinds[ERROR]:,}", bool(kinds[ERROR])),
            ("shed", f"{kinds[SHED]:,}", False),
            ("dropped", f"{len(run.drops):,}", bool(run.drops)),
        ]
    )


def _card_row(cards: list[tuple[str, str, bool]]) -> str:
    shown = "".join(
        f'<div class="card{" bad" if bad else ""}"><b>{html.escape(value)}</b>'
        f'<span class="soft">{html.escape(name)}</span></div>'
        for name, value, bad in cards
    )
    return f'<div class="cards">{shown}</div>'


def _missed(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return ""
    lines = "".join(f"<li>{html.escape(verdict.text)}</li>" for verdict in verdicts)
    return f'<section class="missing"><h2>What did not hold</h2><ul>{lines}</ul></section>'


def _over_time(profile: Profile) -> str:
    names = ["all endpoints", *profile.endpoints]
    options = "".join(f"<option>{html.escape(name)}</option>" for name in names)

    def legend(*entries: tuple[str, str]) -> str:
        marks = "".join(
            f'<span><i style="background:var(--{colour})"></i>{name}</span>'
            for name, colour in entries
        )
        return f'<div class="legend">{marks}</div>'

    return f"""
<section class="wide"><div class="head"><h2>Latency over time</h2>
<label class="soft">of <select id="endpoint" aria-label="endpoint">{options}</select></label></div>
<p class="soft">From the intended start to the whole answer; logarithmic. With fewer than a hundred
requests at a time, p99 is the slowest; in a gap there was no answer but refusals.</p>
{legend(("p50", "c1"), ("p95", "c2"), ("p99", "c3"))}
<div class="plot" id="latency" data-about="latency percentiles over time"></div></section>
<section><h2>Arrivals per second</h2>
<p class="soft">Intended by the schedule, and served to their end.</p>
{legend(("intended", "plan"), ("served", "done"))}
<div class="plot" id="rate" data-about="arrivals per second over time"></div></section>
<section><h2>Errors, shed and dropped</h2>
<p class="soft">Shed: refused with 429 or 503. Dropped: no user was free.</p>
{legend(("errors", "error"), ("shed", "shed"), ("dropped", "drop"))}
<div class="plot" id="trouble" data-about="errors, shed and dropped over time"></div></section>
<section class="wide"><h2>Latency by endpoint</h2>
<p class="soft">How often each latency came, each row to its own height; lines are p50 (full
height), p95 and p99, red triangles the limits.</p>
<div class="plot" id="distribution" data-about="latency by endpoint"></div></section>"""


def _thresholds(verdicts: Sequence[Verdict]) -> str:
    rows, place = [], ""
    for verdict in verdicts:
        first = verdict.place != place
        place = verdict.place
        word, kind = ("held", "ok") if verdict.held else ("missed", "fail")
        rows.append(
            f"<tr{' class=place' if first else ''}><td>{html.escape(place) if first else ''}</td>"
            f"<td>{html.escape(verdict.name)}</td><td>{html.escape(verdict.wanted)}</td>"
            f'<td class="text">{html.escape(verdict.measured)}</td>{_used(verdict)}'
            f'<td class="{kind}">{word}</td></tr>'
        )
    return (
        '<section class="below"><h2>All thresholds</h2><div class="scroll"><table><tr><th>where'
        '<th>threshold<th>wanted<th>measured<th class="used">used of it<th></tr>'
        f"{''.join(rows)}</table></div></section>"
    )


def _used(verdict: Verdict) -> str:
    if verdict.used is None or math.isnan(verdict.used):
        return '<td class="used"></td>'
    width = min(100, max(1, round(verdict.used * 100)))
    over = "" if verdict.held else ' class="over"'
    return f'<td class="used"><div><span{over} style="width:{width}%"></span></div></td>'


def _differences(differences: Sequence[Difference]) -> str:
    kinds = {"slower": "fail", "not slower": "ok"}

    def middle(values: list[float]) -> str:
        return _short(sorted(values)[len(values) // 2])

    rows = "".join(
        f"<tr><td>{html.escape(d.endpoint)} {d.name}</td><td>{middle(d.a_ms)}</td>"
        f"<td>{middle(d.b_ms)}</td><td>×{d.ratio:.2f}</td><td>×{d.low:.2f} to ×{d.high:.2f}</td>"
        f"<td>×{d.detectable:.2f}</td>"
        f'<td class="{kinds.get(d.verdict, "")}">{d.verdict}</td></tr>'
        for d in differences
    )
    return (
        '<section class="below"><h2>In figures</h2><p class="soft">Medians of the rounds; the '
        "ratio's bounds; the smallest ratio that these rounds would have shown to be slower.</p>"
        '<div class="scroll"><table><tr><th>endpoint<th>A<th>B<th>ratio<th>bounds<th>detectable'
        f"<th></tr>{rows}</table></div></section>"
    )


def _details(profile: Profile, run: Run) -> str:
    workers = ", ".join(f"{w.name}: {w.users} users, {w.ended or w.phase}" for w in run.workers)
    text = json.dumps(profile.model_dump(exclude={"thresholds"}), indent=1)
    raised = "".join(f"<pre>{html.escape(e)}</pre>" for e in run.exceptions[:5])
    return (
        '<section class="below"><details><summary>The run</summary>'
        f'<p class="soft">{html.escape(workers)}</p><pre>{html.escape(text)}</pre></details>'
        f"{raised and '<h2>Exceptions</h2>' + raised}</section>"
    )


def _short(milliseconds: float) -> str:
    if math.isnan(milliseconds):
        return "–"
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.2g} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
