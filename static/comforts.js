// Small comforts of every page: theme, copying, menus, dialogs, asking before harm, the title's count.

import { $, $$, write } from "./dom.js";

const root = document.documentElement;
root.dataset.js = "";

$(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }); // on a phone it may lie outside

function remember(name, value) {
  document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax`;
}

function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  remember("theme", root.dataset.theme);
}

function confirmFirst(button) {
  const dialog = $("#confirm");
  write($("h2", dialog), button.dataset.confirm);
  write($("p", dialog), button.dataset.text ?? "");
  write($("[value=yes]", dialog), button.dataset.yes ?? button.textContent.trim());
  $("[value=yes]", dialog).classList.toggle("bad", !("mild" in button.dataset));
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue === "yes" && button.form.requestSubmit(button);
  dialog.showModal();
}

async function copy(button) {
  const title = button.dataset.title ??= button.title;
  let word = "Copied";
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    word = "The browser does not allow copying here"; // plain http on another host
  }
  button.title = word;
  write($("#said"), word);
  button.classList.add("copied");
  setTimeout(() => {
    button.title = title;
    button.classList.remove("copied");
    write($("#said"), "");
  }, 1500);
}

function closeMenus(except) {
  for (const menu of $$("details.menu[open]")) if (!menu.contains(except)) menu.open = false;
}

document.addEventListener("click", (event) => {
  const hit = (selector) => event.target.closest(selector);
  closeMenus(event.target);
  if (hit("[data-theme-switch]")) {
    event.preventDefault();
    switchTheme();
  } else if (hit("[data-copy]")) {
    event.preventDefault(); // it may sit in a summary
    copy(hit("[data-copy]"));
  } else if (hit("[data-confirm]")) {
    event.preventDefault();
    confirmFirst(hit("[data-confirm]"));
  } else if (hit("[data-opens]")) {
    event.preventDefault(); // without script its address is a page that asks
    closeMenus();
    document.getElementById(hit("[data-opens]").dataset.opens).showModal();
  }
});

document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  $("summary", menu).focus();
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-autosubmit]")) event.target.form.requestSubmit();
});

// ---- forms

const blocked = new WeakSet();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-once]")) return;
  if (blocked.has(form)) return event.preventDefault(); // a double click makes one task
  blocked.add(form);
});
addEventListener("pageshow", () => $$("form[data-once]").forEach((form) => blocked.delete(form)));

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.target.closest("form[data-ctrl-enter]")?.requestSubmit();
});

document.addEventListener("input", (event) => {
  const list = document.getElementById(event.target.dataset.filter ?? "");
  if (list) filter(list, event.target.value.toLowerCase().split(/\s+/));
});

function filter(list, words) {
  for (const item of list.children) {
    const text = item.textContent.toLowerCase();
    item.hidden = !words.every((word) => text.includes(word));
  }
  document.getElementById(`${list.id}-none`).hidden = [...list.children].some((item) => !item.hidden);
}

// ---- the count of failed tasks, in the menu and before the title

const plainTitle = document.title.replace(/^\([\d,]+\) /, "");

function showFailed() {
  const tally = $("[data-count=all-failed]");
  if (!tally) return;
  const count = tally.textContent;
  tally.parentElement.hidden = count === "0";
  const title = count === "0" ? plainTitle : `(${count}) ${plainTitle}`;
  if (document.title !== title) document.title = title;
}

const nav = $(".nav");
if (nav) new MutationObserver(showFailed).observe(nav, { subtree: true, childList: true, characterData: true });

// A page that is hidden lets its socket go after a minute; its title counts on.
setInterval(async () => {
  const tally = $("[data-count=all-failed]");
  if (!document.hidden || !tally || ["paused", "signin"].includes($("#live")?.dataset.live)) return;
  const answer = await fetch("/failed/count", { redirect: "manual" }).catch(() => null);
  if (answer?.ok) write(tally, (await answer.json()).failed.toLocaleString("en"));
}, 45000);

// ---- where the server is away, wait for it

const zone = $("#zone");
if (zone) write(zone, `Times in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`);
if ($("[data-until-ready]")) {
  setInterval(async () => (await fetch("/readyz").catch(() => ({}))).ok && location.reload(), 2000);
}
