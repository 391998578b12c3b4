// A CSV that is dropped on the page, or opened by the button: it becomes a study, or the page says why not. Nothing leaves the page.
import {html} from "./dom.mjs";
import {Refusal} from "./refusal.mjs";
import {loadRuns} from "./load.mjs";
import {makeStudy} from "./study.mjs";

const LARGEST = 50e6; // bytes

// the runs of a file as a study; `metric` is the column that was chosen
export function studyOf(bytes, name, rules, metric) {
  const {runs, metrics, warnings} = loadRuns(bytes, name, rules, metric);
  return {study: makeStudy(name, runs, metrics, rules.assumed), warnings};
}

// one button for each metric that may be meant
const choices = (names, choose) => html("p", {class: "choices"}, names.map(name => {
  const button = html("button", {type: "button"}, name);
  button.addEventListener("click", () => choose(name));
  return button;
}));

// why a file is not shown, and the line that shows it elsewhere
function explain(problem, name, error, choose) {
  const line = error.line ? [error.elsewhere ? "" : html("p", {}, "On your own machine:"), html("code", {}, error.line)] : [];
  const title = html("p", {}, html("b", {}, error.choices ? `${name}: which metric?` : `${name} is not shown.`));
  problem.replaceChildren(title, html("p", {}, error.message), error.choices ? choices(error.choices, choose) : "", ...line);
}

// read files that come by the button or by the mouse; `show` takes the study of each
export function acceptFiles(input, problem, rules, show) {
  async function read(file, metric = null) {
    try {
      if (file.size > LARGEST) throw new Refusal(`${file.name} is larger than ${LARGEST / 1e6} MB: too much for a page.`);
      const {study, warnings} = studyOf(new Uint8Array(await file.arrayBuffer()), file.name, rules, metric);
      problem.replaceChildren(...warnings.map(o => html("p", {}, `${file.name}: ${o}`)));
      show(study);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      explain(problem, file.name, error, column => read(file, column));
    }
  }
  input.addEventListener("change", async () => {
    for (const file of input.files) await read(file);
    input.value = ""; // so that the same file can be opened again
  });
  const drag = event => [...event.dataTransfer?.types ?? []].includes("Files");
  const over = on => document.body.classList.toggle("dropping", on);
  addEventListener("dragover", event => { if (drag(event)) { event.preventDefault(); over(true); } });
  addEventListener("dragleave", event => { if (!event.relatedTarget) over(false); });
  addEventListener("drop", async event => {
    if (!drag(event)) return;
    event.preventDefault();
    over(false);
    for (const file of event.dataTransfer.files) await read(file);
  });
}
