// The operations page. It asks every five seconds for what it does not have yet; nothing while nobody looks.
import { Charts, heat } from "./charts.js";
import { element, empty, mib, ms, number, put, seconds, share, SortedTable, table, when } from "./tables.js";

const RANGES = [["5 min", 300], ["15 min", 900], ["1 h", 3600], ["6 h", 21600], ["24 h", 86400], ["7 d", 604800], ["30 d", 2592000]];
const [POLL_MS, SILENCE_MOST_MIN] = [5000, 10080];
const by_id = (id) => document.getElementById(id);
const view = { range: 300, zoom: null };
const open = new Set();
// What was told last, by part: its tag, and what it says.
const tags = {};
const told = { live: null, state: null, history: null };
let answered_at = null;

async function ask(path, options = {}) {
  const answer = await fetch(`/ops/${path}`, { credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(8000), ...options });
  if (answer.status === 401 || answer.type === "opaqueredirect") return location.assign("/ops/sign-in");
  if (!answer.ok) throw Object.assign(new Error((await answer.json().catch(() => ({}))).detail ?? `HTTP ${answer.status}`), { status: answer.status });
  return answer.status === 204 ? null : answer.json();
}

async function act(path, body, button) {
  button.disabled = true;
  try {
    const done = await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    await again();
    return done;
  } catch (error) {
    // What is shown may be why: somebody else was quicker.
    await again();
    alert(`That did not work: ${error.message}`);
  } finally {
    button.disabled = false;
  }
}

// Text that is read aloud when it changes: so only then.
function say(id, words) {
  if (by_id(id).textContent !== words) by_id(id).textContent = words;
}

function state(name, words) {
  by_id("state").dataset.state = name;
  say("state-words", words);
  document.querySelector("main").dataset.old = name === "away";
}

const question = () => (view.zoom ? `from=${view.zoom[0]}&to=${view.zoom[1]}` : `window=${view.range}`);

async function poll() {
  const asked = question();
  try {
    const found = await ask(`now?${asked}`, { headers: { "X-Ops-Seen": Object.values(tags).join(" ") } });
    if (!found || asked !== question()) return;
    answered_at = new Date();
    for (const [part, { tag, is }] of Object.entries(found)) {
      tags[part] = tag;
      told[part] = is;
    }
    show(found);
  } catch (error) {
    const since = answered_at ? `since ${answered_at.toLocaleTimeString("en-GB")}: old numbers` : "yet";
    const why = error.status ? `refused (${error.message}), nothing new` : "no answer";
    state("away", `${why} ${since}`);
  }
}

function show(found) {
  if (told.live && !told.live.fault) {
    state("ok", `live · ${told.live.processes} processes`);
    numbers(told.live);
  } else state("away", "no live numbers");
  if (found.history && !told.history.fault) history(told.history);
  if (found.state && !told.state.fault) standing(told.state);
  if ((found.state || found.history) && told.state?.queues) queues(told.state, told.history?.board?.jobs ?? {});
  missing();
}

function missing() {
  const parts = [...(told.live?.missing ?? []), ...(told.history?.board?.missing ?? []), ...(told.history?.charts?.missing ?? [])];
  if (told.state?.alerts === null) parts.push("alerts (PostgreSQL does not answer)");
  for (const [part, is] of Object.entries(told)) if (is?.fault) parts.push(`${part} (${is.fault})`);
  const words = parts.length ? `Not all of it can be read: ${[...new Set(parts)].join(", ")}.` : "";
  by_id("missing").hidden = !words;
  say("missing", words);
}

function numbers(now) {
  const shown = [
    ["rate", "requests a second", number(now.per_second)],
    ["p50", "half are answered in", ms(now.p50)],
    ["p95", "95 % in", ms(now.p95), now.p95 > 1000],
    ["p99", "99 % in", ms(now.p99), now.p99 > 3000],
    ["errors", "errors", share(now.error_rate), now.error_rate > 0.05],
    ["flight", "in flight", number(now.in_flight, 0)],
  ];
  put(by_id("numbers"), ...shown.map(([id, words, value, is_bad]) => element("div", { class: `number${is_bad ? " bad" : ""}`, id: `n-${id}` }, element("b", {}, value), element("span", {}, words))));
}

function history({ board, charts: found }) {
  charts.show(found);
  draw_heat();
  routes.show(board.endpoints);
  put(by_id("slow"), ...(board.slow_requests.length ? board.slow_requests.map(waterfall) : [empty(`Nothing took longer than ${ms(board.slow_ms)}.`)]));
  statements(board.statements);
  payments(board.payments);
  cache(board.cache);
}

