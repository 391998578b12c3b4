// Lists of any length: a million values are too many for the arguments of a call.

// the ends of some numbers; of none, as `Math.min` and `Math.max` have it
export const least = values => values.reduce((a, b) => Math.min(a, b), Infinity);
export const most = values => values.reduce((a, b) => Math.max(a, b), -Infinity);

// what has the same key, in the order of the first of each
export function grouped(items, of) {
  const by = new Map();
  items.forEach((o, i) => {
    const k = of(o, i);
    if (by.has(k)) by.get(k).push(o);
    else by.set(k, [o]);
  });
  return by;
}
