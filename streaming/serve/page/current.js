// Is this picture current? Asked every second; until it is answered the map stays grey.
import { DAY, HMS, plain, span, stamp } from "./words.js";

const $ = (id) => document.getElementById(id);
const put = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };
const CUT_AFTER_S = 15; // without the stream: it gives a sign of life as often

/** facts: of the frame that is drawn, of the region; heard_s: when the service last said anything. */
export function judge(facts, now_s, heard_s) {
  const as_of_s = Date.parse(facts.as_of) / 1000, age = now_s - as_of_s;
  const last = `last score ${stamp(as_of_s, facts.timezone, HMS)}, ${span(Math.max(0, age))} ago`;
  const silent = now_s - heard_s;
  if (facts.clock === "event" && (facts.stale || age > facts.stale_after_s || age < -facts.stale_after_s))
    return ["replay", "REPLAY", "REPLAY – the clock is the incidents' own: nothing here is for now", ""];
  if (age < -facts.tick_s) return ["doubt", "CHECK CLOCK", `AGE UNKNOWN – this screen's clock is ${span(-age)} behind the scores: set it right`, "age unknown"];
  if (age > facts.stale_after_s) return ["stale", "STALE", `STALE – ${last}`, last];
  if (silent > 2 * CUT_AFTER_S) return ["cut", "NO CONNECTION", `NO CONNECTION to the service for ${span(silent)} – ${last}`, last];
  return ["live", "LIVE", "", ""];
}

export function showState(facts, now_s, heard_s) {
  const [state, word, says, why] = judge(facts, now_s, heard_s), as_of_s = Date.parse(facts.as_of) / 1000;
  document.body.dataset.state = state;
  put("state", word); put("age", `${span(Math.max(0, now_s - as_of_s))} old`);
  put("banner", says); $("banner").hidden = !says;
  const grey = state !== "live" && state !== "replay";
  if ($("veil").hidden === grey) $("veil").hidden = !grey;
  if (grey && $("veil").dataset.said !== word + why) {
    $("veil").dataset.said = word + why;
    $("veil").firstElementChild.replaceChildren(word, Object.assign(document.createElement("span"), { textContent: why }));
  }
  put("local", stamp(as_of_s, facts.timezone, HMS));
  put("zone", stamp(as_of_s, facts.timezone, { timeZoneName: "short" }, "en-US").split(", ").pop());
  put("date", stamp(as_of_s, facts.timezone, DAY)); put("utc", `${stamp(as_of_s, "UTC", HMS)} UTC`);
  put("clock-name", state === "replay" ? "Replay clock" : "As of");
  put("model", facts.baseline_only ? "baseline" : facts.model);
  $("fallback").hidden = !facts.baseline_only;
  const reason = facts.model.includes(":") ? ` (${facts.model.slice(facts.model.indexOf(":") + 1)})` : "";
  put("fallback", `Baseline only: these are the usual figures for this hour of the week, the network gave no scores${reason}.`);
  document.title = `${state === "live" ? "" : `${word} · `}${plain(facts.region)} · Incident risk`;
  $("map").ariaLabel = `${says ? `${says}. ` : ""}${$("map").dataset.summary ?? ""}`;
}
