// The page of a probe: a page of targets with their delays and periods, one target in full, and what lies between sites.

import { lineChart } from "./chart.js";
import { byId, el, emptyRow, replace, setText, shown, unknown } from "./dom.js";
import { count, duration, minute, percent, plural, span } from "./format.js";
import { heatMap, STATES, strip, stripLegend } from "./map.js";
import * as server from "./server.js";

const LIMIT = 25;
const EVERY = 5000;

const heat = heatMap();
let offset = 0;
let total = 0;
let asked = 0;
let wantedState = "";
let opened = null;
let opener = null;
let shownDelays = [];

/** A target is known by its name and labels. */
const keyOf = ({ target, labels }) => JSON.stringify([target, labels]);
const words = (labels) => Object.entries(labels).map(([name, value]) => `${name} ${value}`).join(", ");

/** Packets lost in a direction: where that of some lost ones is unknown, at least so many, and none is no knowledge. */
function directed(target, name) {
  const lost = target[name];
  if (lost === null || (lost === 0 && target.lost_unattributed > 0)) return unknown();
  return target.lost_unattributed > 0 ? `≥ ${count(lost)}` : count(lost);
}

function badge(state) {
  return el("span", { class: `badge-state ${state}` }, STATES[state] ?? state);
}

function query() {
  const all = new URLSearchParams({ limit: LIMIT, offset, sort: byId("target-sort").value });
  const search = byId("target-search").value.trim();
  if (search) all.set("search", search);
  if (wantedState) all.set("state", wantedState);
  return all;
}

async function load() {
  asked += 1;
  const own = asked;
  const page = await server.get(`/api/v1/targets?${query()}`);
  if (own !== asked) return;
  total = page.total;
  if (offset >= total && offset > 0) {
    offset = Math.floor(Math.max(0, total - 1) / LIMIT) * LIMIT;
    return load();
  }
  const [levels, delays] = await Promise.all(["sla", "delays"].map((what) => server.get(`/api/v1/${what}?${query()}`)));
  if (own !== asked) return;
  showHealth(page);
  showStates(page.states);
  showTargets(page.targets, new Map(levels.targets.map((one) => [keyOf(one), one])));
  showSources(page.sources);
  const known = new Map(delays.targets.map((one) => [keyOf(one), one]));
  shownDelays = page.targets.map((one) => known.get(keyOf(one))).filter(Boolean);
  showHeat();
}

function showHealth({ states, sources }) {
  const all = Object.values(states).reduce((sum, n) => sum + n, 0);
  const measured = all - (states.unmeasured ?? 0);
  const told = Object.keys(STATES).filter((state) => states[state] > 0).map((state) => `${count(states[state])} ${STATES[state]}`);
  const problems = sources.filter((one) => one.problem !== null).length;
  const summary = byId("health");
  const text = all === 0 ? "no targets" : `measuring ${count(measured)} of ${plural(all, "target")}: ${told.join(", ")}`;
  setText(summary, problems > 0 ? `${text}; ${plural(problems, "source")} with a problem` : text);
  const isBad = states.unavailable > 0 || states.bad > 0;
  summary.dataset.state = isBad ? "bad" : problems > 0 || measured < all || all === 0 ? "fair" : "good";
  document.title = `${summary.textContent} – Teaparty`;
}

function showStates(states) {
  const group = byId("states");
  if (group.children.length === 0) {
    group.append(...["", ...Object.keys(STATES)].map((state) => el("button", {
      type: "button", class: `tile ${state}`, "data-state": state, onclick: () => {
        wantedState = state;
        goTo(0);
      },
    }, el("span", { class: "name" }, state === "" ? "all" : STATES[state]), el("span", { class: "value" }))));
  }
  const all = Object.values(states).reduce((sum, n) => sum + n, 0);
  for (const button of group.children) {
    const { state } = button.dataset;
    button.setAttribute("aria-pressed", String(state === wantedState));
    setText(button.lastElementChild, count(state === "" ? all : states[state] ?? 0));
  }
}

function targetRow(target, level) {
  const id = keyOf(target);
  const open = el("button", { type: "button", class: "link", "data-id": id, onclick: (event) => openTarget(target, event.currentTarget) }, target.target);
  const delays = ["p50", "p95", "p99"].map((name) => el("td", { class: "number" }, shown(duration(target.round_trip_ns?.[name]))));
  const isCurrent = opened !== null && keyOf(opened) === id;
  return el("tr", isCurrent ? { class: "current" } : {},
    el("th", { scope: "row" }, open, el("span", { class: "help" }, words(target.labels)), target.problem && el("span", { class: "problem" }, target.problem)),
    el("td", {}, badge(target.state)),
    el("td", { class: "number" }, shown(percent(level?.current.loss))),
    el("td", { class: "number" }, directed(target, "lost_far_end")),
    el("td", { class: "number" }, directed(target, "lost_near_end")),
    delays,
    el("td", {}, level ? strip(level.periods) : unknown()));
}

