"use strict";

// Adds keys to the page; everything also works without this file.
const answers = () => document.querySelectorAll("input[name=answer]");
const reason = document.getElementById("reason");

function needReason() {
  if (!reason) return;
  const chosen = document.querySelector("input[name=answer]:checked");
  const before = document.querySelector("input[name=answer][checked]");
  reason.required = Boolean(chosen && chosen.dataset.reason);
  // The reason of the answer before does not explain another one.
  if (before && chosen !== before && reason.value === reason.defaultValue) reason.value = "";
}

function choose(radio) {
  radio.checked = true;
  needReason();
  // Enter saves from either place. An answer without a reason keeps the focus on itself.
  (radio.dataset.reason ? reason : radio).focus();
}

document.addEventListener("change", needReason);
needReason();

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.repeat) return;
  const inField = event.target.matches("input:not([type=radio]), textarea, select");
  if (inField) {
    const chosen = document.querySelector("input[name=answer]:checked") || answers()[0];
    if (event.key === "Escape" && chosen) chosen.focus();
    return;
  }
  const radio = Array.from(answers()).find((item) => item.dataset.key === event.key);
  const turn = { n: "next", p: "prev" }[event.key];
  const link = turn && document.querySelector(`a[rel=${turn}]`);
  if (!radio && !link) return;
  event.preventDefault();
  if (radio) choose(radio);
  else link.click();
});
