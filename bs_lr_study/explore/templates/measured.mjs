// Which column is the metric, and whether it is in per cent: Python's `readers.measured`, in its words.
import {least, most} from "./lists.mjs";
import {knownMetric, plainKey} from "./names.mjs";
import {plainValues, sameValues, asNumbers, filled, listed} from "./fields.mjs";
import {pyG, pyStr} from "./python.mjs";
import {Refusal, asking, options} from "./refusal.mjs";

const ORDER = ["validation", "", "test"];
const isMeasure = o => filled(o) && o.kind !== "bool" && (plainValues(o).kind === "number" || signed(o) !== null);

// `82.0 %` as 82.0, if all values of a column are written so; else null
function signed(column) {
  if (column.kind === "number" || !filled(column)) return null;
  const bare = column.values.map(v => v === null ? null : String(v).trim().endsWith("%") ? String(v).trim().slice(0, -1) : "none");
  const values = asNumbers({values: bare});
  return values.every(v => Math.abs(v) !== Infinity) ? {...column, kind: "number", whole: false, values: values.map(v => Number.isNaN(v) ? null : v)} : null;
}

// the columns that name a metric and hold numbers, those of validation data first
export function candidates(columns, rules) {
  const found = columns.map(o => [o, knownMetric(o.name, rules)]).filter(([o, m]) => m && m.part !== "training" && isMeasure(o)).map(([, m]) => m);
  return found.map((m, i) => [m, i]).sort(([a, i], [b, j]) => ORDER.indexOf(a.part) - ORDER.indexOf(b.part) || i - j).map(([m]) => m);
}

const OF_BS = /^(bs|batch|batch_size)?[ =_-]*[0-9]+$/i, OBJECTIVE = /^(value|values_.*|objective|target)$/; // as Optuna and others call it

function noMetric(columns, file, rules) {
  const known = Object.values(rules.fields).flat(), part = o => knownMetric(o.name, rules)?.part;
  const all = columns.filter(o => isMeasure(o) && !known.includes(plainKey(o.name, rules))), training = all.filter(o => part(o) === "training").map(o => o.name);
  const rest = all.map(o => o.name).filter(o => !training.includes(o)), why = training.length ? ` (${listed(training)} is of the training data)` : "";
  const there = `there ${columns.length ? "are" : "is"} ${listed(columns.map(o => o.name)) || "none"}`;
  if (rest.length > 1 && rest.every(o => OF_BS.test(o))) {
    return new Refusal(`${file} seems to be a crosstab, whose columns are batch sizes, but a table needs a row per run: make it one, ` +
      `such as df.melt('lr', var_name='bs', value_name='val_loss'); ${there}`);
  }
  const value = rest.find(o => OBJECTIVE.test(o)), said = how => options({metric: value, lower: how});
  if (value) {
    return asking(file, `${file}: ${value} is what a study was after, but the table does not say whether less of it is better: say `,
      {metric: value, lower: true}, `, or ${said(false)}; if it is an accuracy, ${options({columns: {acc: value}})}; ${there}`);
  }
  return asking(file, `${file}: no column names a metric that is known here, such as accuracy, val_loss or f1${why}: say which holds it, and whether less of it is better, such as `,
    {metric: rest[0] ?? "COLUMN", lower: true}, `; ${there}`);
}

// the names of the columns that are the metric where nobody says which
function usual(columns, file, rules) {
  const hits = columns.filter(o => rules.accuracies.includes(plainKey(o.name, rules)));
  if (hits.length) return (hits.some(filled) ? hits.filter(filled) : hits.slice(0, 1)).map(o => o.name);
  const found = candidates(columns, rules);
  let first = found.filter(o => o.bare === "accuracy");
  first = first.length ? first.filter(o => o.part === first[0].part) : found;
  if (!first.length) throw noMetric(columns, file, rules);
  const names = first.map(o => o.name), parts = [...new Set(first.map(o => o.part))].sort().join();
  if (names.length > 1 && new Set(first.map(o => o.bare)).size === 1 && parts === ",validation") return names;
  if (names.length > 1) {
    throw asking(file, `${names.length} columns could be the metric: ${listed(names)}; say which it is: `, {metric: names[0]}, "", {choices: names});
  }
  return names;
}

