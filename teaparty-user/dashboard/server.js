// The server: requests with the token, whether it answers, and its events.

import { byId, el, replace, setText } from "./dom.js";

const TOKEN = "teaparty-token";
const PAUSES = [1, 2, 4, 8, 10];

let failures = 0;
let lastAnswer = null;
const listeners = new Set();

/** A failure that the server explains, or that there is no server. */
class RequestError extends Error {
  constructor(status, message, remedy) {
    super(message);
    this.status = status;
    this.remedy = remedy;
  }
}

function headers(accept) {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { accept, authorization: `Bearer ${token}` } : { accept };
}

/** Asks for JSON. Fails with a RequestError; a status of 0 is for no answer. */
export async function get(path) {
  const response = await request(path, "application/json", AbortSignal.timeout(25000));
  try {
    return await response.json();
  } catch {
    throw lost();
  }
}

async function request(path, accept, signal) {
  let response;
  try {
    response = await fetch(path, { headers: headers(accept), signal, cache: "no-store", redirect: "error" });
  } catch (error) {
    if (signal?.aborted && error.name === "AbortError") throw error;
    throw lost();
  }
  if (response.ok) {
    answered();
    return response;
  }
  const problem = await response.json().catch(() => ({}));
  const error = new RequestError(response.status, problem.detail ?? response.statusText, problem.remedy);
  if (response.status === 401) askForToken(sessionStorage.getItem(TOKEN) !== null);
  else if (response.status === 404) answered();
  else show("bad", `The server answers ${response.status}: ${error.message}.`, error.remedy);
  throw error;
}

function lost() {
  failures += 1;
  // The server ends each connection after some minutes: one request without an answer is no news.
  if (failures === 1) return new RequestError(0, "no answer");
  const since = lastAnswer === null ? "" : ` What you see is from ${new Date(lastAnswer).toLocaleTimeString("en-GB")}.`;
  show("bad", `Connection lost, trying again.${since}`, "If it stays away, look whether the program runs on its host.");
  return new RequestError(0, "no answer");
}

function answered() {
  lastAnswer = Date.now();
  failures = 0;
  byId("token").hidden = true;
  show("good");
}

/** Shows the state of the connection; anything but good is told to screen readers, once. */
function show(state, text = "", remedy = "") {
  document.documentElement.dataset.connection = state;
  setText(byId("live"), state === "good" ? "live" : state === "bad" ? "not connected" : "waiting");
  const notice = byId("notice");
  const all = `${text} ${remedy}`.trim();
  if (notice.dataset.text !== all) {
    notice.dataset.text = all;
    notice.hidden = all === "";
    replace(notice, text && el("strong", {}, text), remedy && el("span", {}, ` ${remedy}`));
  }
}

function askForToken(isRefused) {
  const form = byId("token");
  show("waiting");
  setText(byId("token-problem"), isRefused ? "That token was refused. Look for blanks, or for a newer one." : "");
  if (form.hidden) {
    form.hidden = false;
    byId("token-value").focus();
  }
}

/** Waits; ends early when the page is told to try now, and not before the page is in sight. */
function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      listeners.delete(done);
      if (!document.hidden) return resolve();
      document.addEventListener("visibilitychange", () => resolve(), { once: true });
    }
    listeners.add(done);
  });
}

function wakeAll() {
  for (const wake of [...listeners]) wake();
}

/**
 * Calls `work` again and again, `ms` after it has ended, while `isWanted` says so; later where the server does not answer, or
 * where it takes long.
 */
export async function repeat(ms, work, isWanted = () => true) {
  while (isWanted()) {
    const began = performance.now();
    try {
      await work();
      await pause(Math.max(ms, (performance.now() - began) * 4));
    } catch (error) {
      if (!(error instanceof RequestError)) console.error(error);
      const isWaiting = error.status === 401;
      await pause(isWaiting ? 86400000 : 1000 * PAUSES[Math.min(Math.max(failures, 1), PAUSES.length) - 1]);
    }
  }
}

/** Reads server-sent events for ever; by fetch, because EventSource can't show a token. */
export function events(path, handle, isWanted) {
  return repeat(1000, async () => {
    const hidden = new AbortController();
    const stop = () => document.hidden && hidden.abort();
    document.addEventListener("visibilitychange", stop);
    try {
      const response = await request(path, "text/event-stream", hidden.signal);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        if (!isWanted()) return hidden.abort();
        const messages = (text + value).split("\n\n");
        text = messages.pop();
        for (const message of messages) {
          const field = (name) => message.split("\n").find((line) => line.startsWith(name))?.slice(name.length);
          const data = field("data: ");
          if (data) handle(field("event: ") ?? "message", JSON.parse(data));
        }
      }
    } catch (error) {
      if (error instanceof RequestError) throw error;
      // The stream was cut, or the page is out of sight: the next one follows.
    } finally {
      document.removeEventListener("visibilitychange", stop);
    }
  }, isWanted);
}

/** Prepares what every page has: the token's field and the choice of a theme. */
export function start() {
  byId("token").addEventListener("submit", (event) => {
    event.preventDefault();
    const value = byId("token-value").value.trim();
    if (!value) return setText(byId("token-problem"), "Write the token that the file of --api-token-file holds.");
    // What no header can have would fail without a word.
    if (!/^[\x21-\x7e]+$/.test(value)) return setText(byId("token-problem"), "A token has no blanks and no letters beyond ASCII.");
    sessionStorage.setItem(TOKEN, value);
    byId("token-value").value = "";
    wakeAll();
  });
  const theme = byId("theme");
  theme.value = localStorage.getItem("teaparty-theme") ?? "auto";
  const apply = () => {
    document.documentElement.dataset.theme = theme.value;
    localStorage.setItem("teaparty-theme", theme.value);
  };
  theme.addEventListener("change", apply);
  apply();
}
