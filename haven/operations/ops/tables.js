// Elements made of data: always as text, never as HTML.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null).map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

// Who has the keyboard in what is written anew keeps it; and what scrolls can be reached by it.
export function put(where, ...children) {
  const held = where.contains(document.activeElement) ? document.activeElement : null;
  where.replaceChildren(...children);
  where.tabIndex = where.scrollHeight > where.clientHeight || where.scrollWidth > where.clientWidth ? 0 : -1;
  if (!held || held === where) return;
  const same = [...where.querySelectorAll("a, button, summary")].find((one) => sign(one) === sign(held));
  (same ?? where).focus({ preventScroll: true });
}

const sign = (one) => one.dataset.key ?? one.getAttribute("aria-label") ?? one.textContent;

export const empty = (words) => element("p", { class: "empty" }, words);

// columns: [heading, what of a row, class of a row?]
export function table(caption, columns, rows, { head } = {}) {
  const cells = (row) => columns.map(([, of, of_class]) => element("td", { class: of_class ? of_class(row) : "" }, of(row) ?? "–"));
  return element(
    "table", {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...(head ?? columns.map(([name]) => element("th", { scope: "col" }, name))))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row)))),
  );
}

export class SortedTable {
  constructor(where, caption, columns, sorted_by) {
    Object.assign(this, { where, caption, columns, rows: [], filter: "", by: sorted_by, down: true });
  }

  show(rows = this.rows) {
    this.rows = rows;
    const [, , , value] = this.columns[this.by];
    const sorted = rows
      .filter((row) => this.columns[0][1](row).toLowerCase().includes(this.filter.toLowerCase()))
      .sort((one, other) => this.compare(value(one), value(other)));
    if (!rows.length) return put(this.where, empty("No requests in this time."));
    if (!sorted.length) return put(this.where, empty(`No route has “${this.filter}” in it.`));
    put(this.where, table(this.caption, this.columns, sorted, { head: this.columns.map((column, at) => this.heading(column, at)) }));
  }

  compare(one, other) {
    const order = typeof one === "string" ? one.localeCompare(other) : (one ?? -1) - (other ?? -1);
    return this.down ? -order : order;
  }

  heading([name], at) {
    const is_this = at === this.by;
    const arrow = is_this ? (this.down ? " ▾" : " ▴") : "";
    const sort = () => {
      this.down = is_this ? !this.down : at !== 0;
      this.by = at;
      this.show();
    };
    return element(
      "th", { scope: "col", "aria-sort": is_this ? (this.down ? "descending" : "ascending") : "none" },
      element("button", { type: "button", "data-sort": at, "data-key": `sort ${at}`, onclick: sort }, name + arrow),
    );
  }
}

export const number = (value, digits = 1) => (value == null ? "–" : Number(value).toLocaleString("en", { maximumFractionDigits: digits }));
export const ms = (value) => (value == null ? "–" : value >= 10000 ? `${number(value / 1000)} s` : `${number(value, value < 10 ? 2 : 0)} ms`);
export const share = (value) => (value == null ? "–" : `${number(value * 100, 2)} %`);
export const mib = (value) => (value == null ? "–" : `${number(value / 1048576, 0)} MiB`);
export const seconds = (value) => (value == null ? "–" : value < 120 ? `${number(value, 0)} s` : value < 7200 ? `${number(value / 60, 0)} min` : `${number(value / 3600)} h`);
export const when = (value) => new Date(typeof value === "number" ? value * 1000 : value).toLocaleString("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
