// Which cells are the best, which may be, and what stands in a cell: the one place that grid, lines and words ask.
import {apart, counted, number, spoken, value} from "./text.mjs";

export const height = (cell, state) => state.agg === "best" ? cell.best : cell.mean;

// means that differ in their last digits alone do tie, and ties go to the smaller batch size, as in Python
function better(metric, state) {
  const sign = metric.lower ? -1 : 1;
  return (a, b) => {
    const [x, y] = [height(a, state), height(b, state)];
    if (Math.abs(x - y) > 1e-12 * Math.max(Math.abs(x), Math.abs(y))) return sign * (x - y) > 0 ? a : b;
    return a.bs <= b.bs ? a : b;
  };
}

function groups(cells, among) {
  if (among === "all") return [cells];
  const by = new Map();
  for (const o of cells) by.set(o.lr, [...(by.get(o.lr) || []), o]);
  return [...by.values()];
}

// the cells that are best, and those that may be: among all, or each in its row
export function marks(cells, metric, state) {
  const ran = cells.filter(o => o.mean !== null), least = 1 - state.level / 100;
  const best = new Set(groups(ran, state.among).filter(o => o.length).map(o => o.reduce(better(metric, state))));
  const p = o => state.among === "row" ? o.p_row : o.p;
  const sets = state.agg === "mean" && ran.some(o => p(o) !== null);
  const may = new Set(sets ? ran.filter(o => best.has(o) || p(o) > least) : []);
  return {best, may, sets};
}

const LOST = [["diverged", "×", "diverged"], ["failed", "!", "failed"], ["unfinished", "…", "not trained to the end"]];

// what did not go well in a cell: signs to see, words to hear
export const lost = cell => LOST.filter(([key]) => cell[key]).map(([key, sign, word]) => (
  {sign: cell.runs > 1 ? `${sign}${cell[key]}/${cell.runs}` : sign, words: cell.runs > 1 ? `${cell[key]} of ${cell.runs} ${word}` : word}));

// a cell's name for who hears it
export function cellName(cell, lr, bs, metric, state, found) {
  const at = `batch size ${spoken(bs)}, learning rate ${spoken(lr)}`;
  if (!cell) return `${at}, not run`;
  const said = [at];
  const v = height(cell, state), spread = state.agg === "mean" && cell.n > 1 ? ` ± ${apart(metric, cell.std)}` : "";
  if (v !== null) said.push(`${number(metric, v)}${spread}${metric.points ? " %" : ""}`);
  if (cell.n) said.push(counted(cell.n, "run"));
  said.push(...lost(cell).map(o => o.words));
  if (v === null && !lost(cell).length) said.push("no value");
  if (found.best.has(cell)) said.push(state.among === "row" ? "the best of its row" : "the best");
  else if (found.may.has(cell)) said.push(state.among === "row" ? "may be the best of its row" : "may be the best");
  return said.join(", ");
}

// what a tooltip says
export const cellTip = (cell, metric, state) => `bs ${cell.bs}, lr ${cell.lr}: ${value(metric, height(cell, state))}`;
