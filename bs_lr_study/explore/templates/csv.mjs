// A file's bytes as columns: read if there is no doubt, refused with the place if there is.
import {pyText} from "./python.mjs";
import {Refusal, handOff} from "./refusal.mjs";

const MARKS = [[[0xef, 0xbb, 0xbf], "utf-8"], [[0xff, 0xfe], "utf-16le"], [[0xfe, 0xff], "utf-16be"]];

// where bytes cease to be UTF-8, -1 if nowhere
function firstBad(bytes) {
  for (let i = 0; i < bytes.length;) {
    const c = bytes[i], n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (!n) return i;
    for (let j = 1; j < n; j++) if ((bytes[i + j] & 0xc0) !== 0x80) return i;
    i += n;
  }
  return -1;
}

const lineOf = (bytes, at) => bytes.subarray(0, at).reduce((n, c) => n + (c === 10), 1);

function decode(bytes, file, warnings) {
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) throw handOff(file, "packed files");
  if (bytes[0] === 0x50 && bytes[1] === 0x4b) throw new Refusal(`${file} is a zip: unpack it and give the file or folder in it`);
  const [mark, encoding] = MARKS.find(([o]) => o.every((c, i) => bytes[i] === c)) ?? [[], "utf-8"];
  if (encoding !== "utf-8") warnings.push(`${file} was read as UTF-16, as its first bytes say`);
  else {
    const bad = firstBad(bytes);
    if (bad >= 0) throw new Refusal(`${file}: line ${lineOf(bytes, bad)} holds the byte 0x${bytes[bad].toString(16).padStart(2, "0")}, which is not UTF-8${mark.length ? "-SIG" : ""}: save the file as UTF-8`);
  }
  const text = new TextDecoder(encoding).decode(bytes), zero = text.indexOf("\0");
  if (zero >= 0) {
    throw new Refusal(`${file}: line ${text.slice(0, zero).split("\n").length} holds a zero byte: this is no text, or UTF-16 without its mark; save the file as UTF-8`);
  }
  return text.replace(/\r\n?/g, "\n");
}

// the rows of a text, each with the line on which it ends; quotes hold separators, newlines and doubled quotes
function parse(text, sep, file) {
  const rows = [];
  let row = [], field = "", open = false, closed = false, line = 1;
  const end = () => { row.push(field); field = ""; closed = false; };
  const wrong = why => new Refusal(`${file} is no CSV: line ${line}: ${why}; is a quote left open?`);
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (open) {
      if (c !== '"') { field += c; if (c === "\n") line++; }
      else if (text[i + 1] === '"') { field += c; i++; }
      else { open = false; closed = true; }
    } else if (c === '"' && field === "" && !closed) open = true;
    else if (c === sep) end();
    else if (c === "\n") { end(); rows.push({fields: row, line}); row = []; line++; }
    else if (closed) throw wrong(`'${sep}' expected after '"'`);
    else field += c;
  }
  if (open) { line -= text.endsWith("\n") ? 1 : 0; throw wrong("unexpected end of data"); }
  if (field !== "" || row.length) { end(); rows.push({fields: row, line}); }
  return rows.filter(o => o.fields.length > 1 || o.fields[0].trim() !== "");
}

const INT = /^\s*[+-]?\d+\s*$/, FLOAT = /^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$/, FAR_NUMBER = /^\s*([+-]?)inf(inity)?\s*$/i, BOOL = /^(true|True|TRUE|false|False|FALSE)$/;

const toNumber = o => {
  const far = FAR_NUMBER.exec(o);
  return far ? (far[1] === "-" ? -Infinity : Infinity) : Number(o);
};

// numbers with a comma as ours with a point; what has a point is no such number
const withPoint = texts => texts.map(o => /^[^.,]*,[^.,]*$/.test(o) ? o.replace(",", ".") : o.includes(".") ? `${o}?` : o);

// what a column holds: all numbers, all yes or no, or texts
function typed(name, texts, rules, comma) {
  const missing = new Set(rules.missing), blank = texts.some(o => missing.has(o));
  const pointed = comma ? withPoint(texts) : texts, there = pointed.filter((_, i) => !missing.has(texts[i]));
  const as = f => texts.map((o, i) => missing.has(o) ? null : f(f === toNumber ? pointed[i] : o));
  if (!comma && ["model", "lr"].includes(name)) return {name, kind: there.length ? "text" : "number", whole: false, values: as(o => o)};
  if (there.every(o => INT.test(o) || FLOAT.test(o) || FAR_NUMBER.test(o))) {
    return {name, kind: "number", whole: !blank && there.every(o => INT.test(o)), values: as(toNumber)};
  }
  if (there.every(o => BOOL.test(o))) return {name, kind: blank ? "text" : "bool", whole: false, values: as(o => /^t/i.test(o))};
  return {name, kind: "text", whole: false, values: as(o => o)};
}

function checkHeader(names, file) {
  if (names.length > 1 && names.slice(1).every(o => o.includes(" - "))) {
    throw new Refusal(`${file} is what W&B saves from a chart, curves over ${names[0]}, but a table needs one row per run: save ` +
      "the table of runs instead (in the project: Runs, download, CSV), or read the project as wandb:ENTITY/PROJECT");
  }
  const twice = names.find((o, i) => names.indexOf(o) < i);
  if (twice !== undefined) throw new Refusal(`${file} has the column ${pyText(twice)} twice: keep one of them`);
}

// a table without the lines before it that begin with #; the last of them is its header if numbers follow
function withoutRemarks(text) {
  const [, remarks, rest] = /^((?:#[^\n]*\n?)+)([^]*)$/.exec(text);
  if (!/^[-+\d.eE,;\t| ]+(\n|$)/.test(rest)) return rest;
  return `${remarks.trimEnd().split("\n").at(-1).replace(/^[# ]+/, "")}\n${rest}`;
}

// whether a field is a number with a comma
function hasDecimalComma(text, sep) {
  const end = sep === "|" ? "\\|" : sep;
  return new RegExp(`(?:^|${end})"?[-+]?\\d+,\\d+(?:[eE][-+]?\\d+)?"?(?:${end}|$)`, "m").test(text);
}

// the columns of a CSV, in any of the forms that can be read without a doubt
export function readCsv(bytes, file, rules, warnings) {
  let text = decode(bytes, file, warnings);
  if (/^\s*[{[]/.test(text)) throw handOff(file, "JSON");
  if (text.startsWith("#")) text = withoutRemarks(text);
  const header = text.split("\n").find(o => o.trim()) ?? "";
  if (!header) return [];
  if (header.startsWith("|")) throw new Refusal(`${file} is a table in Markdown: save it as CSV, with a header and a row per run`);
  const sep = [",", ";", "\t", "|"].reduce((a, b) => header.split(b).length > header.split(a).length ? b : a);
  const comma = sep !== "," && hasDecimalComma(text, sep);
  if (sep !== ",") warnings.push(`${file} was read with ${pyText(sep)} between its fields${comma ? " and a comma in its numbers" : ""}`);
  const [{fields: names}, ...rows] = parse(text, sep, file);
  checkHeader(names, file);
  const bad = rows.find(o => o.fields.length !== names.length);
  if (bad) {
    throw new Refusal(`${file}: line ${bad.line} has ${bad.fields.length} fields, but the header has ${names.length}: each line must have as many; ` +
      `is there a decimal comma, or was the file cut off? (${pyText(bad.fields.join(sep).slice(0, 80))})`);
  }
  return names.map((name, j) => typed(name || `Unnamed: ${j}`, rows.map(o => o.fields[j]), rules, comma));
}
