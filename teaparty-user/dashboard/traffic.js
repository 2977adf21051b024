// Packets: by path and verdict, by reason, and over the last minutes. Rates are differences of two looks, by the server's clock.

import { lineChart } from "./chart.js";
import { byId, el, emptyRow, keyed, prose, replace, setText, shown } from "./dom.js";
import { count, rate, seconds } from "./format.js";

const KEPT = 300;
const LEAST = 60;
const PATHS = { xdp: "kernel (XDP)", ring: "controller, by the ring", socket: "controller, by sockets" };
const VERDICTS = { reflect: "answered", punt: "to the controller", drop: "dropped", pass: "left to the stack" };
const ORDER = ["drop", "punt", "reflect", "pass"];

const chart = lineChart({
  title: "Packets per second",
  series: [{ name: "answered", kind: "one" }, { name: "dropped", kind: "bad" }],
  format: rate,
  empty: "Rates follow with the second look.",
});
const reasonRows = keyed(byId("reason-rows"));
const key = ({ interface: name, path, reason }) => `${name} ${path} ${reason}`;
let before = null;
let history = [];
let tiles = null;
let isRated = false;

/** Forgets what was seen: another reflector is shown. */
export function forget() {
  before = null;
  history = [];
}

/** Adds rates to counters: null where two looks do not tell. */
function withRates({ at, counters }) {
  const now = seconds(at);
  const known = new Map(counters.map((one) => [key(one), one.packets]));
  const span = before && now > before.now ? now - before.now : null;
  isRated = span !== null;
  const rated = counters.map((one) => {
    const grown = span === null ? null : one.packets - (before.known.get(key(one)) ?? 0);
    return { ...one, rate: grown === null || grown < 0 ? null : grown / span };
  });
  if (before && span !== null && span > 5) history.push({ t: now - span / 2, values: [null, null] });
  before = { now, known };
  return { now, rated };
}

/** Sums packets and rates; a rate that is unknown makes the sum unknown, and so does a first look. */
function sum(counters) {
  return counters.reduce(
    ({ packets, rate: sofar }, one) => ({
      packets: packets + one.packets,
      rate: sofar === null || one.rate === null ? null : sofar + one.rate,
    }),
    { packets: 0, rate: isRated ? 0 : null },
  );
}

function showTiles(rated) {
  const of = (verdict, path) => sum(rated.filter((one) => one.verdict === verdict && (!path || path(one.path))));
  const all = [
    ["Answered", of("reflect"), "one"],
    ["By the controller", of("reflect", (path) => path !== "xdp"), ""],
    ["Dropped", of("drop"), "bad"],
    ["Left to the stack", of("pass"), ""],
  ];
  tiles ??= all.map(([name, , kind]) => {
    const [now, total] = [el("span", { class: "value" }), el("span", { class: "total" })];
    byId("tiles").append(el("div", { class: `tile ${kind}` }, el("dt", {}, name), el("dd", {}, now, total)));
    return [now, total];
  });
  all.forEach(([, { packets, rate: current }], i) => {
    replace(tiles[i][0], shown(rate(current)));
    setText(tiles[i][1], `${count(packets)} in all`);
  });
}

function showPaths(rated) {
  const table = byId("paths");
  const present = Object.keys(PATHS).filter((path) => rated.some((one) => one.path === path));
  const head = el("tr", {}, el("th", { scope: "col" }, "Path"),
    Object.values(VERDICTS).map((name) => el("th", { scope: "col", class: "number" }, name)));
  if (table.tHead.rows.length === 0) table.tHead.append(head);
  const rows = present.map((path) => {
    const cells = Object.keys(VERDICTS).map((verdict) => {
      const { packets, rate: now } = sum(rated.filter((one) => one.path === path && one.verdict === verdict));
      return el("td", { class: packets === 0 ? "number nothing" : "number" },
        el("span", { class: "now" }, shown(rate(now))), el("span", { class: "total" }, count(packets)));
    });
    return el("tr", {}, el("th", { scope: "row" }, PATHS[path]), cells);
  });
  replace(table.tBodies[0], rows);
}

function reasonRow({ interface: name, path, verdict, reason, help, remedy }) {
  const [now, total, source] = [el("td", { class: "number" }), el("td", { class: "number" }), el("span", { class: "help" })];
  const words = el("th", { scope: "row" }, el("code", {}, reason), el("span", { class: "help" }, prose(help)),
    remedy && el("span", { class: "remedy" }, el("b", {}, "What to do: "), prose(remedy)));
  const row = el("tr", {}, words, el("td", {}, el("span", { class: `verdict ${verdict}` }, VERDICTS[verdict])),
    el("td", {}, `${name}, ${PATHS[path]}`, source), now, total);
  return [row, (one) => {
    replace(now, shown(rate(one.rate)));
    setText(total, count(one.packets));
    // Only those that may write are told of it.
    setText(source, one.last_source ? `last from ${one.last_source}` : "");
  }];
}

function showReasons(rated) {
  const seen = rated.filter((one) => one.packets > 0);
  const rank = (one) => ORDER.indexOf(one.verdict);
  seen.sort((one, other) => rank(one) - rank(other) || other.packets - one.packets);
  const body = byId("reason-rows");
  body.querySelector(".empty")?.remove();
  reasonRows(seen, key, reasonRow);
  if (seen.length === 0) {
    body.append(emptyRow(5, "No packet has come yet. On another host: ", el("code", {}, "teaparty sender ADDRESS"), "."));
  }
}

/** Shows the counters of one look. */
export function show(reflector) {
  const { now, rated } = withRates(reflector);
  const [answered, dropped] = ["reflect", "drop"].map((verdict) => sum(rated.filter((one) => one.verdict === verdict)).rate);
  if (isRated) history.push({ t: now, values: [answered, dropped] });
  history = history.filter(({ t }) => t > now - KEPT);
  if (!chart.node.isConnected) byId("traffic-chart").append(chart.node);
  const first = history[0]?.t ?? now;
  chart.draw(history, Math.min(first, now - LEAST), now);
  showTiles(rated);
  showPaths(rated);
  showReasons(rated);
}
