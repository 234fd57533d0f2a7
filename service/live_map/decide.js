// What people decided of places, in words, and the form for the place of the pinned cell. No number changes by it.
import { $, make, put } from "./elements.js";
import { cellOf, holds, idOf } from "./grid.js";
import { say, sayMany } from "./language.js";
import { ALL, HM, capital, plain, stamp } from "./words.js";

const WORDS = { acknowledged: say("acknowledged"), overridden: say("overridden") };
const rectangle = ({ first, last }) => (first === last ? first : say("{first} to {last}", { first, last }));
export const hasEnded = ({ until }) => Date.parse(until) <= Date.now();

/** @param {Pick<Unusual, "category" | "cells" | "observed">} place @param {{ decisions: Decision[], grid: Grid }} picture
 *  The decision on a place: on its category, half of its cells at least, and half of its incidents, where it says how many
 *  there were. So a place that grows is shown as new. */
export const onPlace = ({ category, cells, observed }, { decisions, grid }) =>
  decisions.find(
    (one) =>
      [ALL, category].includes(one.category) &&
      2 * cells.filter((id) => holds(one, cellOf(id, grid), grid)).length >= cells.length &&
      !(observed > 2 * (one.observed ?? Infinity)),
  );
/** Those on a cell, of all categories where all are chosen, and the one on the unusual place around it, if there is one. */
export function decidedOn(cell, place, category, picture) {
  const ofPlace = place && onPlace(place, picture);
  const isOf = (one) => category === ALL || [ALL, category].includes(one.category);
  return picture.decisions.filter((one) => one === ofPlace || (isOf(one) && holds(one, cell, picture.grid)));
}

export const inShort = ({ what, until }, { timezone }) =>
  say("{decided} until {time}", { decided: WORDS[what], time: stamp(Date.parse(until) / 1000, timezone, HM) });

/** For the card: what was decided, with a button that withdraws it for who may. */
export function inFull(decision, picture) {
  const { what, category, first, last, reason, by, observed } = decision;
  const place = [rectangle(decision)];
  if (Number.isFinite(observed)) place.push(sayMany("{count} incident then", "{count} incidents then", observed));
  const parts = {
    decision: capital(inShort(decision, picture)),
    by,
    reason,
    category: plain(category),
    place: place.join(", "),
  };
  const says = make(
    "p",
    `${say("{decision} by {by}: {reason} ({category}, {place}). The forecast is not changed.", parts)} `,
  );
  const withdraw = Object.assign(make("button", say("Withdraw"), "tag"), {
    onclick: () => send(picture, { what: "withdrawn", category, first, last, reason: `${what} before` }),
  });
  if (picture.may_decide) says.append(withdraw);
  return says;
}

/** The form, for a pinned cell: on the unusual place around it, or else on the cell itself. */
export function offerDecision(picture, cell, place, category) {
  $("decide").hidden = !picture.may_decide || cell === null;
  if ($("decide").hidden) {
    $("reason").value = "";
    return put("decided", "");
  }
  const [first, last] = place
    ? [place.cells[0], place.cells.at(-1)]
    : [idOf(cell, picture.grid), idOf(cell, picture.grid)];
  const target = { category: place?.category ?? category, first, last };
  put(
    "decide-on",
    say("Decide on {category} at {place}", { category: plain(target.category), place: rectangle(target) }),
  );
  $("decide").onsubmit = (event) => {
    event.preventDefault();
    send(picture, { ...target, what: $("what").value, reason: $("reason").value, hours: +$("decide-hours").value });
  };
}
async function send(picture, decision) {
  try {
    await picture.decide(decision);
    put("decided", say("On record."));
    $("reason").value = "";
  } catch (error) {
    put("decided", say("Not decided: {reason}", { reason: error.message }));
  }
}