function showTargets(targets, levels) {
  const body = byId("target-rows");
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.id : null;
  const isFiltered = byId("target-search").value.trim() !== "" || wantedState !== "";
  const none = isFiltered
    ? emptyRow(9, "No target is like this. Search for less, or choose another state.")
    : emptyRow(9, "No targets. Write a ", el("code", {}, "[[target]]"), " into the configuration file, and reload the probe.");
  replace(body, targets.length === 0 ? none : targets.map((one) => targetRow(one, levels.get(keyOf(one)))));
  if (focused) body.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  setText(byId("target-count"), count(total));
  const last = Math.min(offset + LIMIT, total);
  setText(byId("page-range"), total === 0 ? "none" : `${count(offset + 1)} to ${count(last)} of ${plural(total, "target")}`);
  for (const id of ["page-first", "page-before"]) byId(id).disabled = offset === 0;
  for (const id of ["page-next", "page-last"]) byId(id).disabled = last >= total;
}

function showHeat() {
  heat.draw(shownDelays.map(({ target, minutes }) => ({ name: target, minutes })), byId("heat-percentile").value);
}

function showSources(sources) {
  const rows = sources.map((one) => el("tr", {}, el("th", { scope: "row", class: "address" }, one.origin),
    el("td", { class: "number" }, count(one.targets)), el("td", { class: "number" }, count(one.failures)),
    el("td", {}, one.problem === null ? "none" : el("span", { class: "problem" }, one.problem))));
  replace(byId("source-rows"), rows.length === 0 ? emptyRow(4, "All targets are of the configuration file.") : rows);
}

async function loadSites() {
  const { from, to, pairs, left_out: leftOut } = await server.get("/api/v1/sites");
  const place = byId("site-matrix");
  if (pairs.length === 0) {
    replace(place, el("p", { class: "hint" }, "Targets with the labels ", el("code", {}, "from"), " and ", el("code", {}, "to"), ", or ", el("code", {}, "site"), ", are shown here as a matrix."));
    return;
  }
  const known = new Map(pairs.map((pair) => [JSON.stringify([pair.from, pair.to]), pair]));
  const cell = (one) => one === undefined ? el("td", { class: "pair" }, unknown("no target"))
    : el("td", { class: `pair ${one.state}` }, badge(one.state), el("span", {}, percent(one.loss) === null ? "loss unknown" : `loss ${percent(one.loss)}`),
      el("span", {}, duration(one.round_trip_p95_ns) === null ? "p95 unknown" : `p95 ${duration(one.round_trip_p95_ns)}`), one.targets > 1 && el("span", { class: "soft" }, plural(one.targets, "target")));
  const name = (site) => site ?? "this probe";
  const head = el("tr", {}, el("th", { scope: "col" }, "from \\ to"), to.map((site) => el("th", { scope: "col" }, site)));
  const rows = from.map((site) => el("tr", {}, el("th", { scope: "row" }, name(site)), to.map((other) => cell(known.get(JSON.stringify([site, other]))))));
  replace(place, leftOut > 0 && el("p", { class: "hint" }, `${plural(leftOut, "target")} of further sites left out.`),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Matrix of sites" },
      el("table", { class: "matrix" }, el("caption", {}, "The worst state, loss of this period, and the slowest p95 of the last minutes"), el("thead", {}, head), el("tbody", {}, rows))));
}

function openTarget(target, by) {
  [opened, opener] = [target, by];
  const section = byId("target");
  section.hidden = false;
  setText(byId("target-title"), target.target);
  detail(target);
  section.scrollIntoView({ block: "nearest" });
  section.focus({ preventScroll: true });
}

function closeTarget() {
  opened = null;
  byId("target").hidden = true;
  const button = opener && byId("target-rows").querySelector(`[data-id="${CSS.escape(opener.dataset.id)}"]`);
  (button ?? byId("target-search")).focus();
}

const fact = (name, value, kind) => el("div", { class: kind }, el("dt", {}, name), el("dd", {}, value));

function showFacts(facts, target, level) {
  const { agreement, current } = level;
  replace(facts,
    fact("Address", shown(target.address)), fact("State", badge(target.state)), fact("SSID", target.session === 0 ? unknown("none") : String(target.session)),
    fact("Labels", words(target.labels) || unknown("none")),
    fact("Sent", count(target.sent)), fact("Received", count(target.received)), fact("Lost", count(target.lost)),
    fact("Lost forward", directed(target, "lost_far_end")), fact("Lost backward", directed(target, "lost_near_end")),
    fact("Lost, direction unknown", shown(count(target.lost_unattributed))),
    fact("Loss of this period", shown(percent(current.loss))), fact(`Round trip p${agreement.quantile * 100}`, shown(duration(current.round_trip_ns))),
    fact("Jitter", shown(duration(current.jitter_ns))), fact("Available", shown(percent(current.availability))),
    fact("Good", `loss ≤ ${percent(agreement.good_loss)}, round trip ≤ ${duration(agreement.good_round_trip_ns)}, jitter ≤ ${duration(agreement.good_jitter_ns)}`, "long"),
    fact("Period", span(agreement.period_ns / 1e9)));
}

