// The runs of one cell: a table of them, and their curves where epochs are known.
import {html, svg} from "./dom.mjs";
import {capital, lrText, number, value} from "./text.mjs";
import {linear, path, ramp, spread, ticks, xAxis, yAxis} from "./chart.mjs";

function columns(runs, metric) {
  const all = [
    ["Run", o => o.run], ["Seed", o => o.seed], ["Learning rate", o => o.lr_exact],
    [capital(metric.label), o => o[metric.name] === undefined ? undefined : value(metric, o[metric.name], 2)],
    ["Ended", o => o.status], ["Message", o => o.message]];
  return all.filter(([name, get]) => name === "Run" || runs.some(o => get(o) !== undefined && get(o) !== ""));
}

function runsTable(runs, metric) {
  const shown = columns(runs, metric);
  const head = html("tr", {}, shown.map(([name]) => html("th", {scope: "col"}, name)));
  const rows = runs.map(o => html("tr", {}, shown.map(([name, get], i) => {
    const text = get(o) === undefined ? "–" : String(get(o));
    return i ? html("td", {}, text) : html("th", {scope: "row"}, text);
  })));
  return html("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": "Runs of the cell"},
    html("table", {}, html("thead", {}, head), html("tbody", {}, rows)));
}

// the epochs of each run that has any, as points
function curvesOf(runs, metric) {
  const names = [metric.name, "acc", "valid_loss", "train_loss"];
  const name = names.find(k => runs.some(o => (o.curve || []).some(e => typeof e[k] === "number")));
  const pointsOf = o => (o.curve || []).filter(e => typeof e[name] === "number").map(e => [e.epoch, e[name]]);
  const lines = runs.map(o => ({seed: o.seed, points: pointsOf(o)}));
  return {name, lines: lines.filter(o => o.points.length > 1)};
}

// the seed of each line beside its end
function seedsOf(lines, x, y, box) {
  const labels = lines.map(({seed, points}) => ({seed, x: x(points.at(-1)[0]) + 7, y: y(points.at(-1)[1])}));
  return spread(labels, 13, box.top, box.bottom).map(o => svg("text", {class: "name", x: o.x, y: o.y, dy: ".32em"}, String(o.seed)));
}

function drawCurves(runs, metric, width) {
  const {name, lines} = curvesOf(runs, metric);
  if (!lines.length) return [];
  const all = lines.flatMap(o => o.points), ys = all.map(o => o[1]), last = Math.max(...all.map(o => o[0])), first = Math.min(...all.map(o => o[0]));
  const box = {left: 50, right: width - 30, top: 26, bottom: 186}, own = name === metric.name;
  const x = linear([first, last], [box.left + 6, box.right - 6]), y = linear([Math.min(...ys), Math.max(...ys)], [box.bottom, box.top + 4]);
  const show = v => own ? number(metric, v, metric.points ? 0 : 1) : String(v);
  const seeded = lines.length < 9 && lines.every(o => o.seed !== undefined);
  const title = `${capital(own ? metric.label : name.replace("_", " "))} by epoch, a line a run${seeded ? " with its seed" : ""}`;
  const picture = svg("svg", {viewBox: `0 0 ${width} 224`, width, height: 224, role: "img", "aria-label": title});
  picture.append(svg("text", {class: "name", x: 4, y: 14}, title), ...yAxis(box, y, ticks(Math.min(...ys), Math.max(...ys), 4), show),
    ...xAxis(box, x, ticks(first, last, Math.min(8, last - first)).filter(Number.isInteger), String),
    svg("text", {class: "name", x: box.right, y: 218, "text-anchor": "end"}, "Epoch"),
    ...lines.map((o, i) => ramp(svg("g", {class: "line"}, svg("path", {class: "stroke", d: path(o.points.map(([e, v]) => [x(e), y(v)]))})), i, lines.length)),
    ...seeded ? seedsOf(lines, x, y, box) : []);
  return [html("figure", {class: "curves"}, picture)];
}

// show the runs of the cell that the state names
export function drawRuns(section, heading, body, view, width) {
  const {state, metric, study} = view;
  const mine = study.runs.filter(o => o.model === state.model && o.lr === state.lr && o.bs === state.bs);
  section.hidden = state.lr === null;
  if (section.hidden) return;
  heading.textContent = `Batch size ${state.bs}, learning rate ${lrText(state.lr)}`;
  body.replaceChildren(...mine.length ? [...drawCurves(mine, metric, width), runsTable(mine, metric)] : [html("p", {}, "No run was made here.")]);
}
