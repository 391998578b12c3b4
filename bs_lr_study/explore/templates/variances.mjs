// How far a run of each cell moves: what it shows itself, moderated by what all cells show. `cell_sds` of Python, as small as it gets.
import {digamma, fAbove, tetragamma, trigamma} from "./special.mjs";

export const sum = values => values.reduce((a, b) => a + b, 0);
const mean = values => sum(values) / values.length;

function trigammaInverse(y) {
  let x = .5 + 1 / y;
  for (let i = 0; i < 30; i++) {
    const t = trigamma(x);
    x += t * (1 - t / y) / tetragamma(x);
  }
  return x;
}

function quantile(sorted, share) {
  const at = share * (sorted.length - 1), low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

// where the curve may bend: none for a few cells, a straight line for more, up to four
function knotsOf(x) {
  const n = 1 + (x.length >= 6) + (x.length >= 12) + (x.length >= 30), order = [...x].sort((a, b) => a - b);
  return n > 1 ? [...new Set(Array.from({length: n}, (_, i) => quantile(order, i / (n - 1))))] : [0];
}

// a natural cubic spline's values at x: a constant, a line, and what bends between knots
function spline(x, knots) {
  if (knots.length === 1) return [1];
  const first = knots[0], last = knots.at(-1);
  const cube = k => (Math.max(x - k, 0) ** 3 - Math.max(x - last, 0) ** 3) / (last - k) / (last - first) ** 2;
  return [1, x, ...knots.slice(0, -2).map(k => cube(k) - cube(knots.at(-2)))];
}

// weighted least squares by orthogonal columns: coefficients, and each row's leverage
function regress(X, z, w) {
  const n = X[0].length, q = [], r = Array.from({length: n}, () => Array(n).fill(0)), roots = w.map(Math.sqrt);
  for (let j = 0; j < n; j++) {
    let column = X.map((row, i) => roots[i] * row[j]);
    for (let again = 0; again < 2; again++) {
      for (let k = 0; k < j; k++) {
        const share = sum(q[k].map((v, i) => v * column[i]));
        r[k][j] += share;
        column = column.map((v, i) => v - share * q[k][i]);
      }
    }
    r[j][j] = Math.sqrt(sum(column.map(v => v * v)));
    q.push(column.map(v => v / r[j][j]));
  }
  const coef = q.map(column => sum(column.map((v, i) => v * roots[i] * z[i])));
  for (let j = n - 1; j >= 0; j--) coef[j] = (coef[j] - sum(coef.slice(j + 1).map((v, k) => r[j][j + 1 + k] * v))) / r[j][j];
  return {coef, leverage: X.map((_, i) => sum(q.map(column => column[i] ** 2)))};
}

const fitted = (row, coef) => sum(row.map((v, j) => v * coef[j]));

// the curve through log variances, and the variance of cells about it beyond that of sampling
function beyondSampling(X, z, sampling) {
  let beyond = 0, coef;
  for (let i = 0; i < 3; i++) { // the weights follow from what is sought
    const w = sampling.map(v => 1 / (v + beyond)), found = regress(X, z, w);
    coef = found.coef;
    const free = w.map((v, k) => v * (1 - found.leverage[k]));
    beyond = Math.max(0, sum(w.map((v, k) => v * (z[k] - fitted(X[k], coef)) ** 2)) - sum(free.map((v, k) => v * sampling[k]))) / sum(free);
  }
  return {coef, beyond};
}

// what the variances of cells have in common; cells are {even, var, dof}
export function fitPrior(cells) {
  const own = cells.filter(o => o.dof > 0), most = sum(own.map(o => o.dof)), pooled = sum(own.map(o => o.dof * o.var)) / most;
  const some = own.filter(o => o.var > 1e-8 * pooled);
  if (some.length < 3) return {dof: Infinity, most, knots: [0], coef: [Math.log(Math.max(pooled, 1e-300))]};
  const knots = knotsOf(some.map(o => o.even)), half = some.map(o => o.dof / 2);
  const logs = some.map((o, i) => Math.log(o.var) - digamma(half[i]) + Math.log(half[i]));
  const {coef, beyond} = beyondSampling(some.map(o => spline(o.even, knots)), logs, half.map(trigamma));
  if (!beyond) return {dof: Infinity, most, knots, coef: knots.length > 1 ? coef : [Math.log(pooled)]};
  const dof = 2 * trigammaInverse(beyond);
  coef[0] += digamma(dof / 2) - Math.log(dof / 2);
  return {dof, most, knots, coef};
}

function expected(prior, x) {
  const at = prior.knots.length > 1 ? Math.min(Math.max(x, prior.knots[0]), prior.knots.at(-1)) : x;
  return Math.exp(fitted(spline(at, prior.knots), prior.coef));
}

// variance and degrees of freedom of a cell, moderated
function moderated(cell, prior) {
  const v = expected(prior, cell.even);
  if (prior.dof === Infinity) return {var: v, dof: prior.most};
  const own = cell.dof > 0 ? cell.var : 0, both = (prior.dof * v + cell.dof * own) / (prior.dof + cell.dof);
  // of two runs a cell that scatters more is taken at its word
  return {var: cell.dof <= 1 ? Math.max(both, own) : both, dof: Math.min(prior.dof + cell.dof, prior.most)};
}

// values of runs by cell and seed, if each cell has each seed once
function bySeed(cells) {
  const seeds = [...new Set(cells.flatMap(o => o.runs.map(r => r.seed)))].sort((a, b) => a - b);
  if (cells.length < 3 || seeds.length < 2 || seeds.includes(undefined)) return null;
  if (cells.some(o => o.runs.length !== seeds.length || new Set(o.runs.map(r => r.seed)).size !== seeds.length)) return null;
  return cells.map(o => [...o.runs].sort((a, b) => a.seed - b.seed).map(r => r.value));
}

// what seeds do to all cells together, and the chance of that if they do nothing
function seedEffects(wide, variances) {
  const centred = (row, middle) => row.map(v => v - middle);
  const dev = wide.map(row => centred(row, mean(row))), cells = wide.length, seeds = wide[0].length;
  const w = variances.map(v => 1 / v), all = sum(w);
  const effects = dev[0].map((_, j) => sum(dev.map((row, i) => w[i] * row[j])) / all);
  const explained = all * sum(effects.map(v => v * v)) / (seeds - 1);
  const left = sum(dev.map((row, i) => w[i] * sum(row.map((v, j) => (v - effects[j]) ** 2)))) / ((cells - 1) * (seeds - 1));
  return {effects, p: fAbove(explained / left, seeds - 1, (cells - 1) * (seeds - 1))};
}

// a cell's variance with the seeds' effects taken out
function withoutEffects(cells, wide, effects) {
  const kept = (cells.length - 1) / cells.length; // the effects were found on these runs
  return cells.map((o, i) => {
    const left = wide[i].map((v, j) => v - effects[j]), middle = mean(left);
    return {...o, var: sum(left.map(v => (v - middle) ** 2)) / (left.length - 1) / kept, dof: (left.length - 1) * kept};
  });
}

// variances of a model's cells; `everywhere` is the prior of all models, for one that has no cell of two runs
function ofModel(cells, everywhere) {
  const prior = cells.some(o => o.dof > 0) ? fitPrior(cells) : everywhere, found = cells.map(o => moderated(o, prior));
  const wide = bySeed(cells);
  if (!wide) return {found, seeds: false};
  const {effects, p} = seedEffects(wide, found.map(o => o.var));
  if (!(p < .01)) return {found, seeds: false};
  const bare = withoutEffects(cells, wide, effects), again = fitPrior(bare);
  return {found: bare.map(o => moderated(o, again)), seeds: true};
}

// give each cell of each model, {mean, even, n, runs: [{value, seed}]}, its `sd` and `dof`; true if seeds were taken out anywhere
export function moderate(models) {
  for (const o of models.flat()) {
    o.dof = o.n - 1;
    o.var = o.n > 1 ? sum(o.runs.map(r => (r.value - o.mean) ** 2)) / o.dof : NaN;
  }
  // means on the scale of the runs of all models, where that of a model's own is meant for it alone
  const everywhere = fitPrior(models.flat().map(o => ({...o, even: o.evenAll})));
  let seeds = false;
  for (const cells of models) {
    const one = ofModel(cells, everywhere);
    seeds ||= one.seeds;
    cells.forEach((o, i) => { o.sd = Math.sqrt(one.found[i].var); o.dof = one.found[i].dof; });
  }
  return seeds;
}
