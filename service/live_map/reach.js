// On request: which share of the expected calls free units have within reach, where they stand now. The page forgets it.
import { $, put } from "./elements.js";
import { decimals, say, told } from "./language.js";
import { percent, plain } from "./words.js";

let units = []; // where they stand; none: nothing is asked
let turn = 0;

function sayHow({ within, usual_within, expected, categories, horizon, areas, warnings, assumes }, minutes) {
  const [worst] = areas.filter((area) => area.within !== null).sort((a, b) => a.within - b.within);
  const least =
    worst && areas.length > 1
      ? ` ${say("Least in {area}: {share}.", { area: worst.area, share: percent(worst.within) })}`
      : "";
  const figures = {
    share: percent(within),
    calls: decimals(expected, 1),
    categories: categories.map(plain).join(", "),
    horizon: plain(horizon),
    minutes,
    usual: percent(usual_within),
  };
  const how =
    say(
      "{share} of {calls} expected calls ({categories}, next {horizon}) are within {minutes} min of a free unit, usual {usual}.",
      figures,
    ) + least;
  put(
    "within",
    [
      how,
      say("Dashed on the map: the cells out of reach with most calls."),
      ...warnings.map((warning) => say("Note: {warning}.", { warning: told(warning) })),
    ].join(" "),
  );
  $("within").title = told(assumes);
}

/** Offers the form where units answer something here, and asks again for what it holds: of each picture anew.
 *  shows({ units, bare }): where units stand, and the cells out of reach; or null. finds(text): the place that it names. */
export async function askReach(region, address, horizon, shows, finds) {
  $("reach").hidden = !region.answered_by.length;
  $("reach-form").onsubmit = (event) => {
    event.preventDefault();
    const lines = $("units")
      .value.split("\n")
      .filter((line) => line.trim());
    const spots = lines.map(finds);
    const wrong = spots.indexOf(null);
    $("units").setCustomValidity(
      wrong < 0
        ? ""
        : say('"{text}" is no place in this region. Write a name, a crossing, latitude and longitude, or a cell.', {
            text: lines[wrong],
          }),
    );
    if (!$("units").reportValidity()) return;
    units = spots.map(({ lat, lon }) => ({ lat, lon }));
    askReach(region, address, horizon, shows, finds);
  };
  $("units").oninput = () => $("units").setCustomValidity("");
  const mine = ++turn;
  const minutes = +$("minutes").value;
  if ($("reach").hidden || !units.length) {
    put("within", "");
    return shows(null);
  }
  try {
    const body = JSON.stringify({ units, reach_minutes: minutes });
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch(`${address}/posts?horizon=${horizon}`, { method: "POST", headers, body });
    const said = await answer.json();
    if (mine !== turn) return;
    if (!answer.ok) throw new Error(said.detail ?? answer.status);
    sayHow(said, minutes);
    shows({ units, bare: said.bare.map(({ cell }) => cell) });
  } catch (error) {
    if (mine !== turn) return;
    put("within", say("No answer: {reason}", { reason: error.message }));
    shows(null);
  }
}
export function forgetUnits() {
  units = [];
  $("units").value = "";
}
