"use strict";
// Draws the page's plots from the data beside it, at the width that there is.

const data = JSON.parse(document.getElementById("data").textContent);
const NS = "http://www.w3.org/2000/svg";

function element(parent, name, attributes = {}, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function milliseconds(value) {
  if (value >= 10000) return (value / 1000).toFixed(0) + " s";
  if (value >= 1000) return (value / 1000).toFixed(1) + " s";
  return (value >= 10 ? value.toFixed(0) : value.toFixed(1).replace(".0", "")) + " ms";
}

function plain(value) {
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}

function clock(seconds) {
  if (data.seconds < 180) return Math.round(seconds) + " s";
  if (data.seconds < 5400) return +(seconds / 60).toFixed(1) + " min";
  return +(seconds / 3600).toFixed(2) + " h";
}

function evenTicks(most, count) {
  const raw = most / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const ticks = [];
  for (let at = 0; at <= most * 1.0001; at += step) ticks.push(+at.toFixed(6));
  return ticks;
}

function logTicks(low, high, most = 12) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const n of [1, 2, 5]) ticks.push(+(n * 10 ** power).toPrecision(2));
  const inside = ticks.filter((t) => t >= low * 0.999 && t <= high * 1.001);
  if (inside.length <= most) return inside;
  const decades = inside.filter((t) => Math.abs(Math.log10(t) % 1) < 1e-9);
  return decades.length > 1 ? decades : inside.filter((_, i) => i % 2 === 0);
}

function canvas(place, height) {
  place.replaceChildren();
  const width = Math.max(260, place.clientWidth);
  const svg = element(place, "svg", {
    viewBox: `0 0 ${width} ${height}`, height, role: "img",
    "aria-label": place.dataset.about || "",
  });
  return { svg, width };
}

function tip(place, x, lines) {
  let box = place.querySelector(".tip");
  if (!lines) { if (box) box.remove(); return; }
  if (!box) { box = document.createElement("div"); box.className = "tip"; place.appendChild(box); }
  box.replaceChildren();
  for (const [colour, text] of lines) {
    const line = document.createElement("div");
    if (colour) {
      const mark = document.createElement("i");
      mark.style.background = colour;
      line.appendChild(mark);
    }
    line.append(text);
    box.appendChild(line);
  }
  box.style.top = "6px";
  const left = x + 14 + box.offsetWidth > place.clientWidth ? x - 14 - box.offsetWidth : x + 14;
  box.style.left = Math.max(0, left) + "px";
}

// Something over time: lines, or stacked bars. `format` is of values.
function overTime(place, series, { log = false, bars = false, format = plain } = {}) {
  const height = 230, margin = { left: 58, right: 10, top: 10, bottom: 26 };
  const { svg, width } = canvas(place, height);
  const count = data.at.length, end = data.at[count - 1] + data.bucket;
  const x = (s) => margin.left + (s / end) * (width - margin.left - margin.right);
  const all = series.flatMap((s) => s.values).filter((v) => v !== null && (!log || v > 0));
  const sums = data.at.map((_, i) => series.reduce((t, s) => t + (s.values[i] || 0), 0));
  const most = Math.max(...(bars ? sums : all), log ? 1 : 0) || 1;
  const low = log ? Math.min(...all, most / 10) / 1.2 : 0;
  const ticks = log ? logTicks(low, most * 1.2, 7) : evenTicks(Math.max(most, bars ? 4 : 0) * 1.05, 4);
  const high = log ? most * 1.2 : Math.max(ticks[ticks.length - 1], most * 1.05);
  const share = (v) => (log ? Math.log(v / low) / Math.log(high / low) : v / high);
  const y = (v) => height - margin.bottom - share(v) * (height - margin.top - margin.bottom);
  for (const tick of ticks) {
    element(svg, "line", { class: "rule", x1: margin.left, x2: width - margin.right, y1: y(tick), y2: y(tick) });
    element(svg, "text", { x: margin.left - 8, y: y(tick) + 4, "text-anchor": "end" }, format(tick));
  }
  for (const tick of evenTicks(end, width < 500 ? 4 : 7)) {
    element(svg, "text", { x: x(tick), y: height - 8, "text-anchor": tick ? "middle" : "start" }, clock(tick));
  }
  const middle = (i) => x(data.at[i] + data.bucket / 2);
  if (bars) {
    const wide = Math.max(1.5, x(data.bucket) - x(0) - 1.5);
    data.at.forEach((_, i) => {
      let below = 0;
      for (const one of series) {
        const value = one.values[i] || 0;
        if (!value) continue;
        element(svg, "rect", {
          x: middle(i) - wide / 2, width: wide, y: y(below + value),
          height: Math.max(1, y(below) - y(below + value)), fill: one.colour,
        });
        below += value;
      }
    });
    if (!sums.some((v) => v)) {
      element(svg, "text", { class: "name", x: (width + margin.left) / 2, y: height / 2 - 14, "text-anchor": "middle" }, "none");
    }
  } else {
    for (const one of series) {
      let path = "", drawing = false;
      one.values.forEach((value, i) => {
        if (value === null || (log && value <= 0)) { drawing = false; return; }
        path += `${drawing ? "L" : "M"}${middle(i).toFixed(1)},${y(value).toFixed(1)}`;
        drawing = true;
      });
      element(svg, "path", {
        d: path, fill: "none", stroke: one.colour, "stroke-width": 2, "stroke-linejoin": "round",
        "stroke-dasharray": one.dashed ? "5 4" : "none",
      });
    }
  }
  const cross = element(svg, "line", { class: "cross", y1: margin.top, y2: height - margin.bottom, visibility: "hidden" });
  svg.addEventListener("pointermove", (event) => {
    const at = ((event.offsetX - margin.left) / (width - margin.left - margin.right)) * end;
    const i = Math.min(count - 1, Math.max(0, Math.floor(at / data.bucket)));
    cross.setAttribute("x1", middle(i)); cross.setAttribute("x2", middle(i));
    cross.setAttribute("visibility", "visible");
    tip(place, middle(i), [["", clock(data.at[i])], ...series.map((s) => [
      s.colour, `${s.name}  ${s.values[i] === null ? "–" : format(s.values[i])}`])]);
  });
  svg.addEventListener("pointerleave", () => { cross.setAttribute("visibility", "hidden"); tip(place); });
}

