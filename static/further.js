// A search that stopped at its limits and found nothing goes on by itself, page by page, to the first task that matches.

import { $, write } from "./dom.js";

const words = $(".further p");

async function searchOn(address, looked) {
  write(words, `Searching further: looked at ${looked.toLocaleString("en")} tasks so far, and found none.`);
  const response = await fetch(address, { redirect: "manual", headers: { Accept: "text/html" } });
  if (!response.ok) return write(words, `Looked at ${looked.toLocaleString("en")} tasks, and found none; then the server did not answer.`);
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  if ($("#rows tbody tr", next)) return location.replace(address);
  const all = looked + Number($("#rows", next).dataset.looked);
  const further = $("#further", next);
  if (further) return searchOn(further.href, all);
  write(words, `Looked at all ${all.toLocaleString("en")} tasks, and found none.`);
  $("#further").remove();
}

const first = $("#further");
if (first && !$("#rows tbody tr")) searchOn(first.href, Number($("#rows").dataset.looked));
