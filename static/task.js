// While a task waits its reasons change without it: workers come, records ahead of it are read.

import { $ } from "./dom.js";

setInterval(() => {
  if ($("#waiting[data-again]") && !document.hidden) document.dispatchEvent(new Event("rows:ask"));
}, 5000);