function periodRow(period) {
  return el("tr", {}, el("th", { scope: "row" }, minute(period.start_ns / 1e9)), el("td", {}, badge(period.state)),
    el("td", { class: "number" }, shown(percent(period.loss))), el("td", { class: "number" }, shown(duration(period.round_trip_ns))),
    el("td", { class: "number" }, shown(duration(period.jitter_ns))), el("td", { class: "number" }, shown(percent(period.availability))));
}

/** Minutes of the last hour as points; one that is missing was not measured. */
function points(minutes, values) {
  const known = new Map(minutes.map((one) => [Math.floor(one.start_ns / 60e9), one]));
  const end = Math.max(...known.keys());
  const all = Array.from({ length: 60 }, (_, i) => end - 59 + i);
  return known.size === 0 ? [] : all.map((t) => ({ t: t * 60, values: values(known.get(t)) }));
}

function detail(target) {
  const line = (title, series, format, height) => lineChart({ title, series, format, height, time: minute, empty: "The first minute has not ended yet." });
  const delays = line("Round trip by minute", [{ name: "p50", kind: "one" }, { name: "p95", kind: "two" }, { name: "p99", kind: "bad" }], duration, 190);
  const ways = line("One-way delay by minute, p50", [{ name: "forward", kind: "one" }, { name: "backward", kind: "two" }], duration, 140);
  const losses = line("Loss by minute", [{ name: "lost", kind: "bad" }], percent, 110);
  const [facts, gone, rows, strips] = [el("dl", { class: "facts" }), el("p", { class: "problem", role: "status" }), el("tbody"), el("div")];
  const heads = ["Begin", "State", "Loss", "Round trip", "Jitter", "Available"];
  const table = el("table", {}, el("caption", {}, "Periods of the service level, the latest first"),
    el("thead", {}, el("tr", {}, heads.map((head, i) => el("th", { scope: "col", class: i < 2 ? "" : "number" }, head)))), rows);
  replace(byId("target-body"), el("button", { type: "button", onclick: closeTarget }, "Close"), gone, facts, delays.node, ways.node, losses.node, strips,
    el("div", { class: "scroll periods", tabindex: "0", role: "region", "aria-label": "Periods" }, table));
  const look = async () => {
    const names = new URLSearchParams({ target: target.target });
    const [targets, levels, minutes] = await Promise.all(["targets", "sla", "delays"].map((what) => server.get(`/api/v1/${what}?${names}`)));
    const [now, level, own] = [targets, levels, minutes].map(({ targets: all }) => all.find((one) => keyOf(one) === keyOf(target)));
    setText(gone, now ? "" : "This target is measured no more: the file or a source has left it out.");
    if (!now || !level || !own) return;
    showFacts(facts, now, level);
    const draw = (chart, values) => {
      const all = points(own.minutes, values);
      chart.draw(all, all[0]?.t ?? 0, all.at(-1)?.t ?? 60);
    };
    draw(delays, (one) => ["p50", "p95", "p99"].map((name) => one?.round_trip_ns?.[name] ?? null));
    draw(ways, (one) => [one?.forward_p50_ns ?? null, one?.backward_p50_ns ?? null]);
    draw(losses, (one) => [one && one.lost + one.received > 0 ? one.lost / (one.lost + one.received) : null]);
    replace(strips, strip(level.periods));
    replace(rows, level.periods.length === 0 ? emptyRow(6, "No period has ended yet.") : level.periods.map(periodRow));
  };
  server.repeat(EVERY, look, () => opened === target && facts.isConnected);
}

function goTo(place) {
  offset = Math.max(0, place);
  load().catch(() => {});
}

function start() {
  server.start();
  let typing = null;
  byId("target-form").addEventListener("submit", (event) => event.preventDefault());
  byId("target-form").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => goTo(0), 200);
  });
  byId("page-first").addEventListener("click", () => goTo(0));
  byId("page-before").addEventListener("click", () => goTo(offset - LIMIT));
  byId("page-next").addEventListener("click", () => goTo(offset + LIMIT));
  byId("page-last").addEventListener("click", () => goTo(Math.floor((total - 1) / LIMIT) * LIMIT));
  byId("target").addEventListener("keydown", (event) => event.key === "Escape" && closeTarget());
  byId("heat-percentile").addEventListener("change", showHeat);
  byId("heat-map").append(heat.node);
  replace(byId("strip-legend"), stripLegend());
  server.repeat(EVERY, load);
  server.repeat(EVERY, loadSites);
}

start();
