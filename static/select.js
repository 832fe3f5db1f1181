// Ticked rows of the task list: all of the page, all that match, and how many there are.

import { $, $$, write } from "./dom.js";

const table = $("#rows");
const form = $("#bulk");
const every = $("#tick-all");
const link = $("#all");
const boxes = () => $$("td.tick input", table);
let wording = link?.textContent;

function show() {
  const all = boxes();
  const ticked = all.filter((box) => box.checked).length;
  every.checked = ticked > 0 && ticked === all.length;
  every.indeterminate = ticked > 0 && ticked < all.length;
  const whole = Boolean(form.elements.all.value);
  write($("#ticked"), whole ? "All that match are selected" : `${ticked} selected`);
  write(link, whole ? "Only those on this page" : wording);
}

// All that match: the search is sent and not the ids, and the server counts again before anything is done.
function takeAll(on) {
  form.elements.all.value = on ? "1" : "";
  if (on) for (const box of boxes()) box.checked = true;
  show();
}

if (table && form) {
  table.addEventListener("change", (event) => {
    if (event.target === every) for (const box of boxes()) box.checked = every.checked;
    if (event.target.matches(".tick input")) takeAll(false);
  });
  link.addEventListener("click", (event) => {
    event.preventDefault();
    takeAll(!form.elements.all.value);
  });
  $("#untick").addEventListener("click", () => {
    for (const box of boxes()) box.checked = false;
    takeAll(false);
    every.focus();
  });
  new MutationObserver(show).observe(table.tBodies[0], { childList: true });
  addEventListener("pageshow", (event) => {
    if (event.persisted) form.elements.form_key.value = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`; // another form, though the same page
    show();
  });
}
