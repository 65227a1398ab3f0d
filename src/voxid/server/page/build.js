// What every view is built with. Text goes in as text, whatever a name holds.

export const $ = (id) => document.getElementById(id);

export function make(tag, className = "", text = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

export const number = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
export const seconds = (value) => `${number(value, 1)} s`;
export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
export const percent = (value) => {
  if (value === null || value === undefined) return "–";
  if (value > 0.999) return "over 99.9 %";
  return value < 0.001 ? "under 0.1 %" : `${(100 * value).toFixed(1)} %`;
};

export function clock(at) {
  const whole = Math.floor(at + 0.05), hours = Math.floor(whole / 3600);
  const minutes = String(Math.floor(whole / 60) % 60).padStart(hours ? 2 : 1, "0");
  return `${hours ? `${hours}:` : ""}${minutes}:${String(whole % 60).padStart(2, "0")}`;
}
