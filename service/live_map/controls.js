// What is chosen, and the controls that choose it. It lives in the address.
import { $, make, put } from "./elements.js";
import { say } from "./language.js";
import { CHOICES, MEASURES, WHOLE, plain, unknownIn } from "./words.js";

const CHIPS = ["measure", "horizon"]; // beside one another; the others are lists
const LABELS = {
  measure: (name) => MEASURES[name],
  horizon: (name) => (name === "1h" ? say("next {horizon}", { horizon: plain(name) }) : plain(name)),
  area: (name) => (name === WHOLE ? plain(name) : name),
};
/** @type {(name: string) => void} */
let changed = () => {};
/** @type {(name: string) => void} */
let taken = () => {};

export const chosen = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
export function remember() {
  put("unknown", "");
  history.replaceState(null, "", `#${new URLSearchParams(chosen)}`);
}
/** asks(name): asks the service for what is chosen now. */
export const onChange = (asks) => (changed = asks);
export const ask = (name) => changed(name);
/** shows(name): shows at once what needs no answer. */
export const onTake = (shows) => (taken = shows);

/** What there is to choose from, in the order of the names; what is chosen and not there becomes the first. */
export function offer({ region, ...others }) {
  const options = { region, measure: Object.keys(MEASURES), ...others };
  const offered = JSON.stringify(options);
  const unknown = unknownIn(options, chosen);
  if (unknown) put("unknown", unknown);
  $("unknown").hidden = !$("unknown").textContent;
  for (const [name, values] of Object.entries(options)) if (!values.includes(chosen[name])) [chosen[name]] = values;
  const form = $("controls");
  const focus = document.activeElement.id;
  if (form.dataset.offered === offered) return;
  form.dataset.offered = offered;
  const groups = Object.entries(options).filter(([, values]) => values.length > 1);
  $("choices").replaceChildren(
    ...groups.map(([name, values]) => (CHIPS.includes(name) ? chips(name, values) : list(name, values))),
  );
  $(focus)?.focus({ preventScroll: true });
}
function chips(name, values) {
  const group = make("fieldset");
  const row = make("div", "", "chips");
  for (const value of values) {
    const label = make("label", (LABELS[name] ?? plain)(value));
    const input = make("input");
    Object.assign(input, { type: "radio", name, value, id: `${name}-${value}`, checked: value === chosen[name] });
    input.onchange = () => take(name, value);
    label.append(input);
    row.append(label);
  }
  group.append(make("legend", CHOICES[name], "unseen"), row);
  return group;
}
/** Typing goes to a name that begins so. */
function list(name, values) {
  const box = Object.assign(make("select"), { id: `choose-${name}`, ariaLabel: CHOICES[name] });
  const option = (value) =>
    Object.assign(make("option", (LABELS[name] ?? plain)(value)), { value, selected: value === chosen[name] });
  box.append(...values.map(option));
  box.onchange = () => take(name, box.value);
  return box;
}
function take(name, value) {
  chosen[name] = value;
  if (name === "region") delete chosen.cell;
  if (["region", "area"].includes(name)) delete chosen.zoom; // it is seen whole
  taken(name);
  remember();
  changed(name);
}
/** As by hand: on its chip, or in its list. */
export function choose(name, value) {
  const chip = $(`${name}-${value}`);
  const box = $(`choose-${name}`);
  if (chip) chip.click();
  else if (box) {
    box.value = value;
    box.dispatchEvent(new Event("change"));
  }
}

/** finds(text): the place that it names, or null; goes(place); offers(text): what could be meant. */
export function finder(finds, goes, offers) {
  const box = $("find");
  box.oninput = () => {
    box.setCustomValidity("");
    $("names").replaceChildren(...offers(box.value).map((value) => Object.assign(make("option"), { value })));
  };
  box.onchange = () => {
    const text = box.value.trim();
    const place = text ? finds(text) : null;
    const wrong = say(
      "No such place in this region. Write a street, two streets that cross, a name, coordinates or a cell.",
    );
    box.setCustomValidity(text && !place ? wrong : "");
    if (box.reportValidity() && place) goes(place);
  };
  $("controls").onsubmit = (event) => event.preventDefault(); // Enter in the box has changed it already
}
const panel = () => {
  const isClosed = chosen.panel === "closed";
  $("side").hidden = isClosed;
  $("panel").ariaExpanded = String(!isClosed);
};
$("panel").onclick = () => {
  if (chosen.panel) delete chosen.panel;
  else chosen.panel = "closed";
  panel();
  remember();
};
panel();
