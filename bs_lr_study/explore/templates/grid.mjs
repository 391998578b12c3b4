// The crosstab: a table with role="grid" that is walked with the arrow keys, one cell of it in the order of tabs.
import {html} from "./dom.mjs";
import {apart, lrText, number} from "./text.mjs";
import {cellName, height, lost} from "./marks.mjs";

const sorted = values => [...new Set(values)].sort((a, b) => a - b);
export const axes = cells => ({lrs: sorted(cells.map(o => o.lr)), bss: sorted(cells.map(o => o.bs))});
export const key = (lr, bs) => `${lr}|${bs}`;

// how deep a cell is shaded: 0 for the worst of the model, 1 for the best
function shades(cells, metric, state) {
  const values = cells.map(o => height(o, state)).filter(v => v !== null);
  const low = Math.min(...values), high = Math.max(...values);
  return v => {
    const share = high > low ? (v - low) / (high - low) : 1;
    return metric.lower ? 1 - share : share;
  };
}

function content(cell, metric, state, found) {
  const v = height(cell, state), parts = [];
  if (v !== null) parts.push(html("span", {class: "value"}, number(metric, v)));
  if (v !== null && state.agg === "mean" && cell.n > 1) parts.push(html("span", {class: "spread"}, `±${apart(metric, cell.std)}`));
  for (const o of lost(cell)) parts.push(html("span", {class: "lost"}, o.sign));
  const mark = found.best.has(cell) ? "★" : found.may.has(cell) ? "●" : "";
  parts.push(html("span", {class: "mark"}, mark));
  return parts;
}

function gridCell(cell, lr, bs, view) {
  const {metric, state, found, shade} = view;
  const kinds = cell ? ["ran", found.best.has(cell) && "best", found.may.has(cell) && "may"] : ["blank"];
  const name = cellName(cell, lr, bs, metric, state, found);
  const td = html("td", {class: kinds.filter(Boolean).join(" "), tabindex: -1, "data-key": key(lr, bs), "aria-label": name});
  if (!cell) td.append("·");
  else td.append(html("span", {class: "inside"}, content(cell, metric, state, found)));
  if (cell && height(cell, state) !== null) td.style.setProperty("--share", shade(height(cell, state)).toFixed(3));
  return td;
}

// draw the crosstab of a model into a table
export function drawGrid(table, view) {
  const {lrs, bss} = axes(view.cells), by = new Map(view.cells.map(o => [key(o.lr, o.bs), o]));
  const shade = shades(view.cells, view.metric, view.state);
  const head = html("tr", {}, html("th", {scope: "col", class: "corner"}, html("span", {class: "hidden"}, "learning rate")),
    bss.map(bs => html("th", {scope: "col"}, html("span", {class: "hidden"}, "batch size "), String(bs))));
  const rows = lrs.map(lr => html("tr", {"data-lr": lr}, html("th", {scope: "row"}, html("span", {class: "hidden"}, "learning rate "), lrText(lr)),
    bss.map(bs => gridCell(by.get(key(lr, bs)), lr, bs, {...view, shade}))));
  table.replaceChildren(html("thead", {}, head), html("tbody", {}, rows));
  const chosen = table.querySelector(`[data-key="${key(view.state.lr, view.state.bs)}"]`);
  (chosen || table.querySelector("td.best") || table.querySelector("td")).tabIndex = 0;
  if (chosen) chosen.setAttribute("aria-selected", "true");
}

const STEPS = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]};

// the cell that a key leads to
function target(td, event) {
  const rows = [...td.closest("tbody").rows].map(o => [...o.cells].slice(1));
  const i = rows.findIndex(o => o.includes(td)), j = rows[i].indexOf(td);
  if (event.key in STEPS) return rows[i + STEPS[event.key][0]]?.[j + STEPS[event.key][1]];
  if (event.key === "Home") return (event.ctrlKey ? rows[0] : rows[i])[0];
  if (event.key === "End") return (event.ctrlKey ? rows.at(-1) : rows[i]).at(-1);
}

export function focusCell(table, td) {
  for (const o of table.querySelectorAll('td[tabindex="0"]')) o.tabIndex = -1;
  td.tabIndex = 0;
  td.focus();
}

// walk with the keys; `open` is called with the cell on which Enter, a space or the mouse falls
export function walk(table, open) {
  table.addEventListener("keydown", event => {
    const td = event.target.closest("td");
    if (!td || event.altKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(td, true); return; }
    const to = target(td, event);
    if (to) { event.preventDefault(); focusCell(table, to); }
    else if (event.key in STEPS) event.preventDefault();
  });
  table.addEventListener("click", event => {
    const td = event.target.closest("td");
    if (td) { focusCell(table, td); open(td, false); }
  });
}
