// Runs as a study, of the same form as those that Python embeds: cells, the error of a run, the chance of each cell to be the best.
import {grouped, least, most} from "./lists.mjs";
import {moderate, sum} from "./variances.mjs";
import {bestP, rangeAbove} from "./sets.mjs";

const UNFINISHED = ["pruned", "stopped", "running"];
const MANY = 300; // cells, beyond which Python takes margins of pairs, too

const wentWell = (run, name) => run[name] !== undefined && (run.status ?? "ok") === "ok";

// one row for the runs of the same learning rate and batch size
function cellOf(runs, metric) {
  const good = runs.filter(o => wentWell(o, metric.name)), values = good.map(o => o[metric.name]), n = values.length;
  const mean = n ? sum(values) / n : null, count = of => runs.filter(o => of(o.status)).length;
  const diverged = count(s => s === "diverged"), unfinished = count(s => UNFINISHED.includes(s));
  const failed = runs.filter(o => !wentWell(o, metric.name) && o.status !== undefined && o.status !== "diverged" && !UNFINISHED.includes(o.status)).length;
  const std = n > 1 ? Math.sqrt(sum(values.map(v => (v - mean) ** 2)) / (n - 1)) : null;
  const best = n ? (metric.lower ? least : most)(values) : null;
  const own = good.map(o => ({value: o[metric.name], seed: o.seed}));
  return {lr: runs[0].lr, bs: runs[0].bs, mean, std, sd: null, dof: null, p: null, p_row: null,
    n, runs: runs.length, diverged, unfinished, failed, best, own};
}

export function cellsOf(runs, metric) {
  const cells = [...grouped(runs, o => `${o.lr}|${o.bs}`).values()].map(o => cellOf(o, metric));
  return cells.sort((a, b) => a.lr - b.lr || a.bs - b.bs);
}

// means on the scale on which noise is even, or as they are where that has none for them
function even(metric, values) {
  if (metric.unit === "log") return values.every(v => v > 0) ? values.map(Math.log) : values;
  if (!metric.points) return values;
  const p = values.map(v => Math.min(Math.max(v * metric.factor / 100, 1e-4), 1 - 1e-4));
  return p.map(v => Math.log(v) - Math.log1p(-v));
}

// the error of chance on the validation images, if their number is known and it is more than the `usual` one
function byChance(runs, metric, usual) {
  const both = runs.filter(o => o.n_valid !== undefined && o[metric.name] !== undefined), whole = 100 / metric.factor;
  if (!both.length) return null;
  const sd = whole * Math.sqrt(sum(both.map(o => o[metric.name] / whole * (1 - o[metric.name] / whole) / o.n_valid)) / both.length);
  const one = `a${"aeiouAEIOU".includes(metric.label[0]) ? "n" : ""} ${metric.label}`;
  const how = `assumed: so much does chance move ${one} on ${least(runs.map(o => o.n_valid ?? Infinity))} validation images`;
  return sd > usual ? {sd, how, known: true, at: () => [sd, Infinity]} : null;
}

// what `run_error` assumes where runs show no error: the published one, near the values at which it was measured, or that of chance
function assumed(runs, metric, lent) {
  const unknown = {sd: null, how: "unknown: no two runs of a cell differ", known: false};
  if (!metric.counted) return unknown;
  const whole = 100 / metric.factor, sd = whole * lent.sd, far = whole * lent.far;
  const [lo, hi] = [lent.lo, lent.hi].map(v => whole * (metric.lower ? 1 - v : v)).sort((a, b) => a - b);
  const values = runs.map(o => o[metric.name]).filter(v => v !== undefined), best = (metric.lower ? least : most)(values);
  const chance = byChance(runs, metric, sd);
  if (chance) return chance;
  if (best < lo - far || best > hi + far || !values.length) return unknown;
  const times = y => Math.min(Math.max(1, Math.max(lo - y, y - hi) / far), lent.most);
  return {sd, how: lent.how, known: true, at: y => [sd * times(y), lent.dof]};
}

