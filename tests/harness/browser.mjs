// Pages in one Chromium, by puppeteer of the folder that browser.py fetches. One argument, JSON: folder, chromium.
// Reads lines of JSON: [{ url, theme, width, height, cookie, does, drag, axe, forced, png, also }]. `does`: a script to run in the page at
// last, before a drag by hand from one point to another; what it returns is told; axe: what axe-core finds is told, too; forced: in forced colours;
// also: other servers that it may ask.
// Prints a line of JSON for each: for each job what the page says.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { folder, chromium } = JSON.parse(process.argv[2]);
const { resolve } = createRequire(`${folder}/`), { default: puppeteer } = await import(resolve('puppeteer-core'));
const AXE = readFileSync(resolve('axe-core'), 'utf-8');
const QUIET_MS = 400, LONGEST_MS = 20_000;
const drawn = (page) => page.waitForFunction(() => document.body && document.body.dataset.state !== 'wait', { timeout: LONGEST_MS });

/** settled(): when nothing that the page asked for, but its stream, has been under way for a while. */
function watchRequests(page) {
  const asked = new Set();
  let newest = Date.now();
  const note = (change) => (request) => { newest = Date.now(); if (request.resourceType() !== 'eventsource') change(request); };
  page.on('request', note((request) => asked.add(request)));
  for (const end of ['requestfinished', 'requestfailed']) page.on(end, note((request) => asked.delete(request)));
  page.on('framenavigated', () => asked.clear());  // what the page before it asked for has no end
  return async () => {
    newest = Date.now();
    for (const began = newest; Date.now() - began < LONGEST_MS && (asked.size > 0 || Date.now() - newest < QUIET_MS);) await new Promise((done) => setTimeout(done, 50));
  };
}

/** The page asks only its own server, and those that it was given. */
function isOwn(asked, url) {
  return asked.startsWith('data:') || asked.replace(/^blob:/, '').startsWith(`${new URL(url).origin}/`);
}
function said() {
  const text = (id) => (document.getElementById(id)?.checkVisibility() ? document.getElementById(id).innerText : null);
  const beyond = [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.wide, .unseen'));
  return {
    state: document.body.dataset.state, title: document.title, banner: text('banner'), fallback: text('fallback'), expired: text('expired'), ending: text('ending'), veil: text('veil'), caption: text('caption'),
    cell: text('cell'), tip: text('tip'), total: text('total'), top: text('top'), areas: text('areas-rows'), reach: text('reach'), decide: text('decide'), controls: text('controls'), ticks: text('ticks'), credit: text('credit'),
    label: document.getElementById('map')?.ariaLabel, hash: location.hash, path: location.pathname, cookies: document.cookie, beyond: beyond.map((one) => one.outerHTML.slice(0, 80)),
    share: ((box) => (box ? (box.width * box.height) / (innerWidth * innerHeight) : null))(document.getElementById('stage')?.getBoundingClientRect()),
    footer: document.querySelector('footer')?.getBoundingClientRect().top, card: [...document.querySelectorAll('aside section')].filter((one) => one.checkVisibility()).at(-1)?.getBoundingClientRect().bottom,
  };
}

/** Into `firstPicture` the seconds from a cold cache until cells are on the map and the page says that they are current. */
function noteFirstPicture() {
  const look = () => {
    if (document.querySelector('.cells canvas') && document.body.dataset.state === 'live') globalThis.firstPicture = performance.now() / 1000;
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

/** What is wrong by WCAG 2.2 AA and axe's own rules: rule and element. */
async function violations(page) {
  await page.evaluate(AXE);
  const { violations: broken } = await page.evaluate('axe.run()');
  return broken.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 120)}`));
}

// In-process: a process less, and a page costs a fifth less.
const browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu', '--in-process-gpu', '--hide-scrollbars'] });
async function looked(jobs) {
  const answers = [];
  for (const { url, theme = 'light', width = 1280, height = 720, cookie, does, drag, axe, forced, png, also = [] } of jobs) {
    const context = await browser.createBrowserContext(), page = await context.newPage(), errors = [], settled = watchRequests(page);
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('request', (request) => { if (![url, ...also].some((one) => isOwn(request.url(), one))) errors.push(`asks ${request.url()}`); });
    if (cookie) await page.setCookie({ name: 'risk_token', value: cookie, url });
    const features = [{ name: 'prefers-color-scheme', value: theme }, { name: 'forced-colors', value: forced ? 'active' : 'none' }];
    await (await page.createCDPSession()).send('Emulation.setEmulatedMedia', { features });
    await page.setViewport({ width, height });
    await page.evaluateOnNewDocument(noteFirstPicture);
    await page.goto(url, { waitUntil: 'domcontentloaded' });
    await drawn(page);
    await settled();
    let told = null;
    if (does) { told = await page.evaluate(`(async () => { ${does} })()`).catch(() => null); await settled(); await drawn(page); }
    if (drag) {
      const before = page.url();
      await page.mouse.move(...drag[0]); await page.mouse.down();
      await page.mouse.move(...drag[1], { steps: 5 }); await page.mouse.up();
      await page.waitForFunction((url) => location.href !== url, { timeout: 5000 }, before).catch(() => {});  // it rolls on for a while
      await settled();
    }
    answers.push({ ...(await page.evaluate(said)), told, errors });
    if (axe) answers.at(-1).axe = await violations(page);
    if (png) await page.screenshot({ path: png });
    await context.close();
  }
  return answers;
}
for await (const line of createInterface({ input: process.stdin })) {
  const answers = await looked(JSON.parse(line)).catch((error) => [{ errors: [String(error)], beyond: [] }]);
  console.log(JSON.stringify(answers));
}
await browser.close();
