// What is shown, as the address says it after `#`, so that a view can be sent to somebody.

export const LEVELS = [80, 90, 95];
const KEYS = ["study", "model", "metric", "agg", "among", "level", "lr", "bs"];

// the state that an address asks for; what it lacks, or asks in vain, is as usual
export function readState(hash, studies) {
  const asked = Object.fromEntries(new URLSearchParams(hash.replace(/^#/, "")));
  const study = studies.find(o => o.name === asked.study) || studies[0];
  const about = study.metrics.find(o => o.metric.name === asked.metric) || study.metrics[0];
  const model = about.models.find(o => o.model === asked.model) || about.models[0];
  const level = LEVELS.includes(Number(asked.level)) ? Number(asked.level) : 90;
  const agg = asked.agg === "best" ? "best" : "mean", among = asked.among === "row" ? "row" : "all";
  const place = "lr" in asked && "bs" in asked ? {lr: Number(asked.lr), bs: Number(asked.bs)} : {lr: null, bs: null};
  return {study: study.name, metric: about.metric.name, model: model.model, agg, among, level, ...place};
}

export function writeState(state) {
  const told = KEYS.filter(k => state[k] !== null && state[k] !== undefined).map(k => [k, String(state[k])]);
  return "#" + new URLSearchParams(told);
}

// the study, the metric's tables and the model that a state is about
export function shown(state, studies) {
  const study = studies.find(o => o.name === state.study);
  const about = study.metrics.find(o => o.metric.name === state.metric);
  const model = about.models.find(o => o.model === state.model);
  return {study, about, metric: about.metric, model, cells: model.cells};
}
