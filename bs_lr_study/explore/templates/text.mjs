// How numbers and settings read: the same texts as Python's `Metric` and `fmt_lr` give.

function digits(v, n) {
  if (v === 0 || !Number.isFinite(v)) return String(v);
  const size = Math.abs(v);
  if (size < 1e-3 || size >= 1e6) return v.toExponential(n - 1).replace("e+", "e");
  if (size >= 10 ** n) return Math.round(v).toLocaleString("en");
  return v.toPrecision(n).replace(/\.$/, "");
}

// a value without its unit: per cent with one decimal, or three significant digits
export const number = (m, v, decimals = 1) => m.points ? (m.factor * v).toFixed(decimals) : digits(v, 2 + decimals);
// a value with its unit
export const value = (m, v, decimals = 1) => number(m, v, decimals) + (m.points ? " %" : "");
// how far two values lie apart, without its unit and with it
export const apart = (m, d) => m.points ? (m.factor * d).toFixed(1) : digits(d, 2);
export const points = (m, d) => apart(m, d) + (m.points ? " points" : "");

// a learning rate as `1e-3`
export function lrText(lr) {
  const [head, exponent] = Number(lr.toPrecision(3)).toExponential().split("e");
  return `${head}e${Number(exponent)}`;
}

// a learning rate, or another number, as a screen reader should say it
export const spoken = v => String(v);

export const counted = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

export const capital = text => text.slice(0, 1).toUpperCase() + text.slice(1);

// the least and the largest of some values, or the one that they all are
export function span(values, show = String) {
  const least = show(Math.min(...values)), most = show(Math.max(...values));
  return least === most ? least : `${least} to ${most}`;
}
