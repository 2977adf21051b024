// Sessions: searched, sorted and cut into pages by the server; and one of them with its counters over time.

import { lineChart } from "./chart.js";
import { byId, el, emptyRow, replace, setText, shown, unknown } from "./dom.js";
import { count, endpoint, plural, rate, seconds, span } from "./format.js";
import { get, repeat } from "./server.js";

const LIMIT = 25;
const KEPT = 300;

let root = "/api/v1";
let offset = 0;
let total = 0;
let asked = 0;
let opened = null;
let opener = null;
let serverTime = null;

/** Takes over the server's time, by which ages are told. */
export function setTime(at) {
  serverTime = { s: seconds(at), since: performance.now() };
}

function age(instant) {
  const then = seconds(instant);
  if (then === null || serverTime === null) return null;
  return `${span(serverTime.s + (performance.now() - serverTime.since) / 1000 - then)} ago`;
}

/** The latest of some instants. */
function latest(seen) {
  const all = seen.map((one) => one.last_received).filter((one) => one.secs_since_epoch > 0);
  return all.sort((one, other) => seconds(other) - seconds(one))[0];
}

function path() {
  const sort = byId("session-sort").value;
  const search = byId("session-search").value.trim();
  const query = new URLSearchParams({ limit: LIMIT, offset, sort });
  if (sort !== "id") query.set("descending", "true");
  if (search) query.set("search", search);
  const kind = byId("session-kind").value;
  return `${root}/sessions?${query}${kind ? `&${kind}` : ""}`;
}

async function load() {
  asked += 1;
  const own = asked;
  const page = await get(path());
  // An answer to what was asked before is of no use any more.
  if (own !== asked) return;
  total = page.total;
  if (offset >= total && offset > 0) {
    offset = Math.floor(Math.max(0, total - 1) / LIMIT) * LIMIT;
    return load();
  }
  show(page.sessions);
}

function kind(session) {
  const made = session.provisioned ? "provisioned" : "made by packets";
  return session.authenticated ? `${made}, authenticated` : made;
}

function row(session) {
  const { id, seen } = session;
  const sender = endpoint(session.source, session.source_port);
  const sum = (name) => (seen.length === 0 ? unknown("no packet yet") : count(seen.reduce((all, one) => all + one[name], 0)));
  const open = el("button", { type: "button", class: "link", "data-id": id, onclick: (event) => openSession(id, event.currentTarget) }, sender);
  return el("tr", opened === id ? { class: "current" } : {},
    el("th", { scope: "row" }, open),
    el("td", { class: "address" }, endpoint(session.destination, session.destination_port)),
    el("td", { class: "number" }, session.ssid === 0 ? unknown("none") : String(session.ssid)),
    el("td", {}, kind(session)),
    el("td", {}, seen.length === 0 ? unknown("none yet") : seen.map((one) => `${one.interface} (${one.owner})`).join(", ")),
    el("td", { class: "number" }, sum("received")),
    el("td", { class: "number" }, sum("replies")),
    el("td", { class: "number" }, shown(age(latest(seen)))));
}

function show(sessions) {
  const body = byId("session-rows");
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.id : null;
  const isFiltered = byId("session-search").value.trim() !== "" || byId("session-kind").value !== "";
  const none = isFiltered
    ? emptyRow(8, "No session is like this. Search for less, or for another kind.")
    : emptyRow(8, "No session yet. A packet makes one: ", el("code", {}, "teaparty sender ADDRESS"), " on another host.");
  replace(body, sessions.length === 0 ? none : sessions.map(row));
  if (focused) body.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  setText(byId("session-count"), count(total));
  const last = Math.min(offset + LIMIT, total);
  setText(byId("page-range"), total === 0 ? "none" : `${count(offset + 1)} to ${count(last)} of ${plural(total, "session")}`);
  for (const id of ["page-first", "page-before"]) byId(id).disabled = offset === 0;
  for (const id of ["page-next", "page-last"]) byId(id).disabled = last >= total;
}

function goTo(place) {
  offset = Math.max(0, place);
  load().catch(() => {});
}

function openSession(id, by) {
  opened = id;
  opener = by;
  const section = byId("session");
  section.hidden = false;
  setText(byId("session-title"), "Session");
  detail(id);
  section.scrollIntoView({ block: "nearest" });
  section.focus({ preventScroll: true });
}

