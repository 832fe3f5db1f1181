// Draws the overview's charts over their SVGs, with what lies under the pointer in words. Without it the SVGs stay.

import { $, $$, write } from "./dom.js";
import { clock } from "./times.js";

const drawn = new Map(); // plot's id -> { box, data, chart }: a part that is served anew keeps its chart
const FADES = [1, 0.55, 0.3]; // of the curves, first to last
const dpr = () => devicePixelRatio || 1;

const number = (value) => value.toLocaleString("en");
function seconds(value) {
  if (value < 0.0995) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 60) return `${Math.round(value)} s`;
  return value < 3600 ? `${(value / 60).toFixed(1)} min` : `${(value / 3600).toFixed(1)} h`;
}

function grid(chart, box) {
  const { ctx, bbox } = chart;
  const { top } = drawn.get(box.id).data;
  const steps = box.classList.contains("half") || box.classList.contains("low") ? 1 : 4;
  ctx.save();
  ctx.strokeStyle = getComputedStyle(box).borderTopColor; // a border of no width, in the colour of hairlines
  ctx.lineWidth = dpr();
  ctx.beginPath();
  for (let step = 0; step <= steps; step++) {
    const y = Math.round(chart.valToPos((top * step) / steps, "y", true)) + 0.5;
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
  }
  ctx.stroke();
  ctx.restore();
}

function tell(entry, index) {
  const figure = entry.box.closest("figure");
  const note = $("header .muted", figure);
  note.dataset.rest ??= note.textContent;
  if (index == null) return write(note, note.dataset.rest);
  const plots = $$("[data-plot]", figure).map((box) => drawn.get(box.id)).filter(Boolean);
  const values = plots.flatMap(({ data }, order) =>
    data.curves.map(({ name, values }) => {
      const value = values[index];
      const prefix = data.seconds && plots.length > 1 && name === data.curves[0].name ? ["waits ", "runs "][order] : "";
      return prefix + (value == null ? "–" : data.seconds ? seconds(value) : `${number(value)} ${name}`);
    }));
  const at = new Date(entry.data.starts[index] * 1000);
  const day = entry.data.starts[1] - entry.data.starts[0] > 60 ? `${at.toLocaleDateString([], { weekday: "short", day: "numeric" })}, ` : "";
  write(note, `${day}${clock(at).slice(0, 5)}: ${values.join(", ")}`);
}

function options(entry, width, height) {
  const bars = entry.box.dataset.kind === "bars";
  const ink = () => getComputedStyle(entry.box).color;
  const faded = (share) => ink().replace(/^rgb\((.*)\)$/, `rgba($1, ${share})`);
  const half = () => (bars ? (entry.data.starts[1] - entry.data.starts[0]) / 2 : 0);
  const lone = (chart, series) => {
    const values = chart.data[series];
    return values.flatMap((value, i) => (value != null && values[i - 1] == null && values[i + 1] == null ? [i] : []));
  };
  return {
    width,
    height,
    padding: [0, 0, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { show: !bars, size: 6 }, sync: { key: entry.box.closest("figure").id, scales: ["x", null] } },
    scales: {
      x: { time: true, range: () => [entry.data.starts[0] - half(), entry.data.starts.at(-1) + half()] },
      y: { range: () => [-entry.data.top / 80, entry.data.top * (1 + 1 / 80)] }, // a line along an edge is seen whole
    },
    axes: [{ show: false }, { show: false }],
    series: [{}, ...entry.data.curves.map((curve, order) => ({
      label: curve.name,
      stroke: () => (bars ? "transparent" : faded(FADES[order])),
      fill: order ? undefined : () => faded(bars ? 0.85 : 0.1),
      width: bars ? 0 : 1.75,
      paths: bars ? uPlot.paths.bars({ size: [0.7] }) : undefined,
      points: { show: !bars, size: 4, filter: bars ? undefined : lone, fill: () => faded(FADES[order]) },
    }))],
    hooks: {
      drawClear: [(chart) => grid(chart, entry.box)],
      setCursor: [(chart) => tell(entry, chart.cursor.idx)],
    },
  };
}

function draw(box) {
  const old = drawn.get(box.id);
  const data = JSON.parse(box.dataset.plot);
  const rows = [data.starts, ...data.curves.map((curve) => curve.values)];
  const entry = old ?? { chart: null };
  Object.assign(entry, { box, data });
  drawn.set(box.id, entry);
  const { clientWidth: width, clientHeight: height } = box;
  if (entry.chart) {
    box.replaceChildren(entry.chart.root);
    entry.chart.setData(rows);
    if (entry.chart.width !== width) entry.chart.setSize({ width, height });
    return;
  }
  box.replaceChildren();
  entry.chart = new uPlot(options(entry, width, height), rows, box);
}

function drawAll() {
  for (const box of $$("[data-plot]")) if (drawn.get(box.id)?.box !== box) draw(box);
}

function inkChanged() {
  for (const { chart } of drawn.values()) chart.redraw(false);
}

if (globalThis.uPlot) {
  drawAll();
  new MutationObserver(drawAll).observe($("main"), { childList: true });
  for (const column of $$("main .cols")) new MutationObserver(drawAll).observe(column, { childList: true });
  new ResizeObserver(() => {
    for (const { box, chart } of drawn.values()) chart.setSize({ width: box.clientWidth, height: box.clientHeight });
  }).observe($("main"));
  new MutationObserver(inkChanged).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", inkChanged);
}
