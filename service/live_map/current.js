// Is this picture current? Asked every second; until it is answered the map stays grey.
import { $, make, put } from "./elements.js";
import { timeOf } from "./day.js";
import { listed, locale, say, told } from "./language.js";
import { ALL, count, DAY, HMS, isPartly, plain, silence, silencesOf, span, stamp, times, unknown } from "./words.js";

const WARN_S = 3600; // before the sign-in ends
const CUT_AFTER_S = 28; // without a word from the service: three signs of life; follow.js has tried another stream before

/** What the judgement needs, of the service's facts of a region. heard_s: when it last said anything; a replay is as old as that. */
export function ofService(region, now_s, heard_s) {
  const as_of_s = Date.parse(region.as_of) / 1000;
  const isOld = region.stale || Math.abs(now_s - as_of_s) > region.stale_after_s;
  const isReplay = region.clock === "event" && isOld;
  const scored_s = isReplay ? heard_s : as_of_s;
  return { ...region, as_of_s, isReplay, stale: region.stale && !isReplay, scored_s, silent_s: now_s - heard_s };
}

/** The state: its name, its word, the sentence above the map, and what stands on the map.
 *  @param {Facts} facts @param {number} now_s @returns {string[]} */
export function judge(facts, now_s) {
  const { scored_s, silent_s, shows } = facts;
  const age_s = now_s - scored_s;
  const still = shows ? say(" – still {shows}, not what you chose", { shows }) : "";
  const when = { time: stamp(scored_s, facts.timezone, HMS), span: span(Math.max(0, age_s)) };
  const last =
    (facts.isReplay ? say("last check {time}, {span} ago", when) : say("last score {time}, {span} ago", when)) + still;
  if (facts.isEnded)
    return [
      "ended",
      say("TOKEN ENDED"),
      say("TOKEN ENDED: sign in – {last}", { last }),
      say("sign in – {last}", { last }),
    ];
  if (facts.past) return judgePast(facts, still);
  const replay = facts.isReplay ? say("REPLAY: the clock is the incidents' own, and nothing here is for now") : "";
  const behind_s = Math.max(-age_s, facts.behind_s || 0);
  if (behind_s > facts.tick_s)
    return [
      "doubt",
      say("CHECK CLOCK"),
      say("AGE UNKNOWN – this screen's clock is {span} behind the scorer's: set it right", { span: span(behind_s) }),
      say("age unknown") + still,
    ];
  if (facts.stale || age_s > facts.stale_after_s) return ["stale", say("STALE"), `${say("STALE")} – ${last}`, last];
  if (silent_s > CUT_AFTER_S)
    return [
      "cut",
      say("NO CONNECTION"),
      [say("NO CONNECTION to the service for {span} – {last}", { span: span(silent_s), last }), replay]
        .filter(Boolean)
        .join(". "),
      last,
    ];
  if (shows)
    return [
      "behind",
      say("PREVIOUS CHOICE"),
      say("PREVIOUS CHOICE{still}: the service has not answered yet", { still }),
      say("still {shows}", { shows }),
    ];
  const silent = (facts.silent ?? []).filter(({ until }) => !until);
  if (silent.length) return judgeSilence({ ...facts, silent }, replay);
  if (facts.isReplay) return ["replay", say("REPLAY"), replay, ""];
  return ["live", say("LIVE"), "", ""];
}

/** The past is said before all else: nobody can take it for now. What cannot be shown is grey.
 *  @param {Facts} facts @param {string} still */
function judgePast({ past, timezone, shows }, still) {
  const word = say("PAST {time}", { time: timeOf(past, timezone) });
  if (past.why) return ["gone", word, "", told(past.why)];
  if (shows) return ["gone", word, word + still, say("still {shows}", { shows })];
  return ["past", word, "", ""];
}

/** A silent feed leaves the forecast on the map, and takes what is more than usual away. */
function judgeSilence(facts, replay) {
  const own = silencesOf(facts.category, facts.silent);
  const isAll = !isPartly(facts);
  const word = isAll ? say("FEED SILENT") : say("PARTLY SILENT");
  const named = isAll ? own : facts.silent;
  const says = `${word}${named[0].category === ALL ? " " : ": "}${named.map((one) => silence(one, facts)).join("; ")}.`;
  const remedy = isAll
    ? say("Check the feed: what is shown is a forecast, not what happens.")
    : say("Check the feed: what is shown of it is a forecast, not what happens.");
  const why = isAll && facts.measure === "unusual" ? unknown(facts) : "";
  return [isAll ? "silent" : "partly", word, [says, remedy, replay].filter(Boolean).join(" "), why];
}