function standing(now) {
  breakers(now.breakers);
  processes(now.memory, now.advice);
  pool(now.pool);
  limits(now.limits);
  alerts(now.alerts, now.silences);
}

const routes = new SortedTable(by_id("routes"), "Requests by route, in the time shown", [
  ["Route", (row) => `${row.method} ${row.route}`, () => "", (row) => `${row.method} ${row.route}`],
  ["Requests", (row) => number(row.count, 0), () => "", (row) => row.count],
  ["Per second", (row) => number(row.per_second, 2), () => "", (row) => row.per_second],
  ["P50", (row) => ms(row.p50), () => "", (row) => row.p50],
  ["P95", (row) => ms(row.p95), (row) => (row.p95 > 1000 ? "bad" : ""), (row) => row.p95],
  ["P99", (row) => ms(row.p99), () => "", (row) => row.p99],
  ["Longest", (row) => ms(row.max), () => "", (row) => row.max],
  ["Errors", (row) => share(row.error_rate), (row) => (row.error_rate > 0.05 ? "bad" : ""), (row) => row.error_rate],
  ["Statements", (row) => number(row.statements_mean), () => "", (row) => row.statements_mean],
  ["SQL", (row) => ms(row.sql_ms_mean), () => "", (row) => row.sql_ms_mean],
  ["Bytes", (row) => number(row.bytes_mean, 0), () => "", (row) => row.bytes_mean],
], 1);

function waterfall(one) {
  const wait = one.wait_ms ? [{ kind: "wait", name: "waiting for a process", from_ms: 0, ms: one.wait_ms }] : [];
  const spans = [...wait, ...one.spans].slice(0, 25).map((span) => {
    const bar = element("i", { class: `k-${span.kind}` });
    bar.style.left = `${Math.min(99, (span.from_ms / one.ms) * 100)}%`;
    bar.style.width = `${Math.min(100, (span.ms / one.ms) * 100)}%`;
    return element("div", { class: "span", title: span.name }, bar, element("em", {}, `${ms(span.ms)} ${span.name}`));
  });
  const parts = `SQL ${one.sql.count} × ${ms(one.sql.ms)} · cache ${ms(one.cache.ms)} · outside ${ms(one.outside.ms)} · JSON ${ms(one.json_ms)} · other ${ms(one.other_ms)}`;
  const key = one.request_id;
  return element(
    "details", { class: "fall", open: open.has(key), ontoggle: (event) => open[event.target.open ? "add" : "delete"](key) },
    element("summary", { "data-key": key }, element("b", {}, ms(one.ms)), ` ${one.method} ${one.route} · ${one.status} · ${when(one.at)}`),
    element("p", { class: "empty" }, `${parts} · request ${one.request_id}`), element("div", { class: "spans" }, ...spans),
  );
}

function statements(rows) {
  if (!rows.length) return put(by_id("statements"), empty("No statement in this time."));
  const plan = (row) => element("button", { type: "button", onclick: (event) => explain(row, event.target), "aria-label": `Plan of ${row.fingerprint}` }, "Plan");
  put(by_id("statements"), table("Statements of all processes", [
    ["Statement", (row) => row.text.slice(0, 220), () => "text"], ["Total", (row) => ms(row.total_ms)], ["Times", (row) => number(row.count, 0)],
    ["Mean", (row) => ms(row.mean_ms)], ["Longest", (row) => ms(row.max_ms)], ["", plan],
  ], rows));
}

async function explain({ fingerprint, text }, button) {
  by_id("plan-text").textContent = text;
  try {
    const found = await ask(`plan/${fingerprint}`);
    by_id("plan-body").textContent = JSON.stringify(found.plan, null, 2);
  } catch (error) {
    by_id("plan-body").textContent = error.message;
  }
  by_id("plan").showModal();
  // The table may have been written anew meanwhile: the button is then another one.
  const label = button.getAttribute("aria-label");
  by_id("plan").addEventListener("close", () => document.querySelector(`[aria-label="${label}"]`)?.focus(), { once: true });
}

