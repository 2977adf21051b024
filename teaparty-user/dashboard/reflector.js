// The page of a reflector: asks for its state once a second, and for what changes seldom when an event says so.

import { byId, el, emptyRow, keyed, prose, replace, setText, shown, unknown } from "./dom.js";
import { clock, count, duration, plural, seconds, setting } from "./format.js";
import * as server from "./server.js";
import * as sessions from "./sessions.js";
import * as traffic from "./traffic.js";

const CHANGES = 50;
const MODES = { native: "in the driver (native XDP)", skb: "in the kernel (generic XDP)", off: "by sockets" };
const TIMES = { "at-once": "at once, by the API", reload: "at a reload", restart: "at a restart" };
const WORDS = {
  created: "made", replaced: "configured again", keys: "has other keys", reset: "begins at 0 again", deleted: "deleted",
  seen: "has its first packet", expired: "forgotten",
};

let root = "/api/v1";
let settings = [];
const warningRows = keyed(byId("warnings"));

function showHealth({ health, version, name }) {
  const summary = byId("health");
  setText(summary, health.summary);
  summary.dataset.state = health.summary.startsWith("not ") ? "bad" : health.warnings.length > 0 ? "fair" : "good";
  warningRows(health.warnings, ({ subject, found }) => `${subject} ${found.replace(/\d+/g, "")}`, () => {
    const node = el("li");
    return [node, ({ subject, found, remedy }) => {
      const text = `${subject}: ${found}. ${remedy ? `What to do: ${remedy}.` : ""}`;
      if (node.dataset.text === text) return;
      node.dataset.text = text;
      replace(node, el("b", {}, subject), " ", prose(found), remedy && el("span", { class: "remedy" }, el("b", {}, "What to do: "), prose(remedy)));
    }];
  });
  document.title = `${name}: ${health.summary} – Teaparty`;
  setText(byId("version"), `teaparty ${version}, reflector on ${name}`);
}

function showInterfaces({ interfaces }) {
  const rows = interfaces.map((one) => {
    const answers = one.is_present ? MODES[one.xdp_mode] ?? one.xdp_mode : "away";
    return el("tr", {},
      el("th", { scope: "row" }, one.name),
      el("td", {}, el("span", { class: one.is_present ? "" : "problem" }, answers), one.xdp_reason && el("span", { class: "help" }, prose(one.xdp_reason))),
      el("td", { class: one.transmit_errors > 0 ? "number problem" : "number" },
        one.xdp_mode === "native" || one.transmit_errors > 0 ? count(one.transmit_errors) : unknown("not told in this mode")),
      el("td", { class: "number" }, one.program_id === null ? unknown("none") : String(one.program_id), one.is_adopted && el("span", { class: "help" }, "of an earlier start")),
      el("td", {}, one.ports.join(", ")),
      el("td", { class: "address" }, one.addresses.length === 0 ? unknown("none") : one.addresses.join(", ")));
  });
  const text = JSON.stringify(interfaces);
  const body = byId("interface-rows");
  if (body.dataset.text === text) return;
  body.dataset.text = text;
  replace(body, rows.length === 0 ? emptyRow(6, "No interface. Start the reflector with --iface NAME.") : rows);
}

function showClock({ clock: state, at }) {
  const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  replace(byId("clock-facts"),
    fact("State", state.is_synchronized ? "synchronised" : el("span", { class: "problem" }, "not synchronised")),
    fact("Error at most", shown(duration(state.maximum_error_ns))),
    fact("Error by estimate", shown(duration(state.estimated_error_ns))),
    fact("TAI less UTC", state.tai_offset_s === 0 ? unknown("not set") : `${state.tai_offset_s} s`),
    fact("Its time", clock(seconds(at))));
}

function showSettings() {
  const isSame = (one) => JSON.stringify(one.value) === JSON.stringify(one.default);
  const shownOnes = byId("only-changed").checked ? settings.filter((one) => !isSame(one)) : settings;
  const rows = [];
  let group = null;
  for (const one of shownOnes) {
    if (one.group !== group) rows.push(el("tr", { class: "group" }, el("th", { scope: "colgroup", colspan: 4 }, one.group)));
    group = one.group;
    rows.push(el("tr", isSame(one) ? {} : { class: "changed" },
      el("th", { scope: "row" }, el("code", {}, one.name), el("span", { class: "help" }, prose(one.help))),
      el("td", {}, setting(one.value)), el("td", { class: "soft" }, setting(one.default)), el("td", { class: "soft" }, TIMES[one.takes_effect])));
  }
  replace(byId("setting-rows"), rows.length === 0 ? emptyRow(4, "Every setting has its default.") : rows);
}

async function loadSettings() {
  settings = await server.get(`${root}/configuration`);
  showSettings();
}

function note(...text) {
  const list = byId("change-rows");
  list.prepend(el("li", {}, el("time", {}, clock(Date.now() / 1000)), el("span", {}, ...text)));
  while (list.children.length > CHANGES) list.lastElementChild.remove();
}

function changed(name, data) {
  if (name === "session") note("session ", el("code", {}, data.id), ` ${WORDS[data.change] ?? data.change}`);
  else if (name === "sessions") note(`${plural(data.created, "session")} made, ${count(data.expired)} forgotten`);
  else if (name === "dropped") note(`${plural(data.missed, "event")} missed: this page was too slow`);
  else if (name === "settings") {
    note(`changed: ${data.settings.join(", ")}`);
    loadSettings().catch(() => {});
  }
}

/** Offers the reflectors of the process, where there are several. */
async function loadReflectors() {
  const all = await server.get("/api/v1/reflectors");
  const [pick, list] = [byId("pick"), byId("reflectors")];
  const names = all.map((one) => one.name).join("\n");
  if (list.dataset.names === names) return;
  list.dataset.names = names;
  pick.hidden = all.length < 2;
  replace(list, all.map((one, i) => el("option", { value: i === 0 ? "/api/v1" : encodeURI(one.path) }, one.name)));
}

/** Shows the reflector below a path, until another one is chosen. */
function follow(path) {
  root = path;
  const isCurrent = () => root === path;
  traffic.forget();
  sessions.setRoot(path);
  server.repeat(1000, async () => {
    const reflector = await server.get(`${path}/reflector`);
    if (!isCurrent()) return;
    sessions.setTime(reflector.at);
    showHealth(reflector);
    traffic.show(reflector);
    showInterfaces(reflector);
    showClock(reflector);
  }, isCurrent);
  server.repeat(60000, loadSettings, isCurrent);
  server.events(`${path}/events`, changed, isCurrent);
}

server.start();
byId("only-changed").addEventListener("change", showSettings);
byId("reflectors").addEventListener("change", (event) => follow(event.target.value));
note("watching");
follow(root);
sessions.start();
server.repeat(60000, loadReflectors);