// Rows of distributions on one logarithmic axis; each row has one or two outlines.
function distributions(place, rows) {
  const narrow = place.clientWidth < 560;
  const tall = narrow ? 74 : 56, left = narrow ? 8 : 108, right = narrow ? 8 : 215;
  const height = rows.length * tall + 34;
  const { svg, width } = canvas(place, height);
  const edges = rows.flatMap((row) => row.shapes.flatMap((shape) => [shape.low, shape.high]));
  const limits = rows.flatMap((row) => (row.limits || []).map(([, v]) => v));
  const low = Math.min(...edges) / 1.15, high = Math.max(...edges, ...limits) * 1.15;
  const x = (v) => left + (Math.log(v / low) / Math.log(high / low)) * (width - left - right);
  for (const tick of logTicks(low, high, narrow ? 5 : 9)) {
    element(svg, "line", { class: "rule", x1: x(tick), x2: x(tick), y1: 4, y2: height - 26 });
    element(svg, "text", { x: x(tick), y: height - 9, "text-anchor": "middle" }, milliseconds(tick));
  }
  rows.forEach((row, number) => {
    const base = (number + 1) * tall, room = tall - (narrow ? 32 : 14);
    element(svg, "line", { class: "rule", x1: left, x2: width - right, y1: base, y2: base });
    element(svg, "text", narrow ? { class: "name", x: left, y: base - tall + 20 }
      : { class: "name", x: left - 10, y: base - 6, "text-anchor": "end" }, row.name);
    for (const shape of row.shapes) {
      const top = Math.max(...shape.counts);
      let path = `M${x(shape.low).toFixed(1)},${base}`;
      shape.counts.forEach((n, i) => {
        const at = x(shape.low * shape.step ** (i + 0.5));
        path += `L${at.toFixed(1)},${(base - (n / top) * room).toFixed(1)}`;
      });
      path += `L${x(shape.low * shape.step ** shape.counts.length).toFixed(1)},${base}Z`;
      element(svg, "path", { d: path, fill: shape.colour, "fill-opacity": 0.28, stroke: shape.colour, "stroke-width": 1.5 });
      if (row.shapes.length === 1)
        shape.marks.forEach(([name, value], i) => {
          const line = element(svg, "line", {
            x1: x(value), x2: x(value), y1: base - room * (i ? 0.45 : 1), y2: base,
            stroke: ["var(--c2)", "var(--c2)", "var(--c3)"][i], "stroke-width": 2,
          });
          element(line, "title", {}, `${name} ${milliseconds(value)}`);
        });
    }
    for (const [name, value] of row.limits || []) {
      const mark = element(svg, "path", { d: `M${x(value)},${base - 1}l-5,-9h10z`, fill: "var(--error)" });
      element(mark, "title", {}, `limit of ${name}: ${milliseconds(value)}`);
    }
    element(svg, "text", narrow
      ? { x: width - right, y: base - tall + 20, "text-anchor": "end" }
      : { x: width - right + 12, y: base - 6 }, row.text);
  });
}

