"use strict";
// Fragments that follow the running system, and titles of pictures for the keyboard. Pages work without it.

const connection = document.getElementById("connection");

function follow(box) {
  const everyMs = Number(box.dataset.every || 1000);
  let shown = "";
  async function look() {
    if (!document.hidden) {
      try {
        const answer = await fetch(box.dataset.live);
        if (!answer.ok) throw new Error(answer.statusText);
        const text = await answer.text();
        if (text !== shown && !busy(box)) {
          replace(box, text);
          shown = text;
        }
        connection.textContent = "";
      } catch {
        connection.textContent = "The planner does not answer; what is shown is old. ";
      }
    }
    if (box.querySelector("[data-done]")) {
      for (const form of document.querySelectorAll("[data-until-done]")) form.remove();
    } else {
      setTimeout(look, everyMs);
    }
  }
  setTimeout(look, everyMs);
}

// Whoever is on a link, or reads a table, keeps it.
function busy(box) {
  return box.contains(document.activeElement) && !document.activeElement.classList.contains("scroll");
}

function replace(box, text) {
  const before = [...box.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  const focused = [...box.querySelectorAll(".scroll")].indexOf(document.activeElement);
  const open = [...box.querySelectorAll("details")].map((one) => one.open);
  box.innerHTML = text;
  box.querySelectorAll(".scroll").forEach((one, n) => {
    one.scrollLeft = before[n] || 0;
    if (n === focused) one.focus({ preventScroll: true });
  });
  box.querySelectorAll("details").forEach((one, n) => { one.open = Boolean(open[n]); });
}

const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
tip.setAttribute("aria-hidden", "true");
document.body.append(tip);

document.addEventListener("focusin", (event) => {
  const link = event.target.closest("svg a");
  tip.hidden = !link || !link.matches(":focus-visible");
  if (tip.hidden) return;
  const where = link.getBoundingClientRect();
  tip.textContent = link.getAttribute("aria-label");
  tip.style.left = `${Math.max(8, Math.min(where.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${where.bottom + tip.offsetHeight + 12 < innerHeight ? where.bottom + 6 : where.top - tip.offsetHeight - 6}px`;
});
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

for (const box of document.querySelectorAll("[data-live]")) follow(box);
