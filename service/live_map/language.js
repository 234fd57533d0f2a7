// The page's sentences, numbers and plural forms in its language. The catalogue lies in the page; English needs none.
const page = globalThis.document;
const catalogue = JSON.parse(page?.getElementById?.("catalogue")?.textContent ?? "{}");
const language = page?.documentElement?.lang || "en";
const plurals = new Intl.PluralRules(language);
export const locale = language === "en" ? "en-GB" : language;
const has = new Set(/** @type {string[]} */ (plurals.resolvedOptions().pluralCategories));
const FORMS = ["zero", "one", "two", "few", "many", "other"].filter((form) => has.has(form)); // as catalogues have them

const filled = (sentence, values) => sentence.replace(/\{(\w+)\}/g, (slot, name) => values[name] ?? slot);
export const say = (sentence, values = {}) => filled(catalogue[sentence] ?? sentence, values);
export const sayMany = (single, many, count) =>
  filled(catalogue[`${single}|${FORMS.indexOf(plurals.select(count))}`] ?? (count === 1 ? single : many), { count });

const numbers = (least, most = least) =>
  new Intl.NumberFormat(locale, { minimumFractionDigits: least, maximumFractionDigits: most, useGrouping: false });
const fixed = [0, 1, 2, 3].map((digits) => numbers(digits));
const shortest = numbers(0, 5);
export const decimals = (x, digits) => fixed[digits].format(x);
export const figure = (x) => shortest.format(x);
const lists = new Intl.ListFormat(locale, { type: "conjunction" });
export const listed = (names) => lists.format(names);

// What the service and the job write in English.
const written = (sentence) => sentence;
const TOLD = [
  written("the model was made {days} days ago, and what was measured of it says little of now"),
  written("scores are withheld since {since}: {reason}"),
  written("all hours x {factor}"),
  written("{from} to {to} h x {factor}"),
  written("{hours} other hours"),
  written("{cell} cell x {factor}"),
  written("{cells} cells x {factor}"),
  written("the scores are for {time}, not for now"),
  written("the network gave no scores: what is expected is what is usual at this hour"),
  written("{calls} calls are expected: for so few the share says little"),
  written("no frame of it was kept"),
  written("its file cannot be used: the log says why"),
  written("its file was replaced a moment ago"),
  written("the region had another grid, other categories or other horizons"),
  written("no call is on record in {areas}: what is expected there is a guess, and no floor holds"),
].map((sentence) => ({ sentence, form: new RegExp(`^${sentence.replace(/\{(\w+)\}/g, "(?<$1>.+?)")}$`) }));
const withDecimals = (value) => value.replace(/^\d+\.(\d+)$/, (all, part) => numbers(part.length).format(all));

/** A text of theirs in the page's language, where it is one of these sentences or has an entry of its own. */
export function told(text) {
  const known = TOLD.find(({ form }) => form.test(text));
  const values = known?.form.exec(text).groups ?? {};
  return say(
    known?.sentence ?? text,
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name, withDecimals(value)])),
  );
}
