// What is said of one cell: in a line, and on its card with its scores and what made the chosen one.
import { line, make, titles } from "./elements.js";
import { cellName, centreOf, isEven, placeOf } from "./grid.js";
import { say, told } from "./language.js";
import { crossingNear } from "./search.js";
import { ALL, SAY, count, happened, isPartly, percent, plain, times, unknown } from "./words.js";

export const TAGS = { no_history: say("no history"), sparse: say("little history") };
const KEPT = say("What made a score is kept for the ten riskiest cells of each category alone: this is none of them.");
export const lift = (row) => (row.usual > 0 ? row.expected / row.usual : NaN);

export function tableOf(scores, chosen) {
  const wide = make("div", "", "wide");
  const table = make("table");
  const top = make("thead");
  const body = make("tbody");
  top.append(
    titles([
      say("Next {horizon}", { horizon: plain(chosen.horizon) }),
      say("Risk"),
      say("Expected"),
      say("90 % range"),
      say("Usual"),
      say("Last hour"),
    ]),
  );
  body.append(
    ...scores.map((row) => {
      const label = make("span", plain(row.category));
      const range = row.low === undefined ? "–" : `${row.low}–${row.high}`;
      if (TAGS[row.support]) label.append(" ", make("span", TAGS[row.support], "tag one"));
      const numbers = [percent(row.risk), count(row.expected), range, count(row.usual)];
      return line(
        [label, ...(row.support === "no_history" ? numbers.map(() => "–") : numbers), String(row.observed_1h)],
        row.category === chosen.category,
      );
    }),
  );
  table.append(top, body);
  wide.append(table);
  return wide;
}
/** What made the score, where the source says it: factors on the usual number, as bars on a logarithmic scale. */
export function made(scores, chosen) {
  const { factors, usual, expected, support } = scores.find((one) => one.category === chosen.category);
  if (factors === undefined || support === "no_history") return [];
  if (!factors)
    return [make("p", chosen.category === ALL ? say("Choose a category to see what made its score.") : KEPT, "quiet")];
  const shares = make("div", "", "shares");
  const most = Math.max(Math.log(2), ...factors.map(({ factor }) => Math.abs(Math.log(factor))));
  for (const { says, factor } of factors) {
    const bar = make("i", "", factor < 1 ? "less" : "");
    const part = make("b");
    const width = (50 * Math.abs(Math.log(factor))) / most;
    Object.assign(part.style, { left: `${factor < 1 ? 50 - width : 50}%`, width: `${width}%` });
    bar.append(part);
    shares.append(make("span", told(says)), bar, make("span", times(factor)));
  }
  return [
    make(
      "p",
      say("Usual {usual}, times these, is expected {expected}:", { usual: count(usual), expected: count(expected) }),
      "quiet",
    ),
    shares,
  ];
}

/** The squares of a cell, most first; none of a cell whose squares are alike: nobody knows where inside it incidents are.
 *  @param {number} cell @param {Picture} picture @returns {Square[]} */
export function squaresOf(cell, { rows, grid }) {
  const { squares = [], expected, support } = rows.get(cell) ?? {};
  if (support === "no_history" || isEven(squares)) return [];
  const side = Math.sqrt(squares.length);
  const { lat, lon } = centreOf(cell, grid);
  const shift = (place) => (place + 0.5) / side - 0.5; // of the cell's middle
  return squares
    .map((number, at) => ({
      cell,
      expected: number,
      share: number / expected,
      metres: Math.round(grid.cell_m / side),
      lat: lat + shift(Math.floor(at / side)) * grid.cell_lat_deg,
      lon: lon + shift(at % side) * grid.cell_lon_deg,
    }))
    .sort((a, b) => b.expected - a.expected);
}
/** The square of a cell that a place lies in, as its middle is the nearest; undefined where nobody knows. */
export const squareAround = (place, cell, picture) =>
  squaresOf(cell, picture).sort((...both) => {
    const [a, b] = both.map(({ lat, lon }) =>
      Math.max(
        Math.abs(lat - place.lat) / picture.grid.cell_lat_deg,
        Math.abs(lon - place.lon) / picture.grid.cell_lon_deg,
      ),
    );
    return a - b;
  })[0];
/** Where a square is: near a crossing, else its coordinates. @param {Square} square @param {Picture} picture */
export function nearby(square, { land }) {
  const crossing = crossingNear(square, land);
  return crossing ? say("near {name}", { name: crossing }) : placeOf(square);
}
const ofEach = ({ of_categories = {} }) => {
  const each = Object.entries(of_categories)
    .map(([category, seen]) => `${seen} ${plain(category)}`)
    .join(", ");
  return each && ` (${each})`;
};
/** What is unusual around a cell, or that nothing is known, in sentences. */
function sayings(places, picture) {
  const all = places.map((place) => happened(place, picture) + ofEach(place));
  const nothing = unknown(picture);
  return all.length || nothing ? [...all, ...(nothing ? [nothing] : [])] : [say("in the last hours, here and around")];
}
/** The large words of the card. measure and score: of what is chosen; places: around the cell, null where nobody asks for them. */
export function inWords(row, { measure, score, places, isAbove, caption }, picture) {
  if (row.support === "no_history")
    return [make("p", say("no score"), "big"), make("p", say("No history in this category."), "quiet")];
  if (!places) {
    const besides = measure === "lift" ? "" : ` (${say("{times} of usual", { times: times(lift(row)) })})`;
    return [make("p", SAY[measure](score), "big"), make("p", caption + besides, "quiet")];
  }
  const nothing = unknown(picture)
    ? isPartly(picture)
      ? say("partly known")
      : say("not known")
    : say("nothing stands out");
  return [
    make(
      "p",
      isAbove ? say("more than usual here") : places.length ? say("more than usual around it") : nothing,
      "big",
    ),
    ...sayings(places, picture).map((says) => make("p", says, "quiet")),
  ];
}
/** A cell in lines of text, its name and what is chosen first.
 *  @param {number} cell @param {Shown} shown @param {Picture} picture @returns {string[]} */
export function brief(cell, shown, picture) {
  const { measure, score, places } = shown;
  const row = picture.rows.get(cell);
  const name = cellName(cell, picture);
  if (picture.inside && !picture.inside.has(cell)) return [name, say("not in the area")];
  if (!row) return [name, say("no incident on record")];
  if (row.support === "no_history") return [name, say("no history: no score")];
  const figures = {
    expected: count(row.expected),
    usual: count(row.usual),
    times: times(lift(row)),
    seen: row.observed_1h,
    risk: percent(row.risk),
  };
  const lines = [say("expected {expected}, usual {usual} ({times})", figures), say("last hour {seen}", figures)];
  if (measure !== "risk") lines.unshift(say("risk {risk}", figures));
  if (row.support === "sparse") lines.push(TAGS.sparse);
  const says = !places
    ? SAY[measure](score)
    : places.length || unknown(picture)
      ? sayings(places, picture).join("; ")
      : say("nothing stands out");
  return [`${name}: ${says}`, ...lines];
}
