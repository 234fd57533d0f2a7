// The service's stream of events, for as long as the page is open.
const QUIET_S = 25, AGAIN_MS = 3000; // the service says something every ten seconds

/** told(facts, or null where nothing is new): each event, and nothing else, is a sign that the service lives. */
export function follow(address, told) {
  let stream = null, heard_s = 0;
  const hear = (event) => { heard_s = Date.now() / 1000; told(event.type === "frame" ? JSON.parse(event.data) : null); };
  function open() {
    stream?.close();
    stream = new EventSource(address); heard_s = Date.now() / 1000;
    for (const type of ["alive", "frame"]) stream.addEventListener(type, hear);
    stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) setTimeout(open, AGAIN_MS); };
  }
  open();
  setInterval(() => { if (Date.now() / 1000 - heard_s > QUIET_S) open(); }, 1000);
}