/** Closes the open session. */
export function closeSession() {
  opened = null;
  byId("session").hidden = true;
  const button = opener && byId("session-rows").querySelector(`[data-id="${CSS.escape(opener.dataset.id)}"]`);
  (button ?? byId("session-search")).focus();
}

function detail(id) {
  const chart = lineChart({
    title: "Packets per second of this session, since you opened it",
    series: [{ name: "received", kind: "one" }, { name: "replies", kind: "two" }],
    format: rate,
    height: 140,
    empty: "Rates follow with the second look.",
  });
  const facts = el("dl", { class: "facts" });
  const rows = el("tbody");
  const heads = ["Interface", "State kept by", "Received", "Replies", "Last number of the sender", "Last packet"];
  const table = el("table", {}, el("caption", { class: "spoken" }, "Counters by interface"),
    el("thead", {}, el("tr", {}, heads.map((head, i) => el("th", { scope: "col", class: i < 2 ? "" : "number" }, head)))), rows);
  const close = el("button", { type: "button", onclick: closeSession }, "Close");
  const gone = el("p", { class: "problem", role: "status" });
  replace(byId("session-body"), close, gone, facts, chart.node,
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Counters by interface" }, table));
  let before = null;
  let history = [];
  const look = async () => {
    let session;
    try {
      session = await get(`${root}/sessions/${encodeURIComponent(id)}`);
    } catch (error) {
      if (error.status !== 404) throw error;
      setText(gone, "The reflector has forgotten this session: no packet came for the session timeout, or others needed its room.");
      return;
    }
    setText(gone, "");
    const now = performance.now() / 1000;
    const { seen } = session;
    const sums = ["received", "replies"].map((name) => seen.reduce((all, one) => all + one[name], 0));
    if (before) {
      const values = sums.map((value, i) => (value < before.sums[i] ? null : (value - before.sums[i]) / (now - before.now)));
      history = [...history, { t: Date.now() / 1000, values }].slice(-KEPT);
    }
    before = { now, sums };
    const end = Date.now() / 1000;
    chart.draw(history, Math.min(end - 60, history[0]?.t ?? end), end);
    setText(byId("session-title"), `Session of ${endpoint(session.source, session.source_port)}`);
    const configuration = session.configuration;
    const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
    replace(facts,
      fact("Sender", endpoint(session.source, session.source_port)),
      fact("Reflector", endpoint(session.destination, session.destination_port)),
      fact("SSID", session.ssid === 0 ? unknown("none") : String(session.ssid)),
      fact("Kind", kind(session)),
      fact("Not answered", seen.length === 0 ? unknown() : count(Math.max(0, sums[0] - sums[1]))),
      configuration && fact("Timestamps", configuration.timestamp_format ?? "as the reflector's"),
      configuration && fact("TLVs", configuration.no_tlv ? "never, padding only" : "yes"));
    replace(rows, seen.length === 0
      ? emptyRow(6, "No packet of this session has come yet. Start its sender.")
      : seen.map((one) => el("tr", {}, el("th", { scope: "row" }, one.interface), el("td", {}, one.owner),
        el("td", { class: "number" }, count(one.received)), el("td", { class: "number" }, count(one.replies)),
        el("td", { class: "number" }, count(one.last_sender_sequence)), el("td", { class: "number" }, shown(age(one.last_received))))));
  };
  repeat(1000, look, () => opened === id && facts.isConnected);
}

/** Begins to show the sessions of the reflector below this path. */
export function setRoot(path) {
  if (root !== path && opened !== null) closeSession();
  [root, offset] = [path, 0];
}

/** Asks for the list again, as when sessions come and go. */
export function start() {
  let typing = null;
  const form = byId("session-form");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => goTo(0), 200);
  });
  byId("page-first").addEventListener("click", () => goTo(0));
  byId("page-before").addEventListener("click", () => goTo(offset - LIMIT));
  byId("page-next").addEventListener("click", () => goTo(offset + LIMIT));
  byId("page-last").addEventListener("click", () => goTo(Math.floor((total - 1) / LIMIT) * LIMIT));
  byId("session").addEventListener("keydown", (event) => event.key === "Escape" && closeSession());
  repeat(3000, load);
}
