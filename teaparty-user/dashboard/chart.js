// Lines over time as SVG, with the same as a table for who can't see them.

import { el, replace, setText, shown, svg } from "./dom.js";
import { clock } from "./format.js";

const MARGIN = { top: 8, right: 8, bottom: 20, left: 64 };
const ROWS = 60;

/** The least round number that is not below a value: 1, 2, 2.5 or 5 times a power of ten. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((round) => round >= value);
}

/** Points as a path; an unknown value leaves a gap, and a value between two gaps is a dot. */
function path(points, x, y) {
  let text = "";
  let isDrawing = false;
  points.forEach(([t, value], i) => {
    if (value === null) {
      isDrawing = false;
      return;
    }
    const at = `${x(t).toFixed(1)} ${y(value).toFixed(1)}`;
    text += isDrawing ? `L${at}` : `M${at}`;
    if (!isDrawing && (points[i + 1]?.[1] ?? null) === null) text += `L${at}`;
    isDrawing = true;
  });
  return text;
}

/**
 * A chart of some lines: `series` has their names and classes, `format` writes a value, `time` a moment. `draw` takes points, each
 * `{ t, values }` with a value, or null, for each line, and the span of time in seconds.
 */
export function lineChart({ title, series, format, time = clock, height = 170, empty = "No figures yet." }) {
  let points = [];
  let range = [0, 1];
  const picture = svg("svg", { class: "chart", role: "img", height });
  const readout = el("p", { class: "readout", "aria-hidden": "true" });
  const legend = el("ul", { class: "legend" },
    series.map(({ name, kind }) => el("li", {}, el("span", { class: `key ${kind}`, "aria-hidden": "true" }), name)));
  const table = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, as a table` });
  const details = el("details", { class: "as-table", ontoggle: () => fillTable() }, el("summary", {}, "As a table"), table);
  const node = el("figure", {}, el("figcaption", {}, el("span", { class: "title" }, title), legend), picture, readout, details);
  let hovered = null;

  function scale() {
    const width = Math.max(picture.clientWidth, 200);
    const known = points.flatMap(({ values }) => values.filter((value) => value !== null));
    // One-way delays between clocks that differ may be negative.
    const lowest = Math.min(0, ...known);
    const least = lowest < 0 ? -ceiling(-lowest) : 0;
    const most = Math.max(...known, 0) > 0 || least === 0 ? ceiling(Math.max(0, ...known)) : 0;
    const x = (t) => MARGIN.left + ((t - range[0]) / (range[1] - range[0])) * (width - MARGIN.left - MARGIN.right);
    const y = (value) => height - MARGIN.bottom - ((value - least) / (most - least)) * (height - MARGIN.top - MARGIN.bottom);
    return { width, least, most, x, y };
  }

  function paint() {
    const { width, least, most, x, y } = scale();
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const lines = [0, 0.5, 1].map((part) => least + part * (most - least)).flatMap((value) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, points.length === 0 ? "" : value === 0 ? "0" : format(value)),
    ]);
    const steps = width > 700 ? 4 : 2;
    for (let i = 0; i <= steps && points.length > 0; i += 1) {
      const t = range[0] + ((range[1] - range[0]) * i) / steps;
      const anchor = i === 0 ? "start" : i === steps ? "end" : "middle";
      lines.push(svg("text", { class: "tick", x: x(t), y: height - 4, "text-anchor": anchor }, time(t)));
    }
    series.forEach(({ kind }, i) => {
      lines.push(svg("path", { class: `line ${kind}`, d: path(points.map(({ t, values }) => [t, values[i]]), x, y) }));
    });
    if (hovered) lines.push(svg("line", { class: "cursor", x1: x(hovered.t), x2: x(hovered.t), y1: MARGIN.top, y2: height - MARGIN.bottom }));
    if (points.length === 0) lines.push(svg("text", { class: "tick", x: width / 2, y: height / 2, "text-anchor": "middle" }, empty));
    replace(picture, lines);
    const last = points.at(-1);
    const said = last ? series.map(({ name }, i) => `${name} ${format(last.values[i]) ?? "unknown"}`).join(", ") : empty;
    picture.setAttribute("aria-label", `${title}. Latest: ${said}`);
    const told = hovered ?? last;
    setText(readout, told ? `${time(told.t)}  ${series.map(({ name }, i) => `${name} ${format(told.values[i]) ?? "–"}`).join("   ")}` : "");
  }

  function fillTable() {
    if (!details.open) return;
    const head = el("tr", {}, el("th", { scope: "col" }, "Time"), series.map(({ name }) => el("th", { scope: "col", class: "number" }, name)));
    const rows = points.slice(-ROWS).reverse().map(({ t, values }) =>
      el("tr", {}, el("th", { scope: "row" }, time(t)), values.map((value) => el("td", { class: "number" }, shown(format(value))))));
    replace(table, el("table", {}, el("caption", { class: "spoken" }, title), el("thead", {}, head), el("tbody", {}, rows)));
  }

  picture.addEventListener("pointermove", (event) => {
    const { width } = scale();
    const part = (event.offsetX - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    const t = range[0] + part * (range[1] - range[0]);
    hovered = points.reduce((best, point) => (best && Math.abs(best.t - t) <= Math.abs(point.t - t) ? best : point), null);
    paint();
  });
  picture.addEventListener("pointerleave", () => {
    hovered = null;
    paint();
  });
  new ResizeObserver(paint).observe(node);
  return {
    node,
    draw(all, from, to) {
      points = all;
      range = [from, to];
      if (hovered && !points.includes(hovered)) hovered = null;
      paint();
      if (details.open && !details.contains(document.activeElement)) fillTable();
    },
  };
}
