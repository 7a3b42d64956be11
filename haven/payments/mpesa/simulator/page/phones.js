"use strict";

const REFRESH_MS = 1000;
const SHOWN = 50;
const byId = (id) => document.getElementById(id);
const shillings = new Intl.NumberFormat("en-KE");
const cards = new Map();
const ENDS = { 1031: "Cancelled", 1032: "Cancelled", 1037: "No answer", 2001: "Wrong PIN" };

/** Shillings with their currency, never broken over two lines. */
const kes = (amount) => `KES\u00a0${shillings.format(amount)}`;

/** A number as people read it: +254 712 345 678. */
const readable = (phone) => `+${phone.slice(0, 3)} ${phone.slice(3, 6)} ${phone.slice(6, 9)} ${phone.slice(9)}`;

/** What became of a push, in words. */
function endOf(push) {
  if (push.state === "RINGING") return "Ringing";
  if (push.state === "PAID") return "Paid";
  return ENDS[push.result_code] ? `${ENDS[push.result_code]}, ${push.result_code}` : `Failed, ${push.result_code}`;
}

/** POST JSON; the answer's object, or an Error with the server's own words. */
async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || `HTTP ${response.status}`);
  return answer;
}

function trouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

/** The card of a ringing phone. Everything a caller sent goes in as text, never as markup. */
function newCard(push) {
  const card = byId("phone").content.firstElementChild.cloneNode(true);
  card.querySelector(".who").textContent = readable(push.phone);
  card.querySelector(".amount").textContent = kes(push.amount);
  card.querySelector(".shortcode").textContent = push.shortcode;
  card.querySelector(".account").textContent = push.reference;
  for (const button of card.querySelectorAll("button")) {
    button.addEventListener("click", () => answer(push, button.dataset.action, card));
  }
  return card;
}

async function answer(push, action, card) {
  for (const button of card.querySelectorAll("button")) button.disabled = true;
  try {
    await post(`/simulator/pushes/${push.id}/answer`, { action });
    trouble("");
  } catch (error) {
    trouble(error.message);
  }
  refresh();
}

function showPhones(ringing, mode) {
  const ids = new Set(ringing.map((push) => push.checkout_request_id));
  for (const [id, card] of cards) {
    if (!ids.has(id)) {
      card.remove();
      cards.delete(id);
    }
  }
  for (const push of ringing) {
    let card = cards.get(push.checkout_request_id);
    if (!card) {
      card = newCard(push);
      cards.set(push.checkout_request_id, card);
      byId("phones").append(card);
    }
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(push.rang_at)) / 1000));
    card.querySelector(".since").textContent =
      `Ringing for ${seconds} s` + (mode === "auto" ? ` · answers by itself: ${push.scenario}` : "");
  }
  byId("silence").hidden = ringing.length > 0;
}

function cell(text, className) {
  const td = document.createElement("td");
  td.textContent = text;
  if (className) td.className = className;
  return td;
}

function showPast(pushes, callbacks) {
  const answers = new Map();
  for (const callback of callbacks) {
    if (callback.push === null) continue;
    const said = callback.status === null ? callback.answer : String(callback.status);
    answers.set(callback.push, [...(answers.get(callback.push) || []), said]);
  }
  const rows = pushes.slice(-SHOWN).reverse().map((push) => {
    const row = document.createElement("tr");
    row.append(
      cell(push.id),
      cell(readable(push.phone)),
      cell(shillings.format(push.amount), "number"),
      cell(push.reference),
      cell(push.scenario),
      cell(endOf(push), push.state),
      cell(push.receipt || "–"),
      cell((answers.get(push.id) || []).join(", ") || "–"),
    );
    return row;
  });
  byId("past").replaceChildren(...rows);
}

function show(state) {
  byId("ringing").textContent = shillings.format(state.ringing);
  byId("pushes").textContent = shillings.format(state.push_count);
  byId("callbacks").textContent = shillings.format(state.callback_count);
  byId("moved").textContent = kes(Number(state.moved_total));
  for (const button of document.querySelectorAll("[data-mode]")) {
    button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
  }
  showPhones(state.pushes.filter((push) => push.state === "RINGING"), state.mode);
  showPast(state.pushes, state.callbacks);
}

async function refresh() {
  try {
    const response = await fetch("/simulator/state?limit=200");
    show(await response.json());
    if (byId("trouble").textContent.startsWith("The simulator does not answer")) trouble("");
  } catch {
    trouble("The simulator does not answer. Is it running?");
  }
}

for (const button of document.querySelectorAll("[data-mode]")) {
  button.addEventListener("click", async () => {
    try {
      await post("/simulator/mode", { mode: button.dataset.mode });
    } catch (error) {
      trouble(error.message);
    }
    refresh();
  });
}

byId("pay").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  try {
    const made = await post("/simulator/payments", {
      phone: form.get("phone"),
      amount: Number(form.get("amount")),
      account: form.get("account"),
    });
    byId("pay-result").textContent = `Receipt ${made.receipt}`;
    trouble("");
  } catch (error) {
    byId("pay-result").textContent = "";
    trouble(error.message);
  }
  refresh();
});

refresh();
setInterval(() => {
  if (!document.hidden) refresh();
}, REFRESH_MS);
