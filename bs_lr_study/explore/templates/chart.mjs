// What two charts share: scales, ticks, axes and marks, in plain SVG at the size at which it is shown.
import {html, svg} from "./dom.mjs";

export const linear = (from, to) => v => to[0] + (v - from[0]) / (from[1] - from[0] || 1) * (to[1] - to[0]);

// round numbers that part a range into about `n`
export function ticks(low, high, n) {
  const raw = (high - low) / n || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(o => o * power >= raw);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({length: count}, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// every second, fourth … of some values, so that at most `most` are left
export function thinned(values, most) {
  const every = 2 ** Math.max(0, Math.ceil(Math.log2(values.length / most)));
  return values.filter((_, i) => i % every === 0);
}

// shapes of area alike, told apart without colour
const SHAPES = [
  "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-3.6,-3.6h7.2v7.2h-7.2z", "M0,-5L5,0L0,5L-5,0z", "M0,-4.8L4.8,3.8H-4.8z", "M0,4.8L4.8,-3.8H-4.8z",
  "M-1.6,-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z", "M-4.8,0L3.8,-4.8V4.8z", "M4.8,0L-3.8,-4.8V4.8z"];
export const shape = i => SHAPES[i % SHAPES.length];

// a colour between two of the style sheet's, for the i-th of n ordered things
export const ramp = (el, i, n) => { el.style.setProperty("--at", n > 1 ? (i / (n - 1)).toFixed(3) : "0.5"); return el; };

export function yAxis(box, y, values, show) {
  return values.map(v => svg("g", {class: "tick", transform: `translate(0,${y(v).toFixed(1)})`},
    svg("line", {x1: box.left, x2: box.right}), svg("text", {x: box.left - 6, dy: ".32em", "text-anchor": "end"}, show(v))));
}

export function xAxis(box, x, values, show) {
  return values.map(v => svg("g", {class: "tick", transform: `translate(${x(v).toFixed(1)},${box.bottom})`},
    svg("line", {y2: 4}), svg("text", {y: 17, "text-anchor": "middle"}, show(v))));
}

// labels beside the ends of lines, moved apart until none covers another
export function spread(labels, least, low, high) {
  const order = [...labels].sort((a, b) => a.y - b.y);
  for (let i = 1; i < order.length; i++) order[i].y = Math.max(order[i].y, order[i - 1].y + least);
  const over = order.length ? order.at(-1).y - high : 0;
  if (over > 0) order.at(-1).y = high;
  for (let i = order.length - 2; i >= 0; i--) order[i].y = Math.min(order[i].y, order[i + 1].y - least);
  if (order.length && order[0].y < low) order.forEach((o, i) => { o.y = Math.max(o.y, low + i * Math.min(least, (high - low) / order.length)); });
  return labels;
}

export const path = at => at.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

export const hint = text => html("p", {class: "note"}, text);
