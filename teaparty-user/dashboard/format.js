// Numbers with their units, times and addresses. Null stays null: an unknown is no zero.

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const STEPS = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Three significant digits, without an exponent. */
function significant(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return size < 0.01 ? "< 0.01" : value.toFixed(digits);
}

/** A count, digit by digit. */
export function count(value) {
  return value === null || value === undefined ? null : WHOLE.format(value);
}

/** A count with a unit in the singular or plural. */
export function plural(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : noun.endsWith("ss") ? "es" : "s"}`;
}

/** Packets per second. */
export function rate(value) {
  if (value === null || value === undefined) return null;
  const step = STEPS.find(([size]) => Math.abs(value) >= size);
  return step ? `${significant(value / step[0])} ${step[1]}/s` : `${significant(value)} /s`;
}

/** Nanoseconds in the unit that fits. */
export function duration(ns) {
  if (ns === null || ns === undefined) return null;
  const size = Math.abs(ns);
  if (size < 1e3) return `${Math.round(ns)} ns`;
  if (size < 1e6) return `${significant(ns / 1e3)} µs`;
  if (size < 1e9) return `${significant(ns / 1e6)} ms`;
  return `${significant(ns / 1e9)} s`;
}

/** A ratio as a percentage. */
export function percent(ratio) {
  if (ratio === null || ratio === undefined) return null;
  const value = ratio * 100;
  return `${value === 0 ? "0" : value < 0.001 ? "< 0.001" : value < 1 ? value.toFixed(3) : value.toFixed(2)} %`;
}

/** Seconds since 1970 of an instant of the API, or null for none. */
export function seconds(instant) {
  return instant && instant.secs_since_epoch > 0 ? instant.secs_since_epoch + instant.nanos_since_epoch / 1e9 : null;
}

/** A length of time in whole units. */
export function span(s) {
  if (s === null || s === undefined) return null;
  if (s < 60) return `${Math.max(0, Math.round(s))} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** A moment of this day as the clock shows it. */
export function clock(s) {
  return new Date(s * 1000).toLocaleTimeString("en-GB");
}

/** A moment without seconds. */
export function minute(s) {
  return new Date(s * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

/** An address with a port, either of which may be any. */
export function endpoint(address, port) {
  const host = address === "0.0.0.0" || address === "::" ? "any" : address.includes(":") ? `[${address}]` : address;
  return port === 0 ? `${host}, any port` : `${host}:${port}`;
}

/** A value of the configuration. */
export function setting(value) {
  if (value === null || value === undefined) return "not set";
  if (value === true) return "yes";
  if (value === false) return "no";
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.join(", ");
  return String(value);
}
