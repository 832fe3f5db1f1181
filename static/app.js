// Adds life to pages that work without it: live rows and parts, running times. Theme, copying, dialogs: comforts.js.

import { $, $$, write } from "./dom.js";
import { busyReading, fresh, parseRow, replaceRows, table, takeCounts, takeRows } from "./rows.js";
import { clock, now, redraw } from "./times.js";

const page = document.body.dataset;

// ---- parts of the other pages

const served = new Map(); // part id -> the HTML that it shows

function patchParts(next) {
  const selection = getSelection();
  for (const part of $$("[data-part]")) {
    const other = next.getElementById(part.id);
    if (!other || served.get(part.id) === other.outerHTML) continue;
    if (!selection.isCollapsed && part.contains(selection.anchorNode)) continue; // somebody is copying
    served.set(part.id, other.outerHTML);
    for (const fold of [part, ...$$("details[id]", part)]) {
      const twin = fold === part ? other : next.getElementById(fold.id);
      if (fold.localName === "details" && twin && fold.dataset.touched) Object.assign(twin, { open: fold.open }).dataset.touched = "1";
    }
    const focusable = "a, button, summary, [tabindex]";
    const focused = $$(focusable, part).indexOf(document.activeElement);
    part.replaceWith(other);
    redraw(other);
    if (focused >= 0) $$(focusable, other)[focused]?.focus();
  }
}

document.addEventListener("click", (event) => {
  const fold = event.target.closest("summary")?.parentElement;
  if (fold) fold.dataset.touched = "1"; // a person's choice outlives the next change
});

// ---- reading the page again

let reading = null;
let again = false;
let lastRead = Date.now();

async function fetchPage() {
  const response = await fetch(location.href, { redirect: "manual", headers: { Accept: "text/html" } });
  if (response.type === "opaqueredirect") return signInAgain();
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  redisDown(response.status === 503 && next.getElementById("down")?.hidden === false);
  if (!response.ok) return null;
  Object.assign(page, { seq: next.body.dataset.seq, epoch: next.body.dataset.epoch });
  lastRead = Date.now();
  stamp();
  return next;
}

function reread(whole = false) {
  if (reading) return (again = true), reading;
  reading = (async () => {
    try {
      const next = await fetchPage();
      if (!next) return false;
      takeAlarms(next);
      if (!table) patchParts(next);
      else takePage(next, whole);
      return true;
    } catch {
      return false; // no network: the caller shows that
    }
  })();
  reading.finally(() => {
    reading = null;
    if (again) setTimeout(reread, 400);
    again = false;
  });
  return reading;
}

function takeAlarms(next) {
  const [mine, other] = [$("#alarms"), next.getElementById("alarms")];
  if (other && mine.innerHTML !== other.innerHTML) mine.replaceChildren(...other.children); // said again only when it changes
}

function takePage(next, whole) {
  for (const tally of $$("[data-count]", next)) {
    for (const element of $$(`[data-count="${tally.dataset.count}"]`)) write(element, tally.textContent);
  }
  if (whole && !busyReading()) replaceRows(next);
  else takeRows([...$("#rows", next).tBodies[0].rows], true);
}

let asking = 0;
document.addEventListener("rows:ask", () => {
  asking ||= setTimeout(() => ((asking = 0), reread()), 5000); // a search costs more than a change
});

fresh?.addEventListener("click", async () => {
  const next = await fetchPage();
  if (next) replaceRows(next);
});

// ---- the socket

const live = $("#live");
const WORDS = { live: "Live", reconnecting: "Reconnecting", polling: "Polling", paused: "Paused", signin: "Signed out" };
const COLOURS = { live: "online", reconnecting: "warn", polling: "warn", paused: "paused", signin: "failed" };
let socket = null;
let tries = 0;
let retryTimer = 0;
let pollTimer = 0;
let heard = 0;
let paused = false;
let ended = false; // signed out

function say(state) {
  live.dataset.live = state;
  live.dataset.st = COLOURS[state];
  write($("b", live), WORDS[state]);
}

function stamp() {
  const time = $("time", live);
  time.dateTime = new Date(now()).toISOString();
  write(time, clock(new Date()));
}

function redisDown(down) {
  $("#down").hidden = !down;
}

function signInAgain() {
  ended = true;
  disconnect();
  say("signin");
  return null;
}

function connect() {
  clearTimeout(retryTimer);
  if (socket || paused || ended) return;
  const query = new URLSearchParams({ view: page.view, subject: page.subject, since: page.seq, epoch: page.epoch });
  const mine = socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws?${query}`);
  mine.onopen = () => {
    tries = 0;
    heard = Date.now();
    clearInterval(pollTimer);
    pollTimer = 0;
    say("live");
  };
  mine.onmessage = (event) => {
    heard = Date.now();
    receive(JSON.parse(event.data));
  };
  mine.onclose = (event) => {
    if (socket === mine) lost(event.code);
  };
}

function disconnect() {
  clearTimeout(retryTimer);
  clearInterval(pollTimer);
  pollTimer = 0;
  const old = socket;
  socket = null;
  old?.close();
}

function receive(message) {
  if (message.t === "down") {
    redisDown(true);
    return say("reconnecting");
  }
  redisDown(false);
  say("live");
  stamp();
  if (message.t === "rows") {
    takeRows(message.items.map((item) => parseRow(item.html)));
    if (message.counts) takeCounts(message.counts);
    if (message.seq) page.seq = message.seq;
  }
  if (message.t === "refresh" || message.t === "resync") reread(message.t === "resync");
}

function lost(code) {
  socket = null;
  if (paused || ended) return;
  if (code === 4401) return signInAgain();
  if (!pollTimer) {
    say("reconnecting");
    pollTimer = setInterval(poll, 2000);
  }
  const wait = code === 1012 ? 200 + Math.random() * 1800 : Math.max(500, Math.random() * Math.min(15000, 500 * 2 ** ++tries));
  retryTimer = setTimeout(connect, wait);
}

async function poll() {
  const answered = await reread();
  if (pollTimer) say(answered ? "polling" : "reconnecting");
}

function pause() {
  paused = !paused;
  const button = $("[data-pause]", live);
  const word = paused ? "Resume updates" : "Pause updates";
  button.ariaLabel = word;
  button.title = `${word} (p)`;
  const use = $("use", button);
  use.setAttribute("href", use.getAttribute("href").replace(/#.*/, paused ? "#play" : "#pause"));
  if (!paused) return connect();
  disconnect();
  say("paused");
}

function everySecond() {
  redraw();
  if (!live || paused || ended) return;
  if (socket?.readyState === WebSocket.OPEN && Date.now() - heard > 15000) socket.close(); // a dead line says nothing
  const ages = ["overview", "workers", "kafka"].includes(page.view); // heartbeats change by not coming, offsets without a word
  if (ages && socket && !document.hidden && Date.now() - lastRead > 10000) {
    lastRead = Date.now();
    reread();
  }
}

let hiddenTimer = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (!live) return;
  if (document.hidden) hiddenTimer = setTimeout(disconnect, 60000); // frees the server's thread
  else if (!socket) connect();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-pause]")) pause();
});

redraw();
setInterval(everySecond, 1000);
if (live) connect();
