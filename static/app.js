// Adds life to pages that work without it: live rows and parts, running times. Theme, copying, dialogs: comforts.js.

import { $, $$, write } from "./dom.js";
import { busyReading, fresh, parseRow, replaceRows, table, takeCounts, takeRows } from "./rows.js";
import { clock, now, redraw } from "./times.js";

const page = document.body.dataset;

// ---- parts of the other pages

const token = $("[name=csrf_token]")?.value;
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
    for (const input of $$("[name=csrf_token]", other)) input.value = token; // readings are the same for everybody
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
let again = 0; // read once more after this: 1, or 2 for the whole list
let wanted = ""; // the change that the page is to show
let soon = 0;
let fetching = 0;
let told = []; // rows that came while the page was read: it may be older than they are

async function fetchPage() {
  if (!fetching++) told = [];
  try {
    const headers = { Accept: "text/html", "Live-Mark": wanted || `${page.epoch} ${page.seq}` };
    const response = await fetch(location.href, { redirect: "manual", headers, signal: AbortSignal.timeout(10000) });
    if (response.type === "opaqueredirect") return signInAgain();
    const next = new DOMParser().parseFromString(await response.text(), "text/html");
    redisDown(response.status === 503 && next.getElementById("down")?.hidden === false);
    if (response.status >= 500) throw new Error(response.statusText);
    if (!response.ok) return null; // there is no such page any more
    Object.assign(page, { seq: next.body.dataset.seq, epoch: next.body.dataset.epoch });
    stamp();
    return next;
  } finally {
    fetching--;
  }
}

function reread(whole = false) {
  if (reading) return (again = Math.max(again, whole ? 2 : 1)), reading;
  reading = (async () => {
    try {
      const next = await fetchPage();
      if (!next) return false;
      takeAlarms(next);
      patchParts(next);
      if (table) takePage(next, whole);
      return true;
    } catch {
      if (socket) readSoon(2000, whole); // what it was told to read it still has to; polling asks again anyway
      return false;
    }
  })();
  reading.finally(() => {
    reading = null;
    if (again) readSoon(400, again > 1);
    again = 0;
  });
  return reading;
}

// All pages of a kind are told at once: a little chance keeps them from asking in the same instant.
function readSoon(least, whole = false) {
  if (whole) clearTimeout(soon);
  else if (soon) return;
  soon = setTimeout(() => {
    soon = 0;
    reread(whole);
  }, least + Math.random() * 150);
}

function takeAlarms(next) {
  const [mine, other] = [$("#alarms"), next.getElementById("alarms")];
  if (other && mine.innerHTML !== other.innerHTML) mine.replaceChildren(...other.children); // said again only when it changes
}

function takePage(next, whole) {
  for (const tally of $$("[data-count]", next)) {
    for (const element of $$(`[data-count="${tally.dataset.count}"]`)) write(element, tally.textContent);
  }
  const elsewhere = $$("tbody tr[id]", table).some((row) => !next.getElementById(row.id));
  if ((whole || (pollTimer && elsewhere)) && !busyReading()) takeWhole(next);
  else takeRows([...$("#rows", next).tBodies[0].rows], true);
  if (whole) showing(true); // rows that somebody is reading stay, and are asked for by themselves
}

function takeWhole(next) {
  replaceRows(next);
  takeRows(told.map(parseRow));
  showing();
}

const ask = () => readSoon(table && "found" in table.dataset ? 5000 : 1000); // a search costs more than a change
document.addEventListener("rows:ask", ask);

fresh?.addEventListener("click", async () => {
  const next = await fetchPage();
  if (next) takeWhole(next);
});

// Tells the server which rows this list shows: it sends no others, and of new ones only a few.
let shown = "";

function showing(again = false) {
  if (!table || socket?.readyState !== WebSocket.OPEN) return;
  const shows = $$("tbody tr[id]", table).map((row) => row.id.slice(2));
  const text = JSON.stringify({ shows, new: "first" in table.dataset });
  if (text === shown && !again) return;
  shown = text;
  socket.send(again ? JSON.stringify({ ...JSON.parse(text), again }) : text);
}

function dropRows(ids) {
  for (const id of ids) document.getElementById(`t-${id}`)?.classList.add("gone");
}

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
  heard = Date.now();
  mine.onopen = () => {
    shown = "";
    showing();
  };
  mine.onmessage = (event) => {
    heard = Date.now();
    if (mine !== socket) return;
    if (pollTimer) stopPolling(); // only now: a proxy may let a socket open and hold back what comes through it
    tries = 0;
    receive(JSON.parse(event.data));
  };
  mine.onclose = (event) => {
    if (socket === mine) lost(event.code);
  };
}

function stopPolling() {
  clearInterval(pollTimer);
  pollTimer = 0;
}

function disconnect() {
  clearTimeout(retryTimer);
  stopPolling();
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
    if (fetching) told.push(...message.items.map((item) => item.html));
    if (message.gone) dropRows(message.gone);
    if (message.counts) takeCounts(message.counts);
    if (message.seq) page.seq = message.seq;
    if (message.more) ask();
  }
  if (message.t === "refresh" || message.t === "resync") {
    wanted = `${message.epoch} ${message.seq}`;
    readSoon(0, message.t === "resync");
  }
}

function lost(code) {
  socket = null;
  if (paused || ended) return;
  if (!pollTimer) {
    say("reconnecting");
    pollTimer = setInterval(poll, 2000);
  }
  if (code === 4401) poll(); // its session is over; another tab may have begun a new one, and the answer tells
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
  showing();
  if (socket && Date.now() - heard > 15000) giveUp(); // a dead line says nothing, not even that it is closed
}

function giveUp() {
  const old = socket;
  lost(1006);
  old.close();
}

addEventListener("offline", () => socket && giveUp());
addEventListener("online", () => live && !socket && connect());

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