export const changeInWords = ({ since, says }, timezone) =>
  say("The forecast follows a change since {day}: {change}", {
    day: stamp(Date.parse(since) / 1000, timezone, DAY),
    change: says.split(", ").map(told).join(", ").replaceAll(" x ", " × "),
  });

/** Which forecasts the last hour raises, of the chosen category or of all; "" for none. */
export function surgesInWords({ category, surges = [] }) {
  const own = surges
    .filter((one) => category === ALL || one.category === category)
    .toSorted((a, b) => Math.max(...Object.values(b.factors)) - Math.max(...Object.values(a.factors)));
  if (!own.length) return "";
  const each = own.map((one) =>
    say("{category} {times} ({observed} instead of {usual} in the last hour)", {
      category: plain(one.category),
      times: times(Math.max(...Object.values(one.factors))),
      observed: one.observed,
      usual: count(one.usual),
    }),
  );
  return say("The last hour raises the forecast: {surges}. It may go on or not.", { surges: listed(each) });
}

const ageInWords = ({ isReplay, scored_s }, now_s) => {
  const age = { span: span(Math.max(0, now_s - scored_s)) };
  return isReplay ? say("checked {span} ago", age) : say("scored {span} ago", age);
};

const notice = (id, text) => {
  put(id, text);
  $(id).hidden = !text;
};
/** @param {Facts} facts @param {number} now_s */
export function showState(facts, now_s) {
  const [state, word, says, why] = judge(facts, now_s);
  const { as_of_s, timezone, model } = facts;
  document.body.dataset.state = state;
  put("state", word);
  put("age", facts.past ? say("not for now") : ageInWords(facts, now_s));
  $("now").hidden = !facts.past;
  notice("banner", says);
  const veil = $("veil");
  const isGrey = Boolean(why);
  if (veil.hidden === isGrey) veil.hidden = !isGrey;
  if (isGrey && veil.dataset.says !== word + why) {
    veil.dataset.says = word + why;
    veil.firstElementChild.replaceChildren(word, make("span", why));
  }
  $("sign-in").hidden = state !== "ended";
  const left_s = facts.signed_in_until_s - now_s;
  const isEnding = state !== "ended" && left_s > 0 && left_s <= WARN_S;
  const ending = { time: stamp(facts.signed_in_until_s, timezone, HMS), span: span(left_s) };
  const stay = say(
    "Signed in until {time}, for another {span}. To stay signed in, choose anything on this page.",
    ending,
  );
  notice("ending", isEnding ? stay : "");
  put("local", state === "gone" ? "–" : stamp(as_of_s, timezone, HMS));
  put(
    "zone",
    stamp(as_of_s, timezone, { timeZoneName: "short" }, locale === "en-GB" ? "en-US" : locale)
      .split(", ")
      .pop(),
  );
  put("date", stamp(as_of_s, timezone, DAY));
  put("utc", `${stamp(as_of_s, "UTC", HMS)} UTC`);
  put("clock-name", facts.isReplay ? say("Replay clock") : say("As of"));
  put("model", facts.baseline_only ? say("baseline") : model);
  const values = { reason: model.includes(":") ? ` (${model.slice(model.indexOf(":") + 1)})` : "" };
  const fallback = say(
    "Baseline only: these are the usual figures for this hour of the week, the network gave no scores{reason}.",
    values,
  );
  notice("fallback", facts.baseline_only ? fallback : "");
  notice("expired", facts.expired ? say("EXPIRED: {reason}.", { reason: told(facts.expired) }) : "");
  notice("change", facts.change ? changeInWords(facts.change, timezone) : "");
  notice("surges", surgesInWords(facts));
  document.title = `${facts.waiting ? `(${facts.waiting}) ` : ""}${state === "live" ? "" : `${word} · `}${plain(facts.region)} · ${$("title").textContent}`;
  const summary = state === "gone" ? `${word}: ${why}` : ($("map").dataset.summary ?? "");
  $("map").ariaLabel = `${says ? `${says}. ` : ""}${summary}`;
}
