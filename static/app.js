// Adds life to pages that work without it: live rows and parts, running times, theme, copying, asking before harm.

const root = document.documentElement;
const page = document.body.dataset;
const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const skew = Number(page.now) * 1000 - Date.now(); // the server's clock counts, this machine's may be wrong
const now = () => Date.now() + skew;
root.dataset.js = "";

// ---- times: the server writes them for everybody, one timer keeps them true here

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const two = (value) => String(value).padStart(2, "0");
const clock = (date) => date.toLocaleTimeString([], { hour12: false });

function age(seconds) {
  const size = Math.abs(seconds);
  if (size < 1) return "just now";
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

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function redraw(within = document) {
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

// ---- rows of the task list

const table = $("#rows");
const rows = table?.tBodies[0];
const fresh = $("#fresh");
const waiting = new Map(); // new rows kept back from a reader
const AT_ONCE = 20; // new rows inserted without asking
const ROWS_MAX = 200; // beyond, the page is read again

const sortKey = (row) => Number(table.dataset.filter ? row.dataset.changed : row.dataset.submitted);

function busyReading() {
  const selection = getSelection();
  return rows.matches(":hover") || rows.contains(document.activeElement) || table.getBoundingClientRect().top < 0
    || (!selection.isCollapsed && rows.contains(selection.anchorNode));
}

function parseRow(html) {
  const template = document.createElement("template");
  template.innerHTML = html; // our own partial, escaped by the server
  return $("tr", template.content);
}

function flash(row) {
  row.classList.remove("changed");
  void row.offsetWidth; // starts the animation anew
  row.classList.add("changed");
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
  old.classList.toggle("gone", Boolean(table.dataset.filter) && old.dataset.status !== table.dataset.filter);
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
  const own = found.filter((row) => (!table.dataset.filter || row.dataset.status === table.dataset.filter)
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

function takeRows(found) {
  const unknown = [];
  for (const row of found) {
    const old = document.getElementById(row.id);
    if (old) patchRow(old, row);
    else unknown.push(row);
  }
  newRows(unknown);
}

function takeCounts(counts) {
  for (const [status, count] of Object.entries(counts)) {
    for (const element of $$(`[data-count="${status}"]`)) write(element, count.toLocaleString("en"));
  }
}

fresh?.addEventListener("click", async () => {
  const next = await fetchPage();
  if (next) replaceRows(next);
});

function replaceRows(next) {
  waiting.clear();
  showWaiting();
  const other = $("#rows", next);
  rows.replaceChildren(...other.tBodies[0].rows);
  table.toggleAttribute("data-more", "more" in other.dataset);
  redraw(rows);
}

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
  redisDown(response.status === 503);
  if (!response.ok) return null;
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
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

function takePage(next, whole) {
  for (const tally of $$("[data-count]", next)) {
    for (const element of $$(`[data-count="${tally.dataset.count}"]`)) write(element, tally.textContent);
  }
  if (whole && !busyReading()) replaceRows(next);
  else takeRows([...$("#rows", next).tBodies[0].rows]);
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
  const ages = page.view === "overview" || page.view === "workers"; // heartbeats also change by not coming
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

// ---- small comforts

function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
}

function confirmFirst(button) {
  const dialog = $("#confirm");
  write($("h2", dialog), button.dataset.confirm);
  write($("p", dialog), button.dataset.text);
  write($("[value=yes]", dialog), button.dataset.yes);
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue === "yes" && button.form.requestSubmit(button);
  dialog.showModal();
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  const title = button.title;
  button.title = "Copied";
  setTimeout(() => (button.title = title), 1500);
}

document.addEventListener("click", (event) => {
  const hit = (selector) => event.target.closest(selector);
  for (const menu of $$("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  if (hit("[data-theme-switch]")) {
    event.preventDefault();
    switchTheme();
  } else if (hit("[data-copy]")) {
    event.preventDefault(); // it may sit in a summary
    copy(hit("[data-copy]"));
  } else if (hit("[data-pause]")) {
    pause();
  } else if (hit("[data-confirm]")) {
    event.preventDefault();
    confirmFirst(hit("[data-confirm]"));
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-autosubmit]")) event.target.form.requestSubmit();
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey;
  if (event.key === "p" && live && !typing) pause();
});

write($("#zone") ?? document.createElement("i"), `Times in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`);
redraw();
setInterval(everySecond, 1000);
if (live) connect();
if ($("[data-until-ready]")) {
  setInterval(async () => (await fetch("/readyz").catch(() => ({}))).ok && location.reload(), 2000);
}
