// Elements and numbers, as the whole page writes them.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function drawn(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function percent(share, digits = 0) {
  if (share > 0 && share < 0.01) return "<1 %";
  return `${(share * 100).toFixed(digits)} %`;
}

export function milliseconds(value) {
  if (value >= 1000) return `${Number((value / 1000).toPrecision(3))} s`;
  return `${Number(value.toPrecision(value < 10 ? 2 : 3))} ms`;
}

export function count(value) {
  return Math.round(value).toLocaleString("en");
}

// A name as words: "sweet_pepper".
export function readable(name) {
  return name.replaceAll("_", " ");
}

export const LABELS = 3; // per exit

export const REASONS = {
  confident: "sure enough",
  budget: "no time for the next exit",
  load: "the time went to others who wait",
  final: "the deepest exit",
};