function withErrors(models, runs, metric, constants) {
  const ran = models.map(o => o.cells.filter(c => c.n > 0)), all = ran.flat();
  const several = all.filter(o => o.n > 1), squares = sum(several.map(o => (o.n - 1) * o.std ** 2)), dof = sum(several.map(o => o.n - 1));
  const size = Math.max(0, most(runs.map(o => Math.abs(o[metric.name] ?? 0))));
  if (!dof || Math.sqrt(squares / dof) <= 1e-6 * size) {
    const err = assumed(runs, metric, constants);
    if (err.known) for (const o of all) [o.sd, o.dof] = err.at(o.mean);
    return err;
  }
  const whole = even(metric, all.map(o => o.mean));
  all.forEach((o, i) => { o.evenAll = whole[i]; });
  const inside = ran.map(cells => {
    const own = even(metric, cells.map(o => o.mean));
    return cells.map((o, i) => ({mean: o.mean, even: own[i], evenAll: o.evenAll, n: o.n, runs: o.own}));
  });
  const seeds = moderate(inside.filter(o => o.length));
  ran.forEach((cells, k) => cells.forEach((o, i) => { [o.sd, o.dof] = [inside[k][i].sd, inside[k][i].dof]; }));
  const n = sum(several.map(o => o.n)), repeated = `${several.length} cell${several.length === 1 ? "" : "s"}`;
  const how = `${n} runs of ${repeated}, each cell by its own runs and by what all show${seeds ? ", seeds taken out" : ""}`;
  return {sd: Math.sqrt(squares / dof), how, known: true};
}

// p values of all cells of a model, and of those of each learning rate
function withChances(cells, metric) {
  const sign = metric.lower ? -1 : 1, ran = cells.filter(o => o.n > 0), as = o => ({y: sign * o.mean, n: o.n, sd: o.sd, dof: o.dof});
  if (!ran.length || ran[0].sd === null) return;
  if (ran.length <= MANY) bestP([ran.map(as)])[0].forEach((p, i) => { ran[i].p = p; });
  else pairs(ran, sign);
  const bss = [...new Set(ran.map(o => o.bs))].sort((a, b) => a - b), rows = [...grouped(ran, o => o.lr).values()];
  const wide = rows.map(row => bss.map(bs => row.find(o => o.bs === bs) ?? null));
  bestP(wide.map(row => row.map(o => o && as(o)))).forEach((row, r) => row.forEach((p, i) => { if (wide[r][i]) wide[r][i].p_row = p; }));
}

function pairs(ran, sign) {
  const best = ran.reduce((a, b) => sign * (b.mean - a.mean) > 0 ? b : a), v = o => o.sd ** 2 / o.n, known = new Map();
  for (const o of ran) {
    const dof = Math.max(Math.floor(10 * Math.min(best.dof, o.dof)) / 10, .5), q = sign * (best.mean - o.mean) / Math.sqrt((v(best) + v(o)) / 2);
    const key = `${q}|${dof}`;
    if (!known.has(key)) known.set(key, rangeAbove(q, ran.length, dof));
    o.p = known.get(key);
  }
}

// the tables of one metric
export function tablesOf(runs, metric, constants) {
  const models = [...grouped(runs, o => o.model)].map(([model, mine]) => ({model, cells: cellsOf(mine, metric)}));
  const err = withErrors(models, runs, metric, constants);
  for (const o of models) withChances(o.cells, metric);
  for (const cell of models.flatMap(o => o.cells)) {
    delete cell.own;
    delete cell.evenAll;
  }
  return {metric, how: err.how, sd: err.sd, known: err.known, models};
}

export const makeStudy = (name, runs, metrics, constants) => (
  {name, searched: false, metrics: metrics.map(o => tablesOf(runs, o, constants)), runs});
