// What every module of this page uses.

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
