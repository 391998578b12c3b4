// Values as Python writes them, so that a refusal reads the same here as there.

export function pyFloat(v) {
  if (Number.isNaN(v)) return "nan";
  if (!Number.isFinite(v)) return v > 0 ? "inf" : "-inf";
  const size = Math.abs(v);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) return v.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  return Number.isInteger(v) ? v.toFixed(1) : String(v);
}

export function pyText(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const names = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"};
  const hex = (c, n) => c.charCodeAt(0).toString(16).padStart(n, "0");
  const inside = [...text].map(c => names[c] ?? (c === quote ? `\\${c}` : /[\x00-\x1f\x7f-\xa0\xad]/.test(c) ? `\\x${hex(c, 2)}` : c));
  return quote + inside.join("") + quote;
}

// a value of a column, {kind, whole, values}, as `repr` and as `str`
export const pyRepr = (column, i) => {
  const v = column.values[i];
  if (v === null) return "nan";
  if (typeof v === "boolean") return v ? "True" : "False";
  return typeof v === "string" ? pyText(v) : column.whole ? String(BigInt(v)) : pyFloat(v);
};
export const pyStr = (column, i) => typeof column.values[i] === "string" ? column.values[i] : pyRepr(column, i);

// a number as `:g`
export function pyG(v) {
  if (v === 0 || !Number.isFinite(v)) return Number.isFinite(v) ? "0" : pyFloat(v);
  const exponent = Number(v.toExponential(5).split("e")[1]);
  if (exponent >= -4 && exponent < 6) return String(Number(v.toPrecision(6)));
  const [head, tail] = v.toExponential(5).split("e");
  return `${Number(head)}e${tail.replace(/^([+-])(\d)$/, "$10$2")}`;
}

// a word as a shell takes it
export const quoted = text => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`;