function queues({ queues: rows, workers }, jobs) {
  const of = (row) => jobs[row.queue] ?? {};
  const has_failed = (row) => row.outcomes.FAILED || row.outcomes.failed || of(row).failed;
  const again_button = (row) => element("button", { type: "button", "aria-label": `Run failures of ${row.queue} again`, onclick: (event) => run_again(row.queue, event.target) }, "Run failures again");
  const ends = (row) => Object.entries(row.outcomes).map(([name, count]) => `${name.toLowerCase()} ${number(count, 0)}`).join(", ") || "–";
  put(by_id("queues"), table(`${number(workers, 0)} workers`, [
    ["Queue", (row) => row.queue], ["", (row) => (has_failed(row) ? again_button(row) : "")],
    ["Waiting", (row) => number(row.waiting, 0), (row) => (row.waiting > 1000 ? "bad" : "")],
    ["Oldest", (row) => (row.waiting ? seconds(row.oldest_s) : "–")], ["A minute", (row) => number(of(row).per_minute, 2)],
    ["Failed", (row) => number(of(row).failed, 0), (row) => (of(row).failed ? "bad" : "")], ["P95", (row) => ms(of(row).p95)], ["Attempts so far", ends],
  ], rows), element("p", { class: "empty" }, element("a", { href: "/ops/queues/" }, "Every job, in rq-dashboard")));
}

async function run_again(queue, button) {
  if (!confirm(`Run the failed jobs of ${queue} again, of every agency?`)) return;
  const done = await act(`requeue/${queue}`, {}, button);
  if (done) alert(`${done.requeued} jobs wait again.`);
}

function payments({ steps, failed_by_code: codes }) {
  const most = Math.max(1, ...steps.map((one) => one.count));
  const bars = steps.map((one) => {
    const bar = element("div");
    bar.style.width = `${(one.count / most) * 100}%`;
    return element("div", { class: "bar" }, element("span", {}, one.step), bar, element("span", {}, number(one.count, 0)));
  });
  const reasons = codes.map((one) => `${one.count} × ${one.code}`).join(", ");
  put(by_id("payments"), ...(steps.some((one) => one.count) ? bars : [empty("Nobody was asked to pay in this time.")]), reasons ? element("p", { class: "empty" }, `Failed by M-Pesa's code: ${reasons}`) : "");
}

function cache(rows) {
  put(by_id("cache"), rows.length ? table("Look-ups by namespace", [
    ["Namespace", (row) => row.namespace], ["Hits", (row) => number(row.hits, 0)], ["Misses", (row) => number(row.misses, 0)],
    ["Hit rate", (row) => share(row.hit_rate), (row) => (row.hit_rate < 0.7 ? "warn" : "good")],
  ], rows) : empty("Nothing was looked up in this time."));
}

function breakers({ breakers: rows, redis }) {
  const shown = [{ name: "redis (cache)", state: redis.state, window: { calls: "", failed: redis.failures_in_a_row, slow: "" } }, ...rows];
  put(by_id("breakers"), table("Circuits: open ones are left alone", [
    ["Service", (row) => row.name], ["Circuit", (row) => row.state, (row) => (/^closed$/i.test(row.state) ? "good" : "bad")],
    ["Calls", (row) => row.window.calls], ["Failed", (row) => row.window.failed], ["Slow", (row) => row.window.slow],
  ], shown));
}

function processes(memory, advice) {
  if (!memory) return put(by_id("processes"), empty("The memory extension is not loaded."));
  const pauses = (row) => row.gc.reduce((sum, one) => sum + one.pause_ms_total, 0);
  put(by_id("processes"), table(
    `${share(memory.share)} of ${mib(memory.limit_bytes)} in use (${memory.limit_source}) · ${memory.level.toLowerCase()} · load ${memory.system.load_1m} on ${memory.system.cpus} processors`,
    [
      ["Process", (row) => `${row.role} ${row.host}:${row.pid}`], ["RSS", (row) => mib(row.rss_bytes)], ["USS", (row) => mib(row.uss_bytes)],
      ["CPU", (row) => `${number(row.cpu_percent)} %`], ["Threads", (row) => row.threads], ["Files", (row) => row.open_files],
      ["GC pauses", (row) => ms(pauses(row))], ["A minute", (row) => mib(row.trend.bytes_per_minute), (row) => (row.trend.is_leak ? "bad" : "")],
      ["Refusing", (row) => (row.shedding ? "yes" : "no"), (row) => (row.shedding ? "bad" : "")],
    ], memory.processes,
  ), ...advice.map((one) => element("p", { class: "warn" }, `${one.text} ${one.setting}: ${one.now} → ${one.suggested}`)));
}

function pool(found) {
  const rows = Object.entries(found);
  put(by_id("pool"), rows.length ? table("Of the process that answered", [["Connections", ([name]) => name.replaceAll("_", " ")], ["", ([, value]) => number(value, 0)]], rows) : empty("Not known."));
}

