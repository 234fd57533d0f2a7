// The service's stream of events, for as long as the page is open; while it is refused or broken, its news is asked for.
const QUIET_S = 25;
const SOON_S = 3;
const MOST_S = 12; // the service says something every ten seconds

/** A wait that differs by screen, so that those of a house do not all ask at one moment. */
export const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds * (1 + Math.random() / 2)));

/** told(facts, or null where nothing is new): each event, and nothing else, is a sign that the service lives.
 *  ask(): asks for the news itself; gives the seconds to wait where it was not answered, else null. */
export function follow(address, told, ask) {
  let stream = null;
  let heard_s = 0;
  let misses = 0;
  const hear = (event) => {
    heard_s = Date.now() / 1000;
    misses = 0;
    told(event.type === "frame" ? JSON.parse(event.data) : null);
  };
  function open() {
    stream = new EventSource(address);
    heard_s = Date.now() / 1000;
    for (const type of ["alive", "frame"]) stream.addEventListener(type, hear);
    stream.onerror = lost;
  }
  async function lost() {
    stream.close();
    stream = null;
    let wait_s = Math.min(MOST_S, SOON_S * 2 ** misses++);
    do await pause(wait_s);
    while ((wait_s = await ask()) !== null);
    open();
  }
  open();
  setInterval(() => {
    if (stream && Date.now() / 1000 - heard_s > QUIET_S) {
      stream.close();
      ask();
      open();
    }
  }, 1000);
}
