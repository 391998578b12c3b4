// What a column's name says: a field of a run, or a metric. The tables of names are Python's own.

// a name in lower case and underscores, without what tools put before it
export function plainKey(name, rules) {
  const heads = new RegExp(rules.heads, "i");
  let key = String(name).replace(/\.[0-9]+$/, "");
  for (let short; (short = key.replace(heads, "")) !== key;) key = short;
  return key.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_+|_+$/g, "");
}

function words(name) {
  const text = String(name).replaceAll("²", "2").replaceAll("%", " pct ");
  return (text.match(/[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+/g) ?? []).map(o => o.toLowerCase());
}

// what is left of a name's words once those are set aside that do not say what is measured
function alias(all, m) {
  let left = all;
  for (const aside of [Object.keys(m.parts), m.per_cent, [...m.aside, ...m.best]]) {
    left = left.filter(o => !aside.includes(o));
    if (left.join("_") in m.known) return left.join("_");
  }
}

// the metric that a column's name tells, as `known_metric` of Python; null if none
export function knownMetric(name, rules) {
  const m = rules.metrics, all = words(name), part = m.parts[all.find(o => o in m.parts)] ?? "", found = alias(all, m);
  if (found === undefined || !part && m.settings.includes(found)) return null;
  const {label, unit, lower, counted} = m.known[found], best = all.some(o => m.best.includes(o)) ? "best " : "";
  const per = ["share", "per cent"].includes(unit) && all.some(o => m.per_cent.includes(o)) ? "per cent" : unit;
  return {name: String(name), bare: best + label, part, unit: per, lower, counted};
}

// a metric as the page draws it
export function described(m) {
  const factor = {share: 100, "per cent": 1}[m.unit];
  return {name: m.name, label: `${m.part} ${m.bare}`.trim(), lower: m.lower, unit: m.unit, factor: factor ?? 1, points: factor !== undefined, counted: m.counted};
}
