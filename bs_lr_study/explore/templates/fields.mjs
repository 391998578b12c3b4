// Which column is which field of a run: the small half of Python's `readers.columns`, in its words.
import {plainKey} from "./names.mjs";
import {pyStr} from "./python.mjs";
import {asking, handOff, options} from "./refusal.mjs";

export const TEXTS = ["run", "data", "model", "status", "message"];
const NUMBER = /^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$/;

const asNumber = v => v === null ? NaN : typeof v === "number" ? v : typeof v === "string" && NUMBER.test(v) ? Number(v) : Infinity;
// numbers: NaN where there is none, infinite where there is something else
export const asNumbers = column => column.values.map(asNumber);
export const filled = column => column.values.some(v => v !== null);

// a column as numbers, if its field may be one and it holds nothing else
export function plainValues(column, field) {
  if (column.kind === "number" || TEXTS.includes(field)) return column;
  const values = asNumbers(column);
  if (column.kind === "bool" || values.some(v => !Number.isNaN(v) && !Number.isFinite(v))) return column;
  return {...column, kind: "number", whole: false, values: values.map(v => Number.isNaN(v) ? null : v)};
}

// rows in which two columns do not contradict each other
export function sameValues(a, b) {
  if (b.kind !== "number") return a.values.map((v, i) => v === null || b.values[i] === null || pyStr(a, i) === pyStr(b, i));
  return asNumbers(a).map((v, i) => a.values[i] === null || b.values[i] === null || Math.abs(v - b.values[i]) <= 1e-9 * Math.abs(b.values[i]) || v === b.values[i]);
}

export const listed = (names, most = 20) => names.slice(0, most).join(", ") + (names.length > most ? ` and ${names.length - most} more` : "");

export class Fields {
  constructor(columns, file, rules, warnings) {
    Object.assign(this, {columns, file, rules, warnings});
    this.keys = new Map(columns.map(o => [o, plainKey(o.name, rules)]));
  }

  key(column) { return this.keys.get(column); }
  called(names) { return this.columns.filter(o => names.includes(this.key(o)) && filled(o)); }

  // columns of one field as one; refused if they contradict each other
  agreed(columns, field) {
    let one = plainValues(columns[0], field);
    for (const column of columns.slice(1)) {
      const other = plainValues(column, field), bad = sameValues(one, other).indexOf(false);
      const peak = bad >= 0 && field === "lr" ? this.peak(columns) : null;
      if (peak) return peak;
      if (bad >= 0) {
        throw asking(this.file, `${columns.map(o => o.name).join(" and ")} could each be ${field}, but they differ: ` +
          `${pyStr(one, bad)} and ${pyStr(other, bad)} in row ${bad}; say which it is: `, {columns: {[field]: columns[0].name}});
      }
      one = {...one, values: one.values.map((v, i) => v ?? other.values[i]), whole: one.whole && other.whole};
    }
    return {...one, name: columns[0].name};
  }

  // of columns of learning rates the one that is never the smaller, if the others go far below it
  peak(columns) {
    const numbers = columns.map(asNumbers), most = values => Math.max(...values.filter(v => !Number.isNaN(v)));
    const rows = numbers[0].map((_, i) => i), top = rows.map(i => most(numbers.map(o => o[i])));
    const k = numbers.findIndex(o => rows.every(i => o[i] >= top[i] * (1 - 1e-9)));
    const left = rows.map(i => most(numbers.filter((_, j) => j !== k).map(o => o[i])));
    if (k < 0 || !rows.some(i => left[i] < top[i] / 2)) return null;
    const others = columns.filter((_, j) => j !== k).map(o => o.name).join(", ");
    this.warnings.push(`${columns[k].name} was read as the peak learning rate, and ${others} as where schedules ended: if it is otherwise, say ${options({columns: {lr: others}})}`);
    return plainValues(columns[k], "lr");
  }

  unit(name) {
    const word = plainKey(name, this.rules).split("_").find(o => o in this.rules.units);
    return word && this.rules.units[word];
  }

