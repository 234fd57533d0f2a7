// The stream of the service, with time and streams of this test's own.
import assert from "node:assert/strict";
import { test } from "node:test";
import { follow } from "../../../service/live_map/follow.js";

test("a stream that says nothing is closed and opened again, though the browser calls it open", async () => {
  const streams = [];
  const heard = [];
  const waits = [];
  const real = setTimeout;
  let now_s = 1000;
  let asked = 0;
  let tick;
  Date.now = () => 1000 * now_s;
  globalThis.setInterval = (does) => (tick = does);
  globalThis.EventSource = class {
    readyState = 1;
    hears = {};
    constructor() {
      streams.push(this);
    }
    addEventListener(type, does) {
      this.hears[type] = does;
    }
    close() {
      this.readyState = 2;
    }
  };
  const pass = (seconds) => {
    for (let i = 0; i < seconds; i++) {
      now_s += 1;
      tick();
    }
  };
  const told = (facts) => heard.push(facts);
  const ask = async () => (asked++, null);
  follow("v1/stream", told, ask);
  for (let i = 0; i < 3; i++) {
    pass(24);
    streams[0].hears.alive({ type: "alive", data: "{}" });
  }
  assert.equal(streams.length, 1);
  streams[0].hears.frame({ type: "frame", data: '{"region": "riverton"}' });
  pass(26);
  assert.equal(streams.length, 2);
  pass(26);
  assert.deepEqual(
    streams.map((one) => one.readyState),
    [2, 2, 1],
  );
  assert.deepEqual(heard, [null, null, null, { region: "riverton" }]);
  // refused, it is asked for what is new, and then tried again, ever later
  globalThis.setTimeout = (does, ms) => {
    waits.push(ms / 1000);
    real(does);
  };
  for (let i = 0; i < 4; i++) {
    streams.at(-1).onerror();
    await new Promise((done) => real(done, 50));
  }
  assert.equal(streams.length, 3 + 4);
  assert.equal(asked, 2 + 4);
  for (const [at, least] of [3, 6, 12, 12].entries())
    assert.ok(least <= waits[at] && waits[at] <= 1.5 * least, `${waits}`);
});
