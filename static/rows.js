// The rows of the task list: patched in place, new ones put in where they belong unless somebody is reading.

import { $, $$, write } from "./dom.js";
import { redraw } from "./times.js";

export const table = $("#rows");
const rows = table?.tBodies[0];
export const fresh = $("#fresh");
const waiting = new Map(); // new rows kept back from a reader
const AT_ONCE = 20; // new rows inserted without asking
const ROWS_MAX = 200; // beyond, the page is read again

const sortKey = (row) => Number(row.dataset[table.dataset.order]);
const belongs = (row) => !table.dataset.filter || table.dataset.filter.split(" ").includes(row.dataset.status);

export function busyReading() {
  const selection = getSelection();
  return rows.matches(":hover") || rows.contains(document.activeElement) || table.getBoundingClientRect().top < 0
    || $(".tick :checked", rows) || (!selection.isCollapsed && rows.contains(selection.anchorNode));
}

export function parseRow(html) {
  const template = document.createElement("template");
  template.innerHTML = html; // our own partial, escaped by the server
  return $("tr", template.content);
}

function flash(row) {
  row.classList.remove("changed");
  requestAnimationFrame(() => row.classList.add("changed")); // anew, and without laying out the page for each row
}

function patchRow(old, row) {
  if (Number(row.dataset.rev) <= Number(old.dataset.rev)) return;
  Object.assign(old.dataset, row.dataset);
  [...row.cells].forEach((cell, index) => {
    const had = old.cells[index];
    if (had.innerHTML === cell.innerHTML) return;
    const focused = had.contains(document.activeElement);
    had.replaceChildren(...cell.childNodes);
    if (focused) $("a, button", had.childElementCount ? had : old)?.focus();
  });
  old.classList.toggle("gone", !belongs(old));
  redraw(old);
  flash(old);
}

function insertRow(row) {
  const below = [...rows.rows].find((other) => sortKey(other) < sortKey(row));
  if (!below && "more" in table.dataset) return; // its place is on a later page
  rows.insertBefore(row, below ?? null);
  redraw(row);
  flash(row);
}

function newRows(found) {
  if (!("first" in table.dataset) || !found.length) return;
  const last = rows.rows.length ? sortKey(rows.rows[rows.rows.length - 1]) : -Infinity;
  const own = found.filter((row) => belongs(row)
    && (sortKey(row) > last || !("more" in table.dataset)));
  const keep = waiting.size || busyReading() || own.length > AT_ONCE || rows.rows.length + own.length > ROWS_MAX;
  if (!keep) return own.sort((a, b) => sortKey(a) - sortKey(b)).forEach(insertRow);
  for (const row of own) waiting.set(row.id, row);
  showWaiting();
}

function showWaiting() {
  fresh.hidden = !waiting.size;
  fresh.textContent = `${waiting.size} new – show`;
}

// `matching`: they come from this very list, and not from the stream of all changes.
export function takeRows(found, matching = false) {
  const unknown = [];
  for (const row of found) {
    const old = document.getElementById(row.id);
    if (old) patchRow(old, row);
    else unknown.push(row);
  }
  if (!("found" in table.dataset)) newRows(unknown);
  else if (matching && "first" in table.dataset) newRows(unknown), dimOthers(found);
  else if ("first" in table.dataset) document.dispatchEvent(new Event("rows:ask")); // only the server can tell what matches
}

// What a search no longer finds stays where it is, dimmed, until the page is loaded again.
function dimOthers(found) {
  if (!found.length) return; // it may have stopped before it came so far
  const ids = new Set(found.map((row) => row.id));
  const last = sortKey(found[found.length - 1]);
  for (const row of rows.rows) row.classList.toggle("gone", !ids.has(row.id) && sortKey(row) >= last);
}

export function takeCounts(counts) {
  for (const [status, count] of Object.entries({ ...counts, "all-failed": counts.failed })) {
    for (const element of $$(`[data-count="${status}"]`)) write(element, count.toLocaleString("en"));
  }
}

export function replaceRows(next) {
  waiting.clear();
  showWaiting();
  const other = $("#rows", next);
  const ticked = new Set($$(".tick :checked", rows).map((box) => box.value));
  rows.replaceChildren(...other.tBodies[0].rows);
  for (const box of $$(".tick input", rows)) box.checked = ticked.has(box.value);
  table.toggleAttribute("data-more", "more" in other.dataset);
  redraw(rows);
}
