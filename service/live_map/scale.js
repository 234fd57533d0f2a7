// A measure's classes of colours, and the legend that tells them.
import { $, css, make } from "./elements.js";
import { figure } from "./language.js";

// Where each class of colours begins; of chances and lifts the same everywhere, and on Grafana's map.
const RISK_STEPS = [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64];
const LIFT_STEPS = [1 / 3, 1 / 2, 1 / 1.5, 1 / 1.2, 1.2, 1.5, 2, 3];
const MORE_STEPS = [10, 20, 50, 100];
const COUNT_STEPS = [-5, -4, -3, -2, -1, 0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((digit) => +`${digit}e${power}`));
const IN_FIGURES = {
  unusual: (step) => (step ? `+${step}` : "0"),
  lift: (step) => `×${figure(+step.toFixed(2))}`,
  risk: (step) => `${figure(+(100 * step).toFixed(3))} %`,
  expected: figure,
};

/** The classes of a measure: colours, where each begins, and the end of the last, where it has one. Of expected counts the
 *  last ends above all that is usual and all that is shown. */
export function scaleOf(measure, rows, ramp, lifts) {
  const high = [...rows].reduce((most, { usual, expected }) => Math.max(most, usual, expected), 0);
  const above = COUNT_STEPS.findIndex((step) => step > high);
  const last = Math.max(ramp.length - 1, above < 0 ? COUNT_STEPS.length - 1 : above);
  const colours = { unusual: ramp.slice(-MORE_STEPS.length - 1), lift: lifts }[measure] ?? ramp;
  const own = { unusual: MORE_STEPS, lift: LIFT_STEPS, risk: RISK_STEPS }[measure];
  const steps = own ?? COUNT_STEPS.slice(last - ramp.length + 1, last);
  const end = { risk: [1], expected: [COUNT_STEPS[last]] }[measure] ?? [];
  const begin = measure === "unusual" ? [0] : []; // of the palest class
  const ticks = [...begin, ...steps, ...end].map((step, at) => ({
    says: IN_FIGURES[measure](step),
    share: (at + 1 - begin.length) / colours.length,
  }));
  return { colours, ticks, colourOf: (value) => colours[steps.filter((step) => step <= value).length] };
}
/** The scale of what is shown, told in the legend. */
export function tellScale(measure, rows) {
  const scale = scaleOf(measure, rows, css("--ramp").split(" "), css("--lift").split(" "));
  const share = (place) => `${(100 * place) / scale.colours.length}%`;
  const bands = scale.colours.map((colour, at) => `${colour} ${share(at)} ${share(at + 1)}`);
  $("ramp").style.background = `linear-gradient(90deg, ${bands.join(", ")}), var(--sea)`;
  const ticks = scale.ticks.map(({ says, share: place }) => {
    const tick = make("span", says);
    tick.style.left = `${100 * place}%`;
    return tick;
  });
  $("ticks").replaceChildren(...ticks);
  return scale;
}
