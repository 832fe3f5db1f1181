// Single keys, as the dialog behind `?` lists them; silent in fields and dialogs, and when they are switched off.

import { $, $$ } from "./dom.js";

const OFF = "keys=off";
const dialog = $("#keys");
const toggle = $("#single-keys");
let off = document.cookie.split("; ").includes(OFF);
let going = 0; // when `g` was pressed
let last = null; // the row ticked last

if (toggle) {
  toggle.checked = !off;
  toggle.addEventListener("change", () => {
    off = !toggle.checked;
    document.cookie = `${off ? OFF : "keys=on"}; path=/; max-age=31536000; samesite=lax`;
  });
}

const visible = (element) => element.checkVisibility({ visibilityProperty: true });
const rows = () => $$("[data-row]").filter(visible);
const current = () => document.activeElement?.closest("[data-row]");
const box = (row) => $(".tick input", row);

function press(selector, within = document) {
  const found = $$(selector, within).find((element) => visible(element) && !element.disabled);
  found?.click();
  return Boolean(found);
}

function move(step) {
  const all = rows();
  const at = all.indexOf(current());
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
  if (!next) return;
  $("a[data-open], a, button, input", next)?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function tick() {
  const mine = current() && box(current());
  if (!mine) return;
  mine.click(); // as with the mouse, so that whoever listens hears it
  last = current();
}

function tickUpTo() {
  const all = rows();
  const [from, to] = [all.indexOf(last), all.indexOf(current())];
  if (to < 0) return;
  const [low, high] = from < 0 ? [to, to] : [Math.min(from, to), Math.max(from, to)];
  for (const row of all.slice(low, high + 1)) if (box(row) && !box(row).checked) box(row).click();
  last = current();
}

// With ticked rows the key means them, else the row that has the focus, else what the page is about.
function act(key) {
  const button = `[data-key="${key}"]`;
  if ($("[data-row] .tick :checked")) press(`.bulk ${button}`);
  else if (current()) press(button, current());
  else if (!rows().length) press(button);
}

function search() {
  const field = $$(".search .in").find(visible);
  if (!field) return press('.nav [data-go="t"]');
  field.focus();
  field.select();
}

const KEYS = {
  "/": search,
  j: () => move(1),
  k: () => move(-1),
  x: tick,
  X: tickUpTo,
  Enter: () => current() && press("a[data-open]", current()),
  r: () => act("r"),
  c: () => act("c"),
  d: () => act("d"),
  p: () => press("[data-pause]"),
  n: () => press('[data-key="n"]'),
  ".": () => press("#fresh"),
  g: () => (going = Date.now()),
  "?": () => dialog?.showModal(),
};

function typing(target) {
  return target.isContentEditable || target.closest("textarea, select, input:not([type=checkbox], [type=radio])");
}

document.addEventListener("keydown", (event) => {
  if (off || event.ctrlKey || event.metaKey || event.altKey || event.repeat && !"jk".includes(event.key)) return;
  if (event.defaultPrevented || typing(event.target) || $("dialog[open]")) return;
  const second = Date.now() - going < 1500;
  going = 0;
  if (second && press(`.nav [data-go="${CSS.escape(event.key)}"]`)) return event.preventDefault();
  if (event.key === "Enter" && event.target.closest("a, button, summary, input")) return; // it acts by itself
  if (!Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});