  // the effective batch size: examples of a whole update
  batchSize() {
    const {total, device, accumulation, devices, fields} = this.rules, exact = this.called(["bs", ...total]);
    if (exact.length) return this.agreed(exact, "bs");
    const each = this.called(device), more = [...this.called(accumulation).slice(0, 1), ...this.called(devices).slice(0, 1)];
    if (each.length) return this.product([each[0], ...more]);
    const plain = this.called(fields.bs);
    if (!plain.length) {
      const words = o => this.key(o).split("_");
      const counted = this.columns.filter(o => words(o).some(w => ["batch", "bs"].includes(w)) && this.unit(o.name) && !words(o).some(w => ["eval", "val", "valid", "test"].includes(w)));
      return counted.length ? this.agreed(counted, "bs") : null;
    }
    const passes = this.called(accumulation)[0];
    if (passes && asNumbers(passes).some(v => !Number.isNaN(v) && v !== 1)) {
      this.warnings.push(`${plain[0].name} was read as the examples of a whole update, though ${passes.name} is not always 1: ` +
        `if it is those of one pass, say ${options({columns: {bs: `${plain[0].name}*${passes.name}`}})}`);
    }
    return this.agreed(plain, "bs");
  }

  product(columns) {
    const [first, ...rest] = columns.map(asNumbers);
    const values = first.map((v, i) => rest.reduce((a, o) => a * (Number.isNaN(o[i]) ? 1 : o[i]), v)).map(v => Number.isNaN(v) ? null : v);
    return {name: columns.map(o => o.name).join("*"), kind: "number", whole: false, values};
  }

  // the column of a field, null if none is it
  find(field) {
    if (field === "bs") return this.batchSize();
    let hits = this.columns.filter(o => this.rules.fields[field].includes(this.key(o)));
    const bare = hits.filter(o => !this.key(o).startsWith("base_"));
    if (field === "lr" && hits.length > 1 && bare.length) hits = bare;
    hits = hits.filter(filled);
    return hits.length ? this.agreed(hits, field) : null;
  }

  // the refusal for a field that no column holds
  missing(field) {
    const steps = ["_step", "step", "epoch", "global_step", "iteration"].map(k => this.columns.find(o => o.name === k)).find(o => o && new Set(o.values).size === o.values.length);
    if (field === "bs" && steps) throw handOff(this.file, `the history of one run, one row per ${steps.name.replace(/^_|_$/g, "")}; a table needs one row per run`);
    const there = this.columns.filter(filled), alike = this.alike(there, field).map(o => o.name);
    const what = {bs: "the batch size", lr: "the learning rate"}[field];
    const tail = alike.length ? `it may be one of ${listed(alike)}` : there.length ? `there are ${listed(there.map(o => o.name))}` : "there are none";
    return asking(this.file, `${this.file}: no column with values is called ${this.rules.fields[field].join(", ")}, and not every name of a run says it: ` +
      `say which holds ${what}, such as `, {columns: {[field]: alike[0] ?? "COLUMN"}}, `; ${tail}`);
  }

  alike(columns, field) {
    const words = {bs: ["bs", "batch", "batchsize"], lr: ["lr", "rate", "learning", "eta"]}[field];
    const other = field === "lr" ? ["train", "val", "eval", "drop", "dropout", "acc", "loss"] : ["eval", "val", "test", "norm"];
    const fits = parts => parts.some(o => words.includes(o)) && !parts.some(o => other.includes(o));
    return columns.filter(o => fits(this.key(o).split("_")) && asNumbers(o).every(v => Number.isNaN(v) || Number.isFinite(v)));
  }

  // what the runs are called; rows are numbered where no column tells them apart
  runs() {
    const exact = this.columns.find(o => o.name === "run");
    if (exact) return exact;
    const own = this.columns.filter(o => !o.name.startsWith("_"));
    const good = this.rules.fields.run.map(k => own.find(o => this.key(o) === k)).filter(Boolean)
      .find(o => o.values.every(v => v !== null) && new Set(o.values).size === o.values.length);
    if (good) return {...good, kind: "text", values: good.values.map((_, i) => pyStr(good, i))};
    return {name: "run", kind: "text", whole: false, values: this.columns[0].values.map((_, i) => `row ${i}`)};
  }
}
