// Which columns are settings, so that no table averages over one: Python's `settings_of` and `comparable`, with its lists of words.
import {grouped, least, most} from "./lists.mjs";
import {knownMetric, plainKey} from "./names.mjs";
import {asking, options} from "./refusal.mjs";
import {pyG, pyStr} from "./python.mjs";

const distinct = values => new Set(values).size;

const parted = (values, by) => [...grouped(values, (_, i) => by[i]).values()];

function isLabel(key, name, r) {
  const words = key.split("_"), last = words.at(-1);
  if (name.startsWith("_") || r.labels.includes(key) || r.label_ends.includes(key) && key.length > 3) return true;
  if (words.some(o => r.no_label.includes(o)) && !["seconds", "s", "id", "memory"].includes(last)) return false;
  return r.label_starts.includes(words[0]) || words.length > 1 && r.label_ends.includes(last);
}

function isResult(key, name, r, rules) {
  const words = key.split("_");
  if (r.reached.includes(key) || knownMetric(name, rules) || r.measures.includes(words.at(-1)) || words.slice(-2).join() === "grad,norm") return true;
  if (["best", "final", "last"].includes(words[0])) return true;
  const ofLr = words.includes("lr") || words.includes("learning") && words.includes("rate");
  return ofLr && words.every(o => r.of_lr.includes(o));
}

// whether numbers only go up or only down with another column, and are the same wherever that is
function follows(values, by, model) {
  if (values.some((v, i) => v === null || by[i] === null)) return false;
  const keys = values.map((_, i) => `${model[i]}|${by[i]}`), each = parted(values, keys);
  if (each.length === values.length || each.some(o => distinct(o) > 1)) return false;
  const steps = [...new Set(model)].flatMap(m => {
    const mine = values.map((v, i) => [by[i], v, model[i]]).filter(o => o[2] === m).sort((a, b) => a[0] - b[0]);
    const firsts = mine.filter((o, i) => !i || mine[i - 1][0] !== o[0]).map(o => o[1]);
    return firsts.slice(1).map((v, i) => v - firsts[i]);
  });
  return steps.length > 0 && (steps.every(v => v >= 0) || steps.every(v => v <= 0));
}

function describesModel(values, model) {
  const each = parted(values, model);
  return each.length > 1 && each.every(o => distinct(o) === 1) && values.length > each.length;
}

function isOwnText(values) {
  const told = values.filter(v => v !== null).map(String), mean = test => told.reduce((n, o) => n + test(o), 0) / told.length;
  if (mean(o => o.length) > 40) return true;
  return distinct(told) === told.length && told.length > 3 && (mean(o => Number(/[\d/:. -]/.test(o))) > .5 || told.length > 12);
}

const isRound = values => [...new Set(values.filter(v => v !== null))].slice(0, 200).every(v => Number(v.toExponential(1)) === v);

function isMeasured(values, lr) {
  const there = values.filter(v => v !== null), many = distinct(there), n = there.length;
  if (many === n && n > 2 && there.every(Number.isInteger) && most(there) - least(there) === n - 1) return true;
  return many > n / 2 && !(distinct(lr) > lr.length / 2) && !isRound(values);
}

// whether a column is called what a batch size may determine: a count of updates, or another batch size
function mayFollowBs(key, r, rules) {
  const words = key.split("_");
  return rules.accumulation.includes(key) || r.counts.includes(words.at(-1)) || words.some(o => ["bs", "batch", "batchsize"].includes(o));
}

function isSetting(column, df, rules) {
  const {name, kind, values} = column, r = rules.settings, key = plainKey(name, rules), words = key.split("_");
  if (rules.config.includes(name)) return true;
  const number = v => v === null || Number.isNaN(Number(v)) ? null : Number(v);
  if (mayFollowBs(key, r, rules) && follows(values.map(number), df.bs, df.model)) return false;
  if (new RegExp(rules.parameter, "i").test(name)) return true;
  if (isLabel(key, name, r)) return false;
  const named = r.names.includes(key) || r.name_ends.includes(words.at(-1));
  if (kind !== "number") {
    if (kind === "bool" && words.some(o => r.states.includes(o))) return false;
    return named || !(isOwnText(values) || describesModel(values, df.model));
  }
  const same = by => values.every((v, i) => v === by[i]);
  if (isResult(key, name, r, rules) || same(df.bs) || same(df.lr)) return false;
  if (named && !mayFollowBs(key, r, rules)) return true;
  if (follows(values, df.bs, df.model) || follows(values, df.lr, df.model)) return false;
  return named || !(describesModel(values, df.model) || isMeasured(values, df.lr));
}

// the columns that say how long a run is, where they follow the batch size so that all runs make as many updates
function atEqualUpdates(df, columns) {
  const of = name => columns.find(o => o.name === name)?.values, steps = of("steps");
  const length = ["epochs", "x.tokens"].filter(c => of(c) && distinct(of(c)) > 1);
  if (!steps || !length.length) return [];
  const ended = [...steps.keys()].filter(i => !df.status || df.status[i] === "ok");
  const known = ended.every(i => steps[i] !== null), everywhere = distinct(ended.map(i => df.bs[i])) === distinct(df.bs);
  const same = known && everywhere && distinct(ended.map(i => steps[i])) === 1;
  return same && length.every(c => parted(of(c), df.bs).every(o => distinct(o) === 1)) ? length : [];
}

// the columns beside model, bs, lr and seed that hold settings which vary between the runs; df has `model`, `bs`, `lr` as arrays
export function settingsOf(df, columns, metric, rules) {
  const r = rules.settings, ours = r.ours.every(o => columns.some(c => c.name === o));
  const aside = [...r.keys, metric, ...atEqualUpdates(df, columns)];
  const some = columns.filter(o => !aside.includes(o.name) && (rules.config.includes(o.name) || !ours));
  return some.filter(o => distinct(o.values) > 1 && isSetting(o, df, rules));
}

// refuse runs that differ in anything but model, bs, lr and seed
export function comparable(df, columns, metric, rules, file) {
  const found = settingsOf(df, columns, metric, rules), order = rules.config.filter(o => !["model", "bs", "lr", "seed"].includes(o));
  const sorted = [...order.map(k => found.find(o => o.name === k)).filter(Boolean), ...found.filter(o => !rules.config.includes(o.name))];
  const text = (o, i) => o.values[i] === null ? "missing" : o.kind === "number" && !o.whole ? pyG(o.values[i]) : pyStr(o, i);
  const told = o => [...new Set(o.values.map((_, i) => text(o, i)))].sort((a, b) => (a === "missing") - (b === "missing"));
  const mixed = sorted.map(o => [o.name, told(o)]).filter(([, v]) => v.length > 1);
  if (!mixed.length) return;
  const values = v => v.length < 9 ? v.join(", ") : `${v.length} values, such as ${v.slice(0, 3).join(", ")}`;
  const where = Object.fromEntries(mixed.map(([k, v]) => [k, v[0]]));
  throw asking(file, `these runs cannot share a table: they differ in ${mixed.map(([k, v]) => `${k} (${values(v)})`).join("; ")}. Only model, bs, lr and seed may differ: select the runs of one, such as `,
    {where}, `; by_setting, as bslr report, gives those of each; a column that is no setting is left aside by ${options({columns: {[mixed[0][0]]: null}})}`);
}
