// Elements of the page, by their names in page.html or made new.
/** @param {string} id @returns {any} an element that page.html has */
export const $ = (id) => document.getElementById(id);
export const put = (id, text) => {
  if ($(id).textContent !== text) $(id).textContent = text;
};
export const make = (tag, text = "", className = "") =>
  Object.assign(document.createElement(tag), { textContent: text, className });
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A row of a table: a head and its cells, texts or elements. */
export function line(cells, isChosen = false) {
  const row = make("tr", "", isChosen ? "chosen" : "");
  row.append(
    ...cells.map((cell, at) => {
      const node = make(at ? "td" : "th");
      if (!at) node.scope = "row";
      node.append(cell);
      return node;
    }),
  );
  return row;
}
export function titles(names) {
  const row = make("tr");
  row.append(...names.map((name) => Object.assign(make("th", name), { scope: "col" })));
  return row;
}
