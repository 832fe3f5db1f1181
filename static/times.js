// Times: the server writes them for everybody, this keeps them true: ages, running lengths, the local clock.

import { $$, write } from "./dom.js";

const skew = Number(document.body.dataset.now) * 1000 - Date.now(); // the server's clock counts, not this machine's
export const now = () => Date.now() + skew;
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const two = (value) => String(value).padStart(2, "0");
export const clock = (date) => date.toLocaleTimeString([], { hour12: false });

function age(seconds) {
  const size = Math.abs(seconds);
  if (seconds > -2 && seconds < 1) return "just now"; // two clocks differ by so much
  const [unit, name] = UNITS.find(([least]) => size >= least);
  const text = `${Math.floor(size / unit)} ${name}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function redraw(within = document) {
  for (const element of $$("time[datetime]", within)) {
    const date = new Date(element.dateTime);
    if (!element.dataset.local) {
      element.dataset.local = "1";
      element.title = `${date.toLocaleString([], { dateStyle: "medium", timeStyle: "medium" })}, ${element.dateTime}`;
      if ("clock" in element.dataset) write(element, clock(date).slice(0, element.dataset.clock ? 5 : 8));
    }
    const passed = (now() - date) / 1000;
    if ("age" in element.dataset) write(element, age(passed));
    if ("since" in element.dataset) write(element, duration(passed));
  }
}
