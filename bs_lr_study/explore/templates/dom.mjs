// Elements from a few words, so that no text of a file is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(el, attributes, children) {
  for (const [name, v] of Object.entries(attributes)) {
    if (v === null || v === undefined || v === false) continue;
    el.setAttribute(name, v === true ? "" : v);
  }
  el.append(...children.flat().filter(o => o !== null && o !== undefined && o !== false));
  return el;
}

export const html = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
export const byId = id => document.getElementById(id);
