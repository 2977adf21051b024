// Periods as a strip, and delays of many targets as a heat map. Neither rests on colour alone.

import { el, replace, shown, svg } from "./dom.js";
import { duration, minute, percent, plural } from "./format.js";

/** The states of a period or target, the worst first, in words. */
export const STATES = {
  unavailable: "unavailable", bad: "bad", acceptable: "acceptable", good: "good", unmeasured: "unmeasured",
};
const HEIGHTS = { unavailable: 22, bad: 17, acceptable: 12, good: 8, unmeasured: 3 };
const WIDTH = 6;
const SHADES = 7;
const CELL = 18;
const LEAST_CELL = 8;

/** Periods as bars, the oldest first: the worse, the taller. */
export function strip(periods) {
  const all = [...periods].reverse();
  const bars = all.map((period, i) =>
    svg("rect", { class: `period ${period.state}`, x: i * WIDTH, y: 24 - HEIGHTS[period.state], width: WIDTH - 1, height: HEIGHTS[period.state] },
      svg("title", {}, `${minute(period.start_ns / 1e9)} ${period.state}, loss ${percent(period.loss) ?? "unknown"}, round trip ${duration(period.round_trip_ns) ?? "unknown"}`)));
  const counts = Object.keys(STATES).map((state) => [state, all.filter((period) => period.state === state).length]);
  const words = counts.filter(([, n]) => n > 0).map(([state, n]) => `${n} ${state}`).join(", ");
  return svg("svg", { class: "strip", role: "img", width: Math.max(1, all.length) * WIDTH, height: 24, "aria-label": `${plural(all.length, "period")}: ${words || "none has ended"}` }, bars);
}

/** What the bars of strips stand for. */
export function stripLegend() {
  return Object.keys(STATES).map((state) => el("li", {}, svg("svg", { width: WIDTH, height: 24, "aria-hidden": "true", class: "strip" },
    svg("rect", { class: `period ${state}`, x: 0, y: 24 - HEIGHTS[state], width: WIDTH - 1, height: HEIGHTS[state] })), state));
}

/** Delays by minute, a row for each target. `draw` takes rows `{ name, minutes }`, and the percentile. */
export function heatMap() {
  const picture = el("div", { class: "heat scroll", tabindex: "0", role: "region", "aria-label": "Heat map" });
  const legend = el("ul", { class: "legend" });
  const table = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Heat map, as a table" });
  const details = el("details", { class: "as-table" }, el("summary", {}, "As a table"), table);
  let rows = [];
  let percentile = "p95";
  let end = 0;
  let drawn = 0;
  details.addEventListener("toggle", fillTable);

  const value = (one) => one?.round_trip_ns?.[percentile] ?? null;
  const times = () => Array.from({ length: 60 }, (_, i) => end - 59 + i);
  const byMinute = ({ minutes }) => new Map(minutes.map((one) => [Math.floor(one.start_ns / 60e9), one]));

  function fillTable() {
    if (!details.open) return;
    const head = el("tr", {}, el("th", { scope: "col" }, "Target"), times().map((t) => el("th", { scope: "col", class: "number" }, minute(t * 60))));
    const body = rows.map((row) => {
      const known = byMinute(row);
      return el("tr", {}, el("th", { scope: "row" }, row.name), times().map((t) => el("td", { class: "number" }, shown(duration(value(known.get(t)))))));
    });
    replace(table, el("table", {}, el("caption", { class: "spoken" }, `Round trips by minute, ${percentile}`), el("thead", {}, head), el("tbody", {}, body)));
  }

  function draw() {
    end = Math.max(0, ...rows.flatMap(({ minutes }) => minutes.map((one) => Math.floor(one.start_ns / 60e9))));
    const known = rows.map(byMinute);
    const values = rows.flatMap(({ minutes }) => minutes.map(value)).filter((one) => one !== null && one > 0);
    if (values.length === 0) {
      replace(legend);
      replace(picture, el("p", { class: "hint" }, "No minute has ended yet. The first column follows within a minute or two."));
      fillTable();
      return;
    }
    const [least, most] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
    const shade = (ns) => (most === least ? 3 : Math.min(SHADES - 1, Math.floor(((Math.log(Math.max(ns, 1)) - least) / (most - least)) * SHADES)));
    const edge = (i) => duration(Math.exp(least + ((most - least) * i) / SHADES));
    const scale = most === least ? [[3, duration(Math.exp(most))]] : Array.from({ length: SHADES }, (_, i) => [i, `from ${edge(i)}`]);
    replace(legend, scale.map(([i, words]) => el("li", {}, el("span", { class: `swatch shade${i}`, "aria-hidden": "true" }), words)),
      el("li", {}, el("span", { class: "swatch lost", "aria-hidden": "true" }), "no reply"), el("li", {}, el("span", { class: "swatch", "aria-hidden": "true" }), "not measured"));
    const space = picture.clientWidth;
    drawn = space;
    const label = space < 700 ? 110 : 190;
    const cell = Math.max(LEAST_CELL, Math.floor((space - label) / 60));
    const width = label + 60 * cell;
    const height = rows.length * CELL + 18;
    const longest = label < 150 ? 15 : 28;
    const cells = rows.flatMap((row, y) => [
      svg("text", { class: "tick", x: label - 8, y: y * CELL + 13, "text-anchor": "end" }, row.name.length > longest ? `${row.name.slice(0, longest - 1)}…` : row.name),
      ...times().map((t, x) => {
        const one = known[y].get(t);
        const ns = value(one);
        const kind = !one ? "none" : ns === null ? (one.lost > 0 ? "lost" : "none") : `shade${shade(ns)}`;
        const words = `${row.name}, ${minute(t * 60)}: ${duration(ns) ?? (one?.lost > 0 ? "no reply" : "not measured")}`;
        return svg("rect", { class: `cell ${kind}`, x: label + x * cell, y: y * CELL, width: cell - 1, height: CELL - 1 }, svg("title", {}, words));
      }),
    ]);
    const ticks = [0, 15, 30, 45, 59].map((x) => svg("text", { class: "tick", x: label + x * cell + cell / 2, y: height - 4, "text-anchor": x === 59 ? "end" : "middle" }, minute((end - 59 + x) * 60)));
    const said = `${percentile} of the round trip by minute, ${plural(rows.length, "target")}: from ${duration(Math.exp(least))} to ${duration(Math.exp(most))}`;
    replace(picture, svg("svg", { role: "img", width, height, "aria-label": said }, cells, ticks));
    if (!details.contains(document.activeElement)) fillTable();
  }
  new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width !== drawn) draw();
  }).observe(picture);
  return {
    node: el("div", {}, legend, picture, details),
    draw(all, wanted) {
      [rows, percentile] = [all, wanted];
      draw();
    },
  };
}