function limits(found) {
  const rows = found?.most_refused ?? [];
  put(by_id("limits"), rows.length ? table(`${found.refused} in the last hour`, [["Caller", (row) => row.caller], ["Limit", (row) => row.limit], ["Refused", (row) => number(row.refused, 0)]], rows) : empty("Nobody in the last hour."));
}

function alerts(rows, silences) {
  if (!rows) return put(document.querySelector("#alerts .body"), element("p", { class: "bad" }, "Alerts cannot be read: PostgreSQL does not answer."));
  const shown = rows.length ? rows.map(alertRow) : [empty("Nothing fires.")];
  const quiet = silences.map((one) => `${one.fingerprint ?? one.rule} until ${when(one.ends_at)}`).join("; ");
  put(document.querySelector("#alerts .body"), ...shown, quiet ? element("p", { class: "empty" }, `Silenced: ${quiet}`) : "");
}

function alertRow(one) {
  const acknowledge = (event) => act(`alerts/${one.id}/acknowledge`, { note: "" }, event.target);
  const silence = (event) => {
    const said = prompt("Send nothing of this alert for how many minutes?", "60");
    if (said === null) return;
    const minutes = Number(said);
    if (!Number.isInteger(minutes) || minutes < 1 || minutes > SILENCE_MOST_MIN) return alert(`Say a whole number of minutes from 1 to ${number(SILENCE_MOST_MIN, 0)}.`);
    act("silences", { fingerprint: one.fingerprint, minutes, reason: "from the operations page" }, event.target);
  };
  const labels = Object.entries(one.labels ?? {}).map((pair) => pair.join(" ")).join(", ");
  const name = labels ? `${one.rule}, ${labels}` : one.rule;
  const can = one.state === "FIRING";
  const facts = `${one.state.toLowerCase()} · ${number(one.value, 3)} against ${number(one.threshold, 3)} · since ${when(one.started_at)}`;
  const who = one.acknowledged_by ? ` · taken by ${one.acknowledged_by}` : "";
  const quiet = one.silenced_until ? ` · silent until ${when(one.silenced_until)}` : "";
  return element(
    "div", { class: "alert", "data-severity": one.severity, "data-state": one.state },
    element("b", {}, one.rule), labels ? element("span", {}, labels) : null, element("span", {}, facts + who + quiet),
    can ? element("span", { class: "do" },
      one.acknowledged_by ? "" : element("button", { type: "button", onclick: acknowledge, "aria-label": `Acknowledge ${name}` }, "Acknowledge"),
      element("button", { type: "button", onclick: silence, "aria-label": `Silence ${name}` }, "Silence")) : null,
  );
}

function ranges() {
  const buttons = RANGES.map(([words, range]) => element("button", { type: "button", "data-range": range, onclick: () => choose(range, null) }, words));
  const back = element("button", { type: "button", id: "zoom-out", hidden: true, onclick: () => choose(view.range, null) }, "Back from zoom");
  by_id("ranges").append(...buttons, back);
}

function choose(range, zoom) {
  Object.assign(view, { range, zoom });
  for (const button of document.querySelectorAll("[data-range]")) button.setAttribute("aria-pressed", String(!zoom && Number(button.dataset.range) === range));
  by_id("zoom-out").hidden = !zoom;
  delete tags.history;
  again();
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  by_id("theme").setAttribute("aria-pressed", String(name === "dark"));
  charts?.draw();
  draw_heat();
}

function draw_heat() {
  if (told.history?.charts) heat(by_id("heat"), told.history.charts);
}

let timer = null;

async function again() {
  clearTimeout(timer);
  await poll();
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(again, POLL_MS);
}

const prefers_dark = matchMedia("(prefers-color-scheme: dark)");
let charts = null;
theme(localStorage.getItem("haven-theme") ?? (prefers_dark.matches ? "dark" : "light"));
prefers_dark.addEventListener("change", (event) => localStorage.getItem("haven-theme") || theme(event.matches ? "dark" : "light"));
by_id("theme").addEventListener("click", () => {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("haven-theme", name);
  theme(name);
});
by_id("filter").addEventListener("input", (event) => {
  routes.filter = event.target.value;
  routes.show();
});
ranges();
charts = new Charts(by_id("charts"), (zoom) => choose(view.range, zoom));
new ResizeObserver(draw_heat).observe(by_id("heat").parentElement);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : again()));
choose(300, null);
