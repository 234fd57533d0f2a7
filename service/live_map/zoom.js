// Zoom and pan of the map by wheel, fingers, keys and buttons; the address keeps what is shown.
import { $ } from "./elements.js";
import { MOST, moved, setView } from "./draw.js";

const STEP = 1.5, CLICK_PX = 5; // a pointer that moves less than this clicks
const REST_MS = 200; // after which the address is written: browsers allow it some hundred times a minute
const KEYS = { "+": STEP, "=": STEP, "-": 1 / STEP, 0: 0 };
const middle = () => [$("stage").clientWidth / 2, $("stage").clientHeight / 2];
const isScrolling = () => document.documentElement.scrollHeight > innerHeight + 1;
const fingers = new Map(); // each pointer that is down, by its number, with its place on the stage

/** What an address says, `factor,latitude,longitude`; anything else shows all. */
function viewOf(text) {
  const [factor, lat, lon] = (text ?? "").split(",").map(Number);
  return factor > 1 && factor <= MOST && Number.isFinite(lat) && Number.isFinite(lon) ? { factor, lat, lon } : { factor: 1 };
}

/** kept: the choices of the address. changed(): after each move; rested(): when the map lies still. Gives isDrag(): whether
 *  the last press was a drag, which is no click; reveal(point): brings to the middle what is out of sight; showAll(). */
export function zoomable(kept, changed, rested) {
  let isDrag = false, rest, frame = null;
  function show(view) {
    if (view.factor > 1) kept.zoom = [view.factor.toFixed(2), view.lat.toFixed(5), view.lon.toFixed(5)].join(",");
    else delete kept.zoom;
    setView(view);
    document.body.toggleAttribute("data-zoomed", view.factor > 1);
  }
  const move = (...how) => {
    show(moved(...how));
    frame ??= requestAnimationFrame(() => { frame = null; changed(); }); // a hand moves more often than a screen draws
    clearTimeout(rest); rest = setTimeout(rested, REST_MS);
  };
  const place = ({ offsetX, offsetY }) => [offsetX, offsetY];
  const span = ([one, other]) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
  const centre = (points) => [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  const hands = {
    wheel: (event) => {
      if (!event.ctrlKey && isScrolling()) return;
      event.preventDefault();
      move(STEP ** (-event.deltaY / 100), place(event));
    },
    pointerdown: (event) => { isDrag = false; if (event.button === 0) fingers.set(event.pointerId, place(event)); },
    pointermove: (event) => {
      if (!event.buttons) fingers.delete(event.pointerId); // let go outside of the map
      const before = [...fingers.values()], from = fingers.get(event.pointerId);
      if (!from || (before.length === 1 && !isDrag && span([from, place(event)]) < CLICK_PX)) return;
      isDrag = true;
      $("map").setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, place(event));
      const after = [...fingers.values()];
      move(after.length > 1 ? span(after) / span(before) : 1, centre(before), centre(after));
    },
    pointerup: (event) => fingers.delete(event.pointerId),
    pointercancel: (event) => fingers.delete(event.pointerId),
    keydown: ({ key }) => { if (key in KEYS) move(KEYS[key], middle()); },
  };
  for (const [name, does] of Object.entries(hands)) $("map").addEventListener(name, does, { passive: false });
  [STEP, 1 / STEP, 0].forEach((times, at) => { $("zoom").children[at].onclick = () => move(times, middle()); });
  show(viewOf(kept.zoom));
  return {
    isDrag: () => isDrag,
    reveal: (point) => {
      const { clientWidth, clientHeight } = $("stage"), [x, y] = point;
      if (x < 0 || y < 0 || x > clientWidth || y > clientHeight) move(1, point, middle());
    },
    showAll: () => { clearTimeout(rest); show({ factor: 1 }); },
  };
}
