// What may come next in a search, listed beneath its box while somebody types: a combobox with a list, as WAI-ARIA has it.

import { $, write } from "./dom.js";

const PAUSE = 80; // ms without a key before the server is asked
const CLOSED = { items: [], total: 0 };
const box = $("[data-suggest]");
const panel = $("#suggest");
const list = $("#suggestions");
let timer = 0;
let asked = null; // the question under way
let chosen = null; // the option that Enter and Tab take

// The word that the cursor is in, up to there; spaces within quotes belong to it.
function wordAtCursor() {
  const [before, after] = [box.value.slice(0, box.selectionStart), box.value.slice(box.selectionStart)];
  const [word] = before.match(/(?:[^\s"]|"[^"]*")*(?:"[^"]*)?$/);
  return { word, from: before.length - word.length, to: before.length + after.match(/^\S*/)[0].length };
}

async function ask() {
  stop();
  const { signal } = (asked = new AbortController());
  const { word } = wordAtCursor();
  const query = new URLSearchParams({ word });
  const answer = await fetch(`${box.dataset.suggest}?${query}`, { signal, redirect: "error" }).catch(() => null);
  const found = answer?.ok ? await answer.json().catch(() => CLOSED) : CLOSED; // out of reach: a box without suggestions
  if (!signal.aborted) show(word, found);
}

function stop() {
  clearTimeout(timer);
  asked?.abort();
}

function show(word, { items, total }) {
  list.replaceChildren(...items.map((item, index) => option(item, index, word.replaceAll('"', ""))));
  choose(null);
  panel.hidden = !items.length;
  box.ariaExpanded = String(!panel.hidden);
  write($("p", panel), total > items.length ? `${items.length} of ${total.toLocaleString("en")}; type on for others` : "");
  write($("#said"), items.length ? `${total.toLocaleString("en")} ${total === 1 ? "suggestion" : "suggestions"}` : "");
}

function close() {
  stop();
  show("", CLOSED);
}

// Names come from clients and workers: they are put in as text, never as markup.
function option({ text, note }, index, word) {
  const [element, code, bold, about] = ["li", "code", "b", "span"].map((name) => document.createElement(name));
  const start = Math.max(word.lastIndexOf(":"), word.lastIndexOf(","), word.startsWith("-") ? 0 : -1) + 1;
  const from = Math.max(0, text.toLowerCase().indexOf(word.slice(start).toLowerCase(), start));
  const typed = word.length - start;
  bold.append(text.slice(from, from + typed));
  code.append(text.slice(0, from), bold, text.slice(from + typed));
  about.className = "muted clip";
  about.append(note);
  Object.assign(element, { id: `suggestion-${index}`, role: "option", ariaSelected: "false" }).append(code, about);
  return element;
}

function choose(element) {
  if (chosen) chosen.ariaSelected = "false";
  chosen = element;
  if (!chosen) return box.removeAttribute("aria-activedescendant");
  chosen.ariaSelected = "true";
  chosen.scrollIntoView({ block: "nearest" });
  box.setAttribute("aria-activedescendant", chosen.id);
}

// Round and round, by way of the box, where nothing is chosen.
function move(step) {
  const places = [null, ...list.children];
  choose(places.at((places.indexOf(chosen) + step) % places.length));
}

function take(element) {
  const { from, to } = wordAtCursor();
  const text = $("code", element).textContent;
  const goesOn = text === "-" || text.endsWith(":");
  box.setRangeText(goesOn ? text : `${text} `, from, to, "end");
  if (box.selectionStart === box.value.length) box.scrollLeft = box.scrollWidth;
  goesOn ? ask() : close();
}

// Each says whether it was for the list; else the key does what it does in any box.
const KEYS = {
  ArrowDown: () => (panel.hidden ? ask() : move(1), true),
  ArrowUp: () => !panel.hidden && (move(-1), true),
  Enter: () => (chosen ? (take(chosen), true) : close()),
  Tab: () => chosen && (take(chosen), true),
  Escape: () => !panel.hidden && (close(), true),
  ArrowLeft: close,
  ArrowRight: close,
  Home: close,
  End: close,
};

if (box) {
  Object.assign(box, { role: "combobox", ariaAutoComplete: "list", ariaExpanded: "false" });
  box.setAttribute("aria-controls", list.id);
  box.addEventListener("input", () => {
    stop();
    choose(null);
    timer = setTimeout(ask, PAUSE);
  });
  box.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (KEYS[event.key]?.()) event.preventDefault();
  });
  box.addEventListener("focus", () => box.value || ask());
  box.addEventListener("click", () => panel.hidden && ask());
  box.addEventListener("blur", close);
  panel.addEventListener("mousedown", (event) => event.preventDefault()); // the box keeps the focus
  list.addEventListener("click", (event) => event.target.closest("li") && take(event.target.closest("li")));
}