function oneOf(columns, names, file, rules) {
  const [head, ...rest] = names.map(k => columns.find(o => o.name === k));
  let one = plainValues(head);
  for (const column of rest) {
    const bad = sameValues(one, plainValues(column)).indexOf(false);
    if (bad >= 0) {
      const best = names.find(o => (knownMetric(o, rules) ?? {part: ""}).part === "validation") ?? names[0];
      throw asking(file, `${names.join(" and ")} could each be the metric, but they differ: ${pyStr(one, bad)} and ${pyStr(column, bad)} in row ${bad}; say which it is: `,
        {metric: best}, "", {choices: names});
    }
    one = {...one, values: one.values.map((v, i) => v ?? column.values[i])};
  }
  return {...one, name: head.name};
}

// the column of the metric, and what is known of it
export function findMetric(columns, asked, file, rules) {
  const one = oneOf(columns, asked ? [asked] : usual(columns, file, rules), file, rules), perCent = signed(one), y = perCent ?? one;
  const known = knownMetric(y.name, rules) ?? {...knownMetric("acc", rules), name: y.name}, m = perCent ? {...known, unit: "per cent"} : known;
  const isAcc = m.bare === "accuracy" && (y.name === "acc" || !columns.some(o => o.name === "acc"));
  return {y, metric: {...m, name: isAcc ? "acc" : y.name, part: isAcc && m.part === "validation" ? "" : m.part}};
}

// values as shares, if they are per cent; what was guessed is said aloud
export function inShares(y, metric, runs, warnings, file) {
  const values = asNumbers(y), known = values.filter(Number.isFinite), high = most(known), low = least(known);
  const shares = () => ({...y, whole: false, values: values.map((v, i) => Number.isFinite(v) ? Number((v / 100).toFixed(12)) : y.values[i])});
  if (!["share", "per cent"].includes(metric.unit)) return {y, metric};
  if (metric.unit === "per cent") return {y: shares(), metric: {...metric, unit: "share"}};
  if (!(high > 1) || high > 100 || low < 0) return {y, metric};
  if (high < 2 || known.some(v => v > 0 && v <= 1)) throw inDoubt(metric, values, runs, file);
  warnings.push(`${metric.name} was read as per cent, since it runs from ${pyG(low)} to ${pyG(high)}: if it is not, say --unit plain`);
  return {y: shares(), metric};
}

function inDoubt(metric, values, runs, file) {
  const place = (keep, better) => values.reduce((at, v, i) => keep(v) && (at < 0 || better(v, values[at])) ? i : at, -1);
  const high = place(Number.isFinite, (a, b) => a > b), low = place(v => Number.isFinite(v) && v > 0, (a, b) => a < b);
  const also = values[low] <= 1 ? `, and ${low} (${pyStr(runs, low)}): ${pyG(values[low])}` : "";
  return asking(file, `row ${high} (${pyStr(runs, high)}): ${metric.name} is ${pyG(values[high])}${also}, but must be a share in 0…1, or per cent in all rows; if all of it is per cent, say `,
    {unit: "per cent"});
}

// the metrics to choose from: the one that is asked for, then what else the columns name
export function otherMetrics(columns, first, rules) {
  const found = columns.filter(o => o.kind === "number" && filled(o) && o.name !== first).map(o => [o, knownMetric(o.name, rules)]);
  return found.filter(([, m]) => m && m.part !== "training").map(([o, m]) => fitting(m, o.values.filter(v => v !== null)));
}

// a metric without a logarithm where its values do not allow one, and in per cent where they are no shares
export function fitting(m, values) {
  if (m.unit === "log" && !values.every(v => v > 0)) return {...m, unit: "plain"};
  return m.unit === "share" && values.some(v => v > 1) ? {...m, unit: "per cent"} : m;
}
