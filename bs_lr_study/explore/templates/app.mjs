// The page: choices, the address, and what follows from them.
import {byId, html} from "./dom.mjs";
import {capital} from "./text.mjs";
import {LEVELS, readState, shown, writeState} from "./state.mjs";
import {marks} from "./marks.mjs";
import {drawGrid, focusCell, key, walk} from "./grid.mjs";
import {drawLines} from "./lines.mjs";
import {drawRuns} from "./runs.mjs";
import {answer} from "./answer.mjs";
import {acceptFiles} from "./drop.mjs";

const data = JSON.parse(byId("data").textContent);
const studies = data.studies, table = byId("grid"), figure = byId("lines");
let state = readState(location.hash, studies);

function view() {
  const at = shown(state, studies);
  return {...at, state, found: marks(at.cells, at.metric, state)};
}

function fillSelect(id, choices, chosen) {
  const options = choices.map(([v, text]) => html("option", {value: v}, text));
  byId(id).replaceChildren(...options);
  byId(id).value = chosen;
  byId(id).closest("label").hidden = choices.length < 2 && id !== "study";
}

function drawControls({study, about, metric}) {
  fillSelect("study", studies.map(o => [o.name, o.name]), state.study);
  fillSelect("model", about.models.map(o => [o.model, o.model]), state.model);
  fillSelect("metric", study.metrics.map(o => [o.metric.name, capital(o.metric.label)]), metric.name);
  fillSelect("level", LEVELS.map(o => [String(o), `${o} %`]), String(state.level));
  for (const name of ["agg", "among"]) for (const o of document.getElementsByName(name)) o.checked = o.value === state[name];
  byId("level").disabled = state.agg === "best" || !about.known;
}

function draw() {
  const now = view();
  drawControls(now);
  const [first, rest] = answer(now);
  byId("best").textContent = first;
  byId("rest").textContent = rest;
  byId("grid-title").textContent = `${capital(now.metric.label)}${now.metric.points ? " in per cent" : ""}: ${state.model}`;
  byId("lines-title").textContent = `${capital(now.metric.label)} by batch size, a line a learning rate: ${state.model}`;
  byId("band-note").hidden = !(now.about.known && state.agg === "mean");
  byId("search-note").hidden = !now.study.searched;
  drawGrid(table, now);
  for (const o of byId("key").children) o.hidden = !table.tBodies[0].textContent.includes(o.firstChild.textContent); // only signs that occur
  drawPictures(now);
  history.replaceState(null, "", writeState(state));
}

function drawPictures(now = view()) {
  drawLines(figure, now, Math.max(280, Math.floor(figure.clientWidth)));
  drawRuns(byId("cell"), byId("cell-title"), byId("cell-body"), now, Math.min(560, Math.max(280, Math.floor(byId("main").clientWidth))));
}

function set(change, keepCell = false) {
  state = readState(writeState({...state, ...(keepCell ? {} : {lr: null, bs: null}), ...change}), studies);
  draw();
}

// open the runs of a cell; who came by the keyboard is taken there, and back by Escape
function open(td, byKeyboard) {
  const [lr, bs] = td.dataset.key.split("|").map(Number);
  set({lr, bs}, true);
  const again = table.querySelector(`[data-key="${key(lr, bs)}"]`);
  if (byKeyboard) byId("cell-title").focus();
  else focusCell(table, again);
}

function close() {
  const {lr, bs} = state;
  set({});
  const td = table.querySelector(`[data-key="${key(lr, bs)}"]`);
  if (td) focusCell(table, td);
}

// a cell, its point and its row stand out together, whichever of them is under the pointer or has the focus
function highlight(event) {
  const at = event.target.closest?.("[data-key]"), line = event.target.closest?.("[data-lr]");
  for (const o of document.querySelectorAll(".on")) o.classList.remove("on");
  figure.classList.toggle("some", Boolean(at || line));
  const lr = at ? at.dataset.key.split("|")[0] : line?.dataset.lr;
  for (const o of document.querySelectorAll("[data-key],[data-lr]")) {
    if (at && o.dataset.key === at.dataset.key || lr !== undefined && o.dataset.lr === lr) o.classList.add("on");
  }
}

for (const id of ["study", "model", "metric"]) byId(id).addEventListener("change", event => set({[id]: event.target.value}));
byId("level").addEventListener("change", event => set({level: event.target.value}, true));
for (const name of ["agg", "among"]) {
  for (const o of document.getElementsByName(name)) o.addEventListener("change", () => set({[name]: o.value}, true));
}
walk(table, open);
for (const o of [table, figure]) for (const kind of ["pointerover", "pointerleave", "focusin", "focusout"]) o.addEventListener(kind, highlight);
figure.addEventListener("click", event => {
  const at = event.target.closest("[data-key]");
  if (at) open(at, false);
});
byId("close").addEventListener("click", close);
byId("cell").addEventListener("keydown", event => { if (event.key === "Escape") close(); });
window.addEventListener("hashchange", () => { state = readState(location.hash, studies); draw(); });
acceptFiles(byId("file"), byId("problem"), data.rules, study => {
  const old = studies.findIndex(o => o.name === study.name);
  if (old >= 0) studies.splice(old, 1, study);
  else studies.push(study);
  set({study: study.name, model: null, metric: null});
});
let wide = 0;
new ResizeObserver(() => { if (figure.clientWidth !== wide) { wide = figure.clientWidth; drawPictures(); } }).observe(figure);

// the theme: the system's, until the button is pressed
const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
const showTheme = () => byId("theme").setAttribute("aria-pressed", String(isDark()));
byId("theme").addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; showTheme(); });
system.addEventListener("change", showTheme);
showTheme();
draw();
