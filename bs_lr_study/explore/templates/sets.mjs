// For each cell the p value of its being the best, all rivals accounted for: `best_p` of Python, with the same nodes.
import {logChi2, normal, normalOrZero, tAbove} from "./special.mjs";

const evenly = (low, high, n) => Array.from({length: n}, (_, i) => low + i * (high - low) / (n - 1));

const both = (a, b) => Math.sqrt(a * a + b * b); // Math.hypot takes a hundred times as long

const nodes = new Map();

// values of the ratio of estimated to true standard deviation, with weights
export function sdNodes(dof, n) {
  const key = `${dof}|${n}`;
  if (!nodes.has(key)) nodes.set(key, makeNodes(dof, n));
  return nodes.get(key);
}

function makeNodes(dof, n) {
  const d = Math.min(dof, 1e7);
  const u = evenly((logChi2(d, 1e-9) - Math.log(d)) / 2, (logChi2(d, 1e-12, true) - Math.log(d)) / 2, n);
  const logs = u.map(v => d * (v - Math.exp(2 * v) / 2)), most = Math.max(...logs);
  const w = logs.map(v => Math.exp(v - most)), sum = w.reduce((a, b) => a + b, 0);
  return {s: u.map(Math.exp), w: w.map(v => v / sum)};
}

const nodesFor = dofs => {
  if (dofs.every(o => o === Infinity)) return dofs.map(() => ({s: [1], w: [1]}));
  const least = Math.min(...dofs);
  return dofs.map(o => sdNodes(o, least >= 5 ? 20 : least >= 2 ? 32 : 64));
};

// for a cell its strongest rival and that one's standardized lead
function largestLead(row, i) {
  let first = 0, lead = -Infinity;
  row.forEach((o, j) => {
    if (j === i || !o || !row[i]) return;
    const l = (o.y - row[i].y) / both(o.se, row[i].se);
    if (l > lead) [first, lead] = [j, l];
  });
  return {first, lead};
}

const LEFT_OUT = 1e-14; // of a chance, in each of its parts

// the chance that all rivals stay below; none where it is less than `least`
function allBelow(slopes, shifts, z, s, least) {
  let product = 1;
  for (let j = 0; j < slopes.length; j++) {
    product *= normalOrZero(slopes[j] * z + s * shifts[j]);
    if (product < least) return 0;
  }
  return product;
}

// the chance of so large a lead over a cell
function chance({own, rivals, lead}, z, w, {s, w: weights}) {
  const far = rivals.map(o => Math.max(o, own / 10));
  const slopes = Float64Array.from(far, o => own / o), shifts = Float64Array.from(far, o => lead * both(own, o) / o);
  let below = 0;
  for (let k = 0; k < s.length; k++) {
    for (let m = 0; m < z.length; m++) {
      const weight = weights[k] * w[m];
      if (weight > LEFT_OUT) below += weight * allBelow(slopes, shifts, z[m], s[k], LEFT_OUT / weight);
    }
  }
  return 1 - below;
}

// Python works out many cells at once, all with the step that the surest of them needs: the same parts here
function inParts(todo, width) {
  const order = todo.map((o, i) => [o, i]).sort(([a, i], [b, j]) => a.own - b.own || i - j).map(([o]) => o);
  const n = 1 + Math.floor(order.length * width / 1000), base = Math.floor(order.length / n), more = order.length % n;
  const parts = [];
  for (let k = 0, at = 0; k < n; k++) parts.push(order.slice(at, at += base + (k < more ? 1 : 0)));
  return parts.filter(o => o.length);
}

function chances(part) {
  const widest = Math.max(...part.map(o => Math.max(...o.rivals.map(r => o.own / Math.max(r, o.own / 10)))));
  const step = Math.min(.4, Math.max(.1, 1 / widest)), z = [];
  for (let i = 0; i < Math.ceil((11.2 + step / 2) / step); i++) z.push(-5.6 + i * step);
  const raw = z.map(v => Math.exp(-v * v / 2)), sum = raw.reduce((a, b) => a + b, 0), w = raw.map(v => v / sum);
  const each = nodesFor(part.map(o => o.dof));
  part.forEach((o, i) => { o.set(chance(o, z, w, each[i])); });
}

// rows of cells {y, n, sd, dof}, null where there is none; p values in rows alike
export function bestP(rows) {
  const width = Math.max(...rows.map(o => o.length)), todo = [];
  const all = rows.map(row => row.map(o => o && {...o, se: o.sd / Math.sqrt(o.n)}));
  const p = all.map(row => row.map(o => o ? 1 : null));
  all.forEach((row, r) => row.forEach((cell, i) => {
    const {first, lead} = largestLead(row, i);
    if (!cell || !Number.isFinite(lead) || !Number.isFinite(cell.se)) return;
    const dof = Math.min(cell.dof, row[first].dof), there = row.filter(Boolean).length - 1;
    p[r][i] = Math.min(1, there * tAbove(lead, dof));
    const rivals = row.filter((o, j) => o && j !== i).map(o => o.se);
    if (p[r][i] > 1e-4) todo.push({own: cell.se, rivals, lead, dof, set: v => { p[r][i] = v; }});
  }));
  if (todo.length) inParts(todo, width).forEach(chances);
  return p;
}

// the chance that k equal cells lie further apart than q, in their standard error
export function rangeAbove(q, k, dof) {
  const z = evenly(-8, 8, 321), h = 16 / 320, {s, w} = dof === Infinity ? {s: [1], w: [1]} : sdNodes(dof, 100);
  const below = z.map(normal), density = z.map(v => k * h * Math.exp(-v * v / 2) / Math.sqrt(2 * Math.PI));
  const within = r => z.reduce((sum, v, i) => sum + (below[i] - normal(v - r)) ** (k - 1) * density[i], 0);
  return 1 - s.reduce((sum, v, i) => sum + w[i] * within(q * v), 0);
}
