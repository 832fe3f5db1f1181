// The page of a bulk job reads itself again until the job has ended, and for a while after a retry its tasks as well.

import { $ } from "./dom.js";
import { redraw } from "./times.js";

const changes = (part) => "unfinished" in part.dataset || "follows" in part.dataset;

async function readAgain() {
  const mine = $("#job");
  if (!mine || !changes(mine)) return clearInterval(timer);
  const response = await fetch(location.href).catch(() => null); // no network: tried again in a second
  if (!response?.ok) return;
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  const other = $("#job", next);
  if (!other || mine.contains(document.activeElement) && changes(other)) return patch(mine, other);
  mine.replaceWith(other);
  document.title = next.title;
  redraw(other);
}

// Somebody is about to press Stop: only the figures change under them.
function patch(mine, other) {
  for (const part of ["header", ".pad"]) if (other) $(part, mine).replaceWith($(part, other));
}

const timer = setInterval(readAgain, 1000);
