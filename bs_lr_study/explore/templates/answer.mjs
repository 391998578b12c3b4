// The answer in words: the best cell, which others may be the best, and what that rests on.
import {capital, counted, lrText, points, span, value} from "./text.mjs";
import {height} from "./marks.mjs";

function rivals(view) {
  const {found, state, cells} = view, others = [...found.may].filter(o => !found.best.has(o));
  const of = counted(cells.filter(o => o.mean !== null).length - 1, "other cell");
  if (!found.sets) return state.agg === "best" ? "Candidates are of means: choose Mean to see which other cells may be the best." : "";
  if (!others.length) return `None of the ${of} can be as good, at ${state.level} per cent.`;
  return `${others.length} of the ${of} cannot be told from it at ${state.level} per cent: ` +
    `batch size ${span(others.map(o => o.bs))}, learning rate ${span(others.map(o => o.lr), lrText)}.`;
}

function rests(view, top) {
  const {about, metric, state} = view;
  if (state.agg === "best") return "";
  if (!about.known) return "No two runs of a cell differ, so nothing says how far a run moves: the order of close cells is chance.";
  return `Made again, a run of the best cell moves by ${points(metric, top.sd)} (${about.how}).`;
}

function ofRows(view) {
  const {found, state, cells} = view, rows = new Set(cells.filter(o => o.mean !== null).map(o => o.lr)).size;
  const n = found.may.size - found.best.size, other = n ? counted(n, "other cell") : "no other cell";
  const sets = found.sets ? `, and ${other} may be the best of ${n > 1 ? "their" : "its"} row at ${state.level} per cent` : "";
  return `The best batch size of each of ${counted(rows, "learning rate")}${sets}.`;
}

// sentences on a model: what to say first, and what it rests on
export function answer(view) {
  const {found, metric, state} = view;
  if (!found.best.size) return ["No run of this model has a value.", ""];
  if (state.among === "row") return [ofRows(view), view.about.known ? "" : rests(view)];
  const [top] = found.best, word = metric.lower ? "lowest" : "highest", n = state.agg === "mean" ? `, the mean of ${counted(top.n, "run")}` : "";
  const first = `Best: batch size ${top.bs}, learning rate ${lrText(top.lr)}, the ${word} ${metric.label} of ${view.model.model}: ` +
    `${value(metric, height(top, state))}${top.n > 1 ? n : ""}.`;
  return [first, [rivals(view), rests(view, top)].filter(Boolean).join(" ")].map(o => capital(o));
}