// Ratios B over A with their bounds, and each round as a dot.
function forest(place, rows, margin) {
  const narrow = place.clientWidth < 560;
  const tall = narrow ? 44 : 28, left = narrow ? 8 : 128, right = narrow ? 8 : 300;
  const height = rows.length * tall + 34;
  const { svg, width } = canvas(place, height);
  const colours = { slower: "var(--error)", "not slower": "var(--held)" };
  const clip = (v) => Math.min(20, Math.max(0.05, v));
  const reach = rows.flatMap((r) => [clip(r.low), clip(r.high), ...r.ratios.map(clip)]);
  const low = Math.min(...reach, 0.9) / 1.03, high = Math.max(...reach, 1 + margin, 1.1) * 1.03;
  const x = (v) => left + (Math.log(clip(v) / low) / Math.log(high / low)) * (width - left - right);
  const wanted = high / low > 8 ? [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    : high / low > 2 ? [0.3, 0.5, 0.7, 1, 1.4, 2, 3, 4] : [0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.6];
  const ticks = wanted.filter((t) => t >= low && t <= high);
  for (const tick of ticks.filter((t, i) => !narrow || t === 1 || i % 2 === 0)) {
    element(svg, "line", { class: "rule", x1: x(tick), x2: x(tick), y1: 4, y2: height - 26, "stroke-width": tick === 1 ? 2 : 1 });
    element(svg, "text", { x: x(tick), y: height - 9, "text-anchor": "middle" }, tick === 1 ? "same" : "×" + tick);
  }
  element(svg, "line", { x1: x(1 + margin), x2: x(1 + margin), y1: 4, y2: height - 26, stroke: "var(--error)", "stroke-dasharray": "5 4" });
  rows.forEach((row, number) => {
    const at = number * tall + (narrow ? 32 : 18), colour = colours[row.verdict] || "var(--plan)";
    element(svg, "text", narrow ? { class: "name", x: left, y: at - 14 }
      : { class: "name", x: left - 10, y: at + 4, "text-anchor": "end" }, `${row.endpoint} ${row.name}`);
    element(svg, "line", { x1: x(row.low), x2: x(row.high), y1: at, y2: at, stroke: colour, "stroke-width": 3, "stroke-linecap": "round" });
    for (const ratio of row.ratios) element(svg, "circle", { cx: x(ratio), cy: at, r: 2.5, fill: "var(--soft)", "fill-opacity": 0.7 });
    const dot = element(svg, "circle", { cx: x(row.ratio), cy: at, r: 5, fill: colour });
    const told = `×${row.ratio.toFixed(2)} (${row.low.toFixed(2)} to ${row.high.toFixed(2)}) ${row.verdict}`;
    element(dot, "title", {}, `${told}; rounds: ${row.ratios.map((r) => r.toFixed(2)).join(", ")}`);
    element(svg, "text", narrow ? { x: width - right, y: at - 14, "text-anchor": "end" }
      : { x: width - right + 12, y: at + 4 }, narrow ? `×${row.ratio.toFixed(2)} ${row.verdict}` : told);
  });
}

function draw() {
  for (const place of document.querySelectorAll(".plot")) {
    if (place.id === "latency") {
      const chosen = data.latency[document.getElementById("endpoint").value];
      overTime(place, [
        { name: "p50", colour: "var(--c1)", values: chosen.p50 },
        { name: "p95", colour: "var(--c2)", values: chosen.p95 },
        { name: "p99", colour: "var(--c3)", values: chosen.p99 },
      ], { log: true, format: milliseconds });
    } else if (place.id === "rate") {
      overTime(place, [
        { name: "intended", colour: "var(--plan)", values: data.intended, dashed: true },
        { name: "served", colour: "var(--done)", values: data.served },
      ]);
    } else if (place.id === "trouble") {
      overTime(place, [
        { name: "errors", colour: "var(--error)", values: data.errors },
        { name: "shed", colour: "var(--shed)", values: data.shed },
        { name: "dropped", colour: "var(--drop)", values: data.dropped },
      ], { bars: true });
    } else if (place.id === "distribution") distributions(place, data.distribution);
    else if (place.id === "forest") forest(place, data.differences, data.margin);
  }
}

const choice = document.getElementById("endpoint");
if (choice) choice.addEventListener("change", draw);
let last = 0;
new ResizeObserver(() => {
  if (document.body.clientWidth !== last) { last = document.body.clientWidth; draw(); }
}).observe(document.body);
