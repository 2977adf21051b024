// Elements without a framework: text is always set as text, so nothing that a server says becomes markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element. */
export function el(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** An SVG element. */
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Sets the text of an element, if it is another one: assistive technology need not hear of it again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Puts nodes in the place of what an element holds. */
export function replace(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** A dash that is spoken as a word. */
export function unknown(word = "unknown") {
  return el("span", { class: "unknown" }, el("span", { "aria-hidden": "true" }, "–"), el("span", { class: "spoken" }, word));
}

/** A value that was formatted, or a dash where it is null. */
export function shown(text) {
  return text === null || text === undefined ? unknown() : text;
}

/**
 * Keeps the children of a node those of a list, by key: what stays is updated and not made again, so that focus, selection and
 * open details stay. `create(item)` returns `[node, update]`.
 */
export function keyed(parent) {
  let known = new Map();
  return (items, key, create) => {
    const next = new Map();
    let place = parent.firstChild;
    for (const item of items) {
      const id = key(item);
      const [node, update] = known.get(id) ?? create(item);
      update(item);
      next.set(id, [node, update]);
      if (node === place) place = place.nextSibling;
      else parent.insertBefore(node, place);
    }
    for (const [id, [node]] of known) if (!next.has(id)) node.remove();
    known = next;
  };
}

/** A text with the words between backquotes as code. */
export function prose(text) {
  return (text ?? "").split("`").map((part, i) => (i % 2 === 1 ? el("code", {}, part) : part));
}

/** A line of text in place of rows: what is missing, and what to do. */
export function emptyRow(columns, ...text) {
  return el("tr", { class: "empty" }, el("td", { colspan: columns }, ...text));
}
