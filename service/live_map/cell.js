// What is said of one cell: its scores in a table, and what made the chosen one.
import { line, make, titles } from "./elements.js";
import { say, told } from "./language.js";
import { ALL, count, percent, plain, times } from "./words.js";

export const TAGS = { no_history: say("no history"), sparse: say("little history") };
const KEPT = say("What made a score is kept for the ten riskiest cells of each category.");

export function tableOf(scores, chosen) {
  const wide = make("div", "", "wide"), table = make("table"), top = make("thead"), body = make("tbody");
  top.append(titles([say("Next {horizon}", { horizon: plain(chosen.horizon) }), say("Risk"), say("Expected"), say("90 % range"), say("Usual"), say("Last hour")]));
  body.append(...scores.map((row) => {
    const label = make("span", plain(row.category)), range = row.low === undefined ? "–" : `${row.low}–${row.high}`;
    if (TAGS[row.support]) label.append(" ", make("span", TAGS[row.support], "tag one"));
    const numbers = [percent(row.risk), count(row.expected), range, count(row.usual)];
    return line([label, ...(row.support === "no_history" ? numbers.map(() => "–") : numbers), String(row.observed_1h)], row.category === chosen.category);
  }));
  table.append(top, body); wide.append(table);
  return wide;
}
/** What made the score, where the source says it: factors on the usual number, as bars on a logarithmic scale. */
export function made(scores, chosen) {
  const { factors, usual, expected, support } = scores.find((one) => one.category === chosen.category);
  if (factors === undefined || support === "no_history") return [];
  if (!factors) return [make("p", chosen.category === ALL ? say("Choose a category to see what made its score.") : KEPT, "quiet")];
  const shares = make("div", "", "shares"), most = Math.max(Math.log(2), ...factors.map(({ factor }) => Math.abs(Math.log(factor))));
  for (const { says, factor } of factors) {
    const bar = make("i", "", factor < 1 ? "less" : ""), part = make("b"), width = (50 * Math.abs(Math.log(factor))) / most;
    part.style.left = `${factor < 1 ? 50 - width : 50}%`; part.style.width = `${width}%`;
    bar.append(part); shares.append(make("span", told(says)), bar, make("span", times(factor)));
  }
  return [make("p", say("Usual {usual}, times these, is expected {expected}:", { usual: count(usual), expected: count(expected) }), "quiet"), shares];
}
