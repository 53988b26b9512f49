"use strict";
// Elements from text that is never read as markup.
function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}
function drawn(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
const readJson = id => JSON.parse(document.getElementById(id).textContent);
const byId = id => document.getElementById(id);
function number(value, signed = false) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const text = size >= 10 ? value.toFixed(2) : size >= 0.1 || value === 0 ? value.toFixed(3) : value.toPrecision(2);
  return (signed && value > 0 ? "+" : "") + text.replace("-", "−");
}
