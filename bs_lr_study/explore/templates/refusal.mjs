// Why a file is not shown: in the words of `load_runs`, or with the line of `bslr` that can do what this page cannot.
import {quoted} from "./python.mjs";

export class Refusal extends Error {
  constructor(message, more = {}) {
    super(message);
    Object.assign(this, more); // `line`, a command; `choices`, metrics of which one is to be chosen
  }
}

// options as one types them in a shell
export function options(ask) {
  const one = v => typeof v === "boolean" ? String(v) : quoted(typeof v === "object" ? Object.entries(v).map(([k, o]) => `${k}=${o ?? "none"}`).join(",") : String(v));
  return Object.entries(ask).map(([k, v]) => `--${k} ${one(v)}`).join(" ");
}

const line = (file, ask = {}) => ["bslr explore", quoted(file), options(ask)].filter(Boolean).join(" ");

// something has to be said before runs can be read
export const asking = (file, before, ask, after = "", more = {}) => (
  new Refusal(`${before}${options(ask)}${after}`, {line: line(file, ask), ...more}));

// what only Python reads
export const handOff = (file, what, ask = {}) => new Refusal(`This page does not read ${what}. On your own machine this line does:`, {line: line(file, ask), elsewhere: true});
