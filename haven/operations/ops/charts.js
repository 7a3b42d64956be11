// Charts over time: one hover line through all of them, and a zoom that is everybody's.
import { element, ms, number } from "./tables.js";

const CHARTS = [
  ["Requests a second", [["rate", "--green", ""]], number],
  ["Response time", [["p50", "--green", "P50"], ["p95", "--amber", "P95"], ["p99", "--red", "P99"]], ms],
  ["Errors", [["errors", "--red", ""]], (value) => `${number(value, 2)} %`],
  ["Cache hits", [["cache_hits", "--blue", ""]], (value) => `${number(value)} %`],
  ["Database connections in use", [["pool_in_use", "--blue", ""]], number],
  ["CPU of all processes", [["cpu", "--amber", ""]], (value) => `${number(value)} %`],
  ["Memory of the limit", [["memory_share", "--violet", ""]], (value) => `${number(value * 100)} %`],
  ["Jobs that wait", [["jobs_waiting", "--violet", ""]], number],
];

const [LEAST_S, MOST_S] = [30, 2592000];

const clock = (at, wide) => new Date(at * 1000).toLocaleString("en-GB", wide ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Charts {
  // on_zoom is given [from, to] in seconds since 1970, or null: back to the time that was chosen.
  constructor(where, on_zoom) {
    this.on_zoom = on_zoom;
    this.newest = 0;
    this.boxes = CHARTS.map(([title, series, format]) => {
      const said = element("small");
      const plot = element("div", { class: "plot", role: "img", tabindex: "0", "aria-describedby": "keys", onkeydown: (event) => this.keyed(event) });
      where.append(element("div", { class: "chart" }, element("h3", {}, title, said), plot));
      return { title, series, format, said, plot, chart: null };
    });
    new ResizeObserver(() => this.draw()).observe(where);
  }

  show(found) {
    this.found = found;
    this.newest = Math.max(this.newest, found.times.at(-1) + found.step_s);
    this.draw();
  }

  draw() {
    if (!this.found) return;
    for (const box of this.boxes) this.drawOne(box);
  }

  drawOne(box) {
    const { times, series } = this.found;
    const data = [times, ...box.series.map(([name]) => series[name])];
    const newest = box.series.map(([name, , label]) => {
      const value = series[name].findLast((one) => one != null);
      return `${label} ${value == null ? "–" : box.format(value)}`.trim();
    });
    box.said.textContent = newest.join(" · ");
    box.plot.setAttribute("aria-label", `${box.title} over time; newest: ${newest.join(", ")}`);
    const theme = document.documentElement.dataset.theme;
    const width = box.plot.clientWidth;
    if (box.chart && box.theme === theme && box.width === width) return box.chart.setData(data);
    box.chart?.destroy();
    Object.assign(box, { theme, width, chart: new uPlot(this.options(box, width), data, box.plot) });
    // What is said of the picture is its box's label.
    box.chart.root.ariaHidden = "true";
  }

  options(box, width) {
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    return {
      width, height: 120, padding: [6, 4, 0, 0],
      cursor: { sync: { key: "haven" }, drag: { x: true, y: false, setScale: false }, points: { size: 5 } },
      scales: { y: { range: (_, least, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [{ ...axis, size: 22, values: (_, values) => values.map((at) => clock(at, values.at(-1) - values[0] > 100000)) }, { ...axis, size: 46, values: (_, values) => values.map((value) => box.format(value)) }],
      series: [{}, ...box.series.map(([, name, label]) => ({ label: label || box.title, stroke: colour(name), width: 1.6, spanGaps: false, points: { show: this.found.times.length < 40, size: 3 } }))],
      hooks: {
        setSelect: [(chart) => this.zoomed(chart)],
        setCursor: [(chart) => this.hover(box, chart)],
      },
    };
  }

  zoomed(chart) {
    if (chart.select.width < 5) return;
    const [from, to] = [chart.select.left, chart.select.left + chart.select.width].map((x) => Math.round(chart.posToVal(x, "x")));
    chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.zoomTo(from, to);
  }

  zoomTo(from, to) {
    const end = Math.min(to, this.newest);
    if (end - from >= LEAST_S) this.on_zoom([Math.max(from, end - MOST_S), end]);
  }

  // What dragging does, by keys.
  keyed(event) {
    if (!this.found || event.ctrlKey || event.metaKey || event.altKey) return;
    const { times, step_s } = this.found;
    const [from, to] = [times[0], times.at(-1) + step_s];
    const quarter = Math.round((to - from) / 4);
    const by_key = { "+": [quarter, -quarter], "=": [quarter, -quarter], "-": [-quarter, quarter], ArrowLeft: [-quarter, -quarter], ArrowRight: [quarter, quarter] };
    if (event.key === "Escape") this.on_zoom(null);
    else if (by_key[event.key]) this.zoomTo(from + by_key[event.key][0], to + by_key[event.key][1]);
    else return;
    event.preventDefault();
  }

  hover(box, chart) {
    const at = chart.cursor.idx;
    if (at == null) return;
    box.said.textContent = box.series
      .map(([name, , label]) => `${label} ${this.found.series[name][at] == null ? "–" : box.format(this.found.series[name][at])}`.trim())
      .join(" · ");
  }
}

// Up to which share of a time's requests a cell is how opaque. Each level is told from the next, and one request of many from none.
const LEVELS = [[0.01, 0.25], [0.05, 0.42], [0.2, 0.59], [0.5, 0.78], [1, 1]];

export function heat(canvas, { times, series, edges_ms }) {
  const rows = edges_ms.length + 1;
  const scale = window.devicePixelRatio || 1;
  const [width, height, left] = [canvas.clientWidth, 150, 60];
  Object.assign(canvas, { width: width * scale, height: height * scale });
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "10px system-ui";
  const [x, y] = [(width - left) / times.length, height / rows];
  series.heat.forEach((counts, at) => {
    const all = counts?.reduce((sum, one) => sum + one, 0) ?? 0;
    counts?.forEach((count, row) => {
      if (!count) return;
      pen.globalAlpha = LEVELS.find(([most]) => count <= most * all)[1];
      pen.fillStyle = colour(edges_ms[row] === undefined || edges_ms[row] > 1000 ? "--red" : edges_ms[row] > 200 ? "--amber" : "--green");
      pen.fillRect(left + at * x, height - (row + 1) * y, Math.max(x - 0.5, 1), y - 1);
    });
  });
  pen.globalAlpha = 1;
  pen.fillStyle = colour("--soft");
  edges_ms.forEach((edge, row) => row % 2 || pen.fillText(`≤ ${ms(edge)}`, 0, height - row * y - 2));
  const total = series.heat.flatMap((counts) => counts ?? []).reduce((sum, one) => sum + one, 0);
  const slow = series.heat.reduce((sum, counts) => sum + (counts?.slice(10).reduce((a, b) => a + b, 0) ?? 0), 0);
  canvas.setAttribute("aria-label", `Heat map of response times: ${number(total, 0)} requests, ${number(slow, 0)} of them over a second`);
}
