// Lines over batch sizes, one a learning rate, each with its band and its label; a point is a cell of the grid.
import {svg} from "./dom.mjs";
import {capital, lrText, number} from "./text.mjs";
import {cellTip, height} from "./marks.mjs";
import {axes, key} from "./grid.mjs";
import {linear, path, ramp, shape, spread, thinned, ticks, xAxis, yAxis} from "./chart.mjs";

// the error of a cell's mean: what its run moves, over the root of its runs
const error = (cell, state) => state.agg === "mean" && cell.sd !== null ? cell.sd / Math.sqrt(cell.n) : 0;

function scales(cells, state, box) {
  const low = Math.min(...cells.map(o => height(o, state) - error(o, state)));
  const high = Math.max(...cells.map(o => height(o, state) + error(o, state)));
  const logs = cells.map(o => Math.log2(o.bs)), room = (high - low) * .04 || Math.abs(high) * .1 || 1;
  const x = linear([Math.min(...logs), Math.max(...logs)], [box.left + 10, box.right - 6]);
  return {x: bs => x(Math.log2(bs)), y: linear([low - room, high + room], [box.bottom, box.top]), low, high};
}

function band(line, state, at) {
  const upper = line.map(o => [at.x(o.bs), at.y(height(o, state) + error(o, state))]);
  const lower = line.map(o => [at.x(o.bs), at.y(height(o, state) - error(o, state))]).reverse();
  return svg("path", {class: "band", d: path([...upper, ...lower]) + "z"});
}

function point(cell, i, view, at) {
  const {state, metric, found} = view, kinds = ["point", found.best.has(cell) && "best", found.may.has(cell) && "may"].filter(Boolean);
  const where = `translate(${at.x(cell.bs).toFixed(1)},${at.y(height(cell, state)).toFixed(1)})`;
  const ring = found.may.has(cell) || found.best.has(cell) ? svg("circle", {class: "ring", r: 7}) : null;
  return svg("g", {class: kinds.join(" "), transform: where, "data-key": key(cell.lr, cell.bs)},
    svg("title", {}, cellTip(cell, metric, state)), svg("circle", {class: "reach", r: 12}), ring, svg("path", {d: shape(i)}));
}

// draw the lines of a model, as wide as there is room
export function drawLines(figure, view, width) {
  const {state, metric} = view, {lrs, bss} = axes(view.cells);
  const cells = view.cells.filter(o => height(o, state) !== null);
  figure.replaceChildren();
  if (!cells.length) return;
  const tall = Math.max(260, Math.min(440, width * .62)), box = {left: 50, right: width - 52, top: 28, bottom: tall - 44};
  const at = scales(cells, state, box), picture = svg("svg", {viewBox: `0 0 ${width} ${tall}`, width, height: tall, role: "img", "aria-labelledby": "lines-title"});
  picture.append(...yAxis(box, at.y, ticks(at.low, at.high, 5), v => number(metric, v, metric.points && at.high - at.low > .05 * 100 / metric.factor ? 0 : 1)));
  picture.append(...xAxis(box, at.x, thinned(bss, Math.floor(width / 48)), String));
  picture.append(svg("text", {class: "name", x: 4, y: 14}, capital(metric.label) + (metric.points ? " (%)" : "")),
    svg("text", {class: "name", x: box.right, y: tall - 6, "text-anchor": "end"}, "Batch size"),
    svg("text", {class: "name", x: width - 2, y: 14, "text-anchor": "end"}, "Learning rate"));
  const lines = lrs.map(lr => cells.filter(o => o.lr === lr).sort((a, b) => a.bs - b.bs));
  const labels = spread(lines.flatMap(o => o.length ? [{lr: o[0].lr, y: at.y(height(o.at(-1), state)), from: o.at(-1)}] : []), 14, box.top + 4, box.bottom);
  lines.forEach((line, i) => {
    if (!line.length) return;
    const label = labels.find(o => o.lr === line[0].lr), end = at.y(height(label.from, state));
    const g = ramp(svg("g", {class: "line", "data-lr": line[0].lr}), i, lrs.length);
    g.append(band(line, state, at), svg("path", {class: "stroke", d: path(line.map(o => [at.x(o.bs), at.y(height(o, state))]))}),
      svg("path", {class: "leader", d: path([[at.x(label.from.bs), end], [box.right + 8, label.y]])}),
      svg("text", {x: box.right + 11, y: label.y, dy: ".32em"}, lrText(line[0].lr)), ...line.map(o => point(o, i, view, at)));
    picture.append(g);
  });
  figure.append(picture);
}
