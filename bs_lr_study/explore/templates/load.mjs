// A dropped file as runs that every table may trust, by the rules of `load_runs`, or a refusal in its words.
import {readCsv} from "./csv.mjs";
import {Fields, asNumbers, plainValues} from "./fields.mjs";
import {grouped, most} from "./lists.mjs";
import {findMetric, fitting, inShares, otherMetrics} from "./measured.mjs";
import {comparable} from "./settings.mjs";
import {described, plainKey} from "./names.mjs";
import {pyG, pyRepr, pyStr, pyText} from "./python.mjs";
import {Refusal, handOff} from "./refusal.mjs";

const RUN = /^([^-\s]+)-(\S+)-bs-([0-9]+)-lr-([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)(?:-seed-([0-9]+))?$/;

// tables that a tool made have readers of their own
function refuseTools(names, file) {
  const has = (...all) => all.every(o => names.includes(o)), own = "Name State Notes User Tags Created Runtime Sweep Group ID Updated Hostname Description Commit".split(" ");
  if (has("Name") && names.filter(o => own.includes(o)).length > 1 && !(has("run", "acc") && !has("State"))) throw handOff(file, "the exports of W&B");
  if (has("summary", "config", "name")) throw handOff(file, "the exports of W&B");
  if (has("number", "state") && names.some(o => o.startsWith("params_"))) throw handOff(file, "the tables of Optuna");
}

// what the names of this project's runs say, as columns
function fromNames(runs, columns, file) {
  const found = runs.values.map(o => RUN.exec(String(o)));
  if (found.every(o => o === null)) {
    if (runs.values.some(o => String(o).includes("-lr-"))) throw handOff(file, "names of runs that say more than data, model, bs, lr and seed");
    return [];
  }
  if (found.includes(null)) throw handOff(file, "names of runs that say more than data, model, bs, lr and seed");
  const make = (name, k, number) => ({name, kind: number ? "number" : "text", whole: name !== "lr", values: found.map(o => o[k] === undefined ? null : number ? Number(o[k]) : o[k])});
  const said = [make("data", 1, false), make("model", 2, false), make("bs", 3, true), make("lr", 4, true), make("seed", 5, true)];
  return said.filter(o => o.values.some(v => v !== null) && !(o.name === "data" && new Set(o.values).size === 1) && !columns.some(c => c.name === o.name));
}

// how runs ended, in our words; a word of nobody's is refused, unless none is known, which then says something else
function statusOf(fields, runs, y, rules) {
  const column = fields.find("status");
  if (!column) return null;
  const word = v => rules.states[String(v).trim().split(".").at(-1).replace(/([a-z])([A-Z])/g, "$1_$2").toLowerCase().replace(/[^a-z]+/g, "_").replace(/^_+|_+$/g, "")];
  const told = [...new Set(column.values.filter(v => v !== null))], known = v => typeof v === "string" && word(v) !== undefined;
  if (!told.some(known)) return null;
  const odd = told.find(v => word(v) === undefined), i = column.values.indexOf(odd);
  if (odd !== undefined) {
    throw new Refusal(`row ${i} (${pyStr(runs, i)}): status is ${pyRepr(column, i)}, but must be one of ${rules.statuses.join(", ")}, ` +
      "or a word of a tool for one of them, such as finished, COMPLETE, PRUNED or crashed");
  }
  if (told.every(v => word(v) === v)) return column.values;
  const numbers = asNumbers(y);
  return column.values.map((v, i) => v === null || word(v) === "ok" && v !== "ok" && Number.isNaN(numbers[i]) ? null : word(v));
}

const INFINITE = ["inf", "+inf", "-inf", "infinity", "-infinity"];
const isInfinite = v => typeof v === "number" ? Math.abs(v) === Infinity : typeof v === "string" && INFINITE.includes(v.trim().toLowerCase());

// an infinite loss is of a run that diverged; of runs that did not go well no value counts
function ended(y, metric, status) {
  let values = y.values, how = status;
  if (!["share", "per cent"].includes(metric.unit) && values.some(isInfinite)) {
    how = values.map((v, i) => isInfinite(v) && !["failed", "oom"].includes(status?.[i]) ? "diverged" : status ? status[i] : "ok");
    values = values.map(v => isInfinite(v) ? null : v);
  }
  if (how) values = values.map((v, i) => how[i] !== null && how[i] !== "ok" && Number.isFinite(asNumbers({values: [v]})[0]) ? null : v);
  return {y: {...y, values, whole: y.whole && values === y.values}, status: how};
}

// the first row that breaks a rule, in Python's order of rules
function check(table, metric, bsUnit, statuses) {
  const num = name => asNumbers(table[name]), whole = least => v => v >= least && Number.isInteger(v) && v <= 2 ** 53;
  const above0 = [v => v > 0 && v < Infinity, "a number above 0, with a point"], blank = ", with a point, or blank if the run did not go well";
  const most = {share: 1, "per cent": 100}[metric.unit], status = table.status?.values;
  const measure = most ? [v => v >= 0 && v <= most, `${most === 1 ? "a share" : "per cent"} in 0…${most}${blank}`] : [v => Math.abs(v) < Infinity, `a number${blank}`];
  const isName = [(v, o) => o !== null && String(o).trim() === String(o) && o !== "", "a name, without space at its ends"];
  const rules = {run: isName, [metric.name]: measure, model: isName, bs: bsUnit ? above0 : [whole(1), "a whole number from 1 up"], lr: above0,
    seed: [whole(0), "a whole number from 0 up"], epochs: above0, n_valid: [whole(1), "a whole number from 1 up"],
    status: [(v, o) => statuses.includes(o), `one of ${statuses.join(", ")}`]};
  const wrong = Object.entries(rules).filter(([c]) => table[c]).map(([c, [test, words]]) => {
    const lost = i => c === metric.name && status && status[i] === "ok";
    const good = num(c).map((v, i) => table[c].values[i] === null ? !["run", "model", "bs", "lr"].includes(c) && !lost(i) : test(v, table[c].values[i]));
    return {i: good.indexOf(false), c, words};
  }).filter(o => o.i >= 0);
  if (!wrong.length) return;
  const {i, c, words} = wrong.reduce((a, b) => b.i < a.i ? b : a), none = table[c].values[i] === null && ["run", "model"].includes(c);
  throw new Refusal(`row ${i} (${pyStr(table.run, i)}): ${c} is ${pyRepr(table[c], i)}, but must be ${none ? "given" : words}`);
}

// each run once; refused if copies disagree
function withoutCopies(table, metric, rules, named, warnings) {
  const cols = rules.config.filter(c => table[c]), told = (c, i) => table[c].values[i];
  const key = i => cols.reduce((text, c) => `${text}${told(c, i)}\u0001`, named ? "" : table.run.values[i]);
  const result = [metric.name, "status"].filter(c => table[c]), same = (i, j) => result.every(c => told(c, i) === told(c, j));
  const seen = new Map(), keep = [], again = [];
  for (let i = 0; i < table.run.values.length; i++) {
    const k = key(i), before = seen.get(k);
    if (!before) { seen.set(k, [i]); keep.push(i); continue; }
    again.push(i);
    if (!before.some(j => same(i, j))) throw clash(table, result, i, table.run.values.map((_, j) => j).filter(j => key(j) === k));
    before.push(i);
  }
  if (again.length) warnings.push(`dropped ${again.length} of ${table.run.values.length} rows: copies of other rows, such as ${pyStr(table.run, again[0])}`);
  return keep;
}

function clash(table, result, i, same) {
  const said = [...new Set(same.map(j => result.map(c => pyStr(c === "status" ? table[c] : {...table[c], whole: false}, j)).join(", ")))];
  return new Refusal(`row ${i}: ${pyStr(table.run, i)} is there twice, with ${result.join(" and ")} ${said.join("; ")}; keep one of them, or tell them apart in a column seed`);
}

// learning rates that agree within half a per cent count as one: of those that do, the one that is shortest to write
function joinClose(lrs, rules, warnings) {
  const count = new Map();
  for (const v of lrs) count.set(v, (count.get(v) ?? 0) + 1);
  const one = new Map(), values = [...count.keys()].sort((a, b) => a - b), off = [];
  for (let i = 0; i < values.length;) {
    const start = i;
    while (i < values.length && values[i] <= values[start] * (1 + rules.close)) i++;
    const group = values.slice(start, i), length = v => pyRepr({values: [v]}, 0).length;
    const best = [...group].sort((a, b) => length(a) - length(b) || count.get(b) - count.get(a))[0];
    for (const v of group) { one.set(v, best); if (Math.abs(v / best - 1) > 1e-6) off.push([v, best]); }
  }
  if (off.length) warnings.push(`learning rates that agree within half a per cent count as one: ${off.slice(0, 3).map(([a, b]) => `${pyG(a)} as ${pyG(b)}`).join(", ")}${off.length > 3 ? ` and ${off.length - 3} more` : ""}`);
  return lrs.map(v => one.get(v));
}

// rows that are epochs of runs, rather than runs
function refuseHistories(table, columns, metric, rules, file) {
  const keys = columns.filter(o => rules.progress.includes(plainKey(o.name, rules)) && new Set(o.values).size > 1);
  const runs = table.run.values, named = new Set(runs).size < runs.length;
  const by = named ? [table.run] : [...["model", "bs", "lr", "seed", "epochs"].map(c => table[c]).filter(Boolean), ...columns.filter(o => o.kind !== "number" && !["run", "message", "status", metric.name].includes(o.name))];
  for (const counter of keys) {
    const sizes = [...grouped(counter.values, (_, i) => JSON.stringify(by.map(o => o.values[i]))).values()];
    const copies = o => [...grouped(o, v => v).values()].map(same => same.length); // of runs that nothing tells apart each has every count
    const alike = o => named ? most(copies(o)) === 1 : new Set(copies(o)).size === 1;
    if (sizes.some(o => new Set(o).size > 1) && sizes.every(alike)) throw handOff(file, `rows that are epochs of runs (${counter.name} counts them)`);
  }
}

// rows without names that are the same run twice
function refuseRepeats(table, columns, metric, file) {
  if (!table.run.values.every(o => /^row \d+$/.test(String(o)))) return;
  const y = table[metric.name].values, others = [...Object.values(table).filter(o => o !== table.run), ...columns];
  const rows = [...grouped(y.map((_, i) => i), i => JSON.stringify(others.map(o => o.values[i]))).values()];
  if (!rows.some(o => o.length > 1 && y[o[0]] !== null)) return;
  const seeds = table.seed && table.seed.values.every(o => o !== null);
  if (seeds || new Set(rows.map(o => o.length)).size === 1) throw handOff(file, "rows that repeat another in every column");
}

// said aloud: runs of one batch size, all with a result, that were not of one length
function sayBudgets(table, columns, metric, rules, warnings) {
  if (["id", "schedule", "regime"].every(k => columns.some(o => o.name === k))) return;
  const bs = asNumbers(table.bs), there = i => table[metric.name].values[i] !== null && Number.isFinite(bs[i]);
  for (const column of columns.filter(o => [...rules.progress, "steps", "updates"].includes(plainKey(o.name, rules)))) {
    const made = asNumbers(column), ends = new Map();
    made.forEach((v, i) => {
      if (!there(i) || !Number.isFinite(v)) return;
      const [low, high] = ends.get(bs[i]) ?? [v, v];
      ends.set(bs[i], [Math.min(low, v), Math.max(high, v)]);
    });
    const far = [...ends].sort((a, b) => a[0] - b[0]).find(([, [low, high]]) => high > 1.1 * Math.max(low, 1));
    if (!far) continue;
    const [size, [low, high]] = far;
    warnings.push(`runs of batch size ${pyG(size)} are from ${pyG(low)} to ${pyG(high)} long by their column ${column.name}: if the short ones were stopped early, ` +
      `their results are not those of finished runs; leave them out with where, such as where={${pyText(column.name)}: '${pyG(high)}..'}`);
    return;
  }
}

// a random search has no crosstab until its learning rates are put into bins
function refuseSearch(runs, file) {
  const cells = [...new Map(runs.map(o => [`${o.model}|${o.bs}|${o.lr}`, o])).values()], count = (all, of) => new Set(all.map(of)).size;
  if (count(runs, o => o.lr) < 5 || count(cells, o => o.bs) < 2 || cells.length < 10) return;
  const at = new Map();
  for (const o of cells) { const k = `${o.model}|${o.lr}`; at.set(k, new Set([...(at.get(k) ?? []), o.bs])); }
  const shared = [...at.values()].filter(o => o.size > 1).length / at.size;
  const few = power => count(cells, o => Math.round(Math.log(o.lr / o.bs ** power) * 1e3)) <= Math.max(cells.length / 3, 3);
  if (shared <= .2 && !few(.5) && !few(1)) throw handOff(file, "random searches, whose learning rates need bins");
}

// bytes of a file as {runs, metrics, warnings}; `metric` is the column that was chosen, if several may be meant
export function loadRuns(bytes, file, rules, metric = null) {
  const warnings = [], suffix = /\.\w+$/.exec(file)?.[0].toLowerCase();
  if (suffix && ![".csv", ".tsv", ".txt"].includes(suffix)) throw handOff(file, `${suffix} files`);
  const columns = readCsv(bytes, file, rules, warnings);
  refuseTools(columns.map(o => o.name), file);
  if (!columns.length || !columns[0].values.length) throw new Refusal(`${file} holds no runs: expected a row per run`);
  const found = findMetric(columns, metric, file, rules), fields = new Fields(columns, file, rules, warnings), run = fields.runs();
  const extra = fromNames(run, columns, file), own = name => columns.find(o => o.name === name);
  const named = extra.length > 0 || ["model", "bs", "lr"].every(own) && run.values.every(o => RUN.test(String(o)));
  const table = {run};
  for (const c of rules.config) {
    const exact = !(c in rules.fields) || named && ["model", "bs", "lr"].includes(c);
    const column = exact ? own(c) && plainValues(own(c), c) : fields.find(c);
    const said = extra.find(o => o.name === c);
    if (column) table[c] = column;
    else if (said) table[c] = said;
    else if (["bs", "lr"].includes(c)) throw fields.missing(c);
    else if (c === "model") table[c] = {name: "model", kind: "text", whole: false, values: run.values.map(() => "model")};
  }
  const status = statusOf(fields, run, found.y, rules), over = ended(found.y, found.metric, status);
  const {y, metric: m} = inShares(over.y, found.metric, run, warnings, file);
  table[m.name] = y;
  if (over.status) table.status = {name: "status", kind: "text", values: over.status};
  else if (own("status")) table.status = own("status"); // of words that nobody knows, which are refused below
  const sources = new Set([run.name, found.y.name, ...Object.entries(table).filter(([k]) => k !== m.name).map(([, o]) => o.name)]);
  const rest = columns.filter(o => !sources.has(o.name) && !(o.name in table));
  refuseRepeats(table, rest, m, file);
  refuseHistories(table, columns, m, rules, file);
  sayBudgets(table, rest, m, rules, warnings);
  check(table, m, fields.unit(table.bs.name), rules.statuses);
  return finish(table, rest, m, {columns, rules, file, warnings, named});
}

function finish(table, rest, m, {columns, rules, file, warnings, named}) {
  const keep = withoutCopies(table, m, rules, named, warnings), cut = o => ({...o, values: keep.map(i => o.values[i])});
  const kept = Object.fromEntries(Object.entries(table).map(([k, o]) => [k, cut(o)])), number = k => asNumbers(kept[k]);
  const lr = joinClose(number("lr"), rules, warnings), bs = number("bs"), model = kept.model.values.map((_, i) => pyStr(kept.model, i));
  const others = otherMetrics(rest.map(cut), m.name, rules);
  const told = {seed: kept.seed && number("seed"), status: kept.status?.values, [m.name]: number(m.name), n_valid: kept.n_valid && number("n_valid"),
    message: columns.find(o => o.name === "message") && cut(columns.find(o => o.name === "message")).values};
  for (const o of others) told[o.name] = cut(columns.find(c => c.name === o.name)).values;
  const known = Object.entries(told).filter(([, values]) => values);
  const runs = keep.map((_, i) => {
    const one = {run: pyStr(kept.run, i), model: model[i], lr: lr[i], bs: bs[i]};
    for (const [k, values] of known) if (values[i] !== null && !Number.isNaN(values[i])) one[k] = values[i];
    return one;
  });
  refuseSearch(runs, file);
  const settings = [...Object.entries(kept).filter(([k]) => rules.config.includes(k)).map(([k, o]) => ({...o, name: k})), ...rest.map(cut)];
  comparable({bs, lr, model, status: told.status}, inOrder(settings, table, columns), m.name, rules, file);
  const first = fitting(m, runs.map(o => o[m.name]).filter(v => v !== undefined));
  return {runs, metrics: [m.unit === "share" ? m : first, ...others].map(described), warnings};
}

// columns in the order of the file
function inOrder(columns, table, all) {
  const at = o => all.findIndex(c => c.name === (table[o.name]?.name ?? o.name));
  return [...columns].sort((a, b) => at(a) - at(b));
}
