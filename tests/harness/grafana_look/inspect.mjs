// Opens pages in Chromium and says what is wrong with them, by the DOM. One argument, JSON:
//   base: address; chromium: program; now: milliseconds that the pages take for now; jobs: [{ uid, theme, width, query, png }]
// Prints JSON: for each job its findings, [{ panel, what, text }].
import puppeteer from 'puppeteer-core';

const { base, chromium, now, jobs } = JSON.parse(process.argv[2]);
const HEIGHT = 900, DRAWN_MS = 400, LONGEST_MS = 30_000;

function findings() {
  const found = [], add = (panel, what, text) => found.push({ panel, what, text: text.slice(0, 60) });
  const parse = (color) => {
    const [r, g, b, a = 1] = (color.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    return color.startsWith('color(srgb') ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = ([r, g, b]) => {
    const linear = [r, g, b].map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ratio = (one, other) => (Math.max(light(one), light(other)) + 0.05) / (Math.min(light(one), light(other)) + 0.05);
  const grounds = (element) => {  // from the page up to the element
    const all = [];
    for (let at = element; at; at = at.parentElement) all.unshift(getComputedStyle(at));
    return all;
  };

  function readable(panel, element, text) {
    const style = getComputedStyle(element), stack = grounds(element);
    if (stack.some((one) => one.backgroundImage.includes('gradient'))) return add(panel, 'gradient behind text', text);
    const ground = stack.reduce((below, one) => over(parse(one.backgroundColor), below), [255, 255, 255, 1]);
    const opacity = stack.reduce((product, one) => product * Number(one.opacity), 1);
    const ink = parse(style.color);
    const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const contrast = ratio(over([...ink.slice(0, 3), ink[3] * opacity], ground), ground);
    if (contrast < (isLarge ? 3 : 4.5)) add(panel, `contrast ${contrast.toFixed(2)}`, text);
  }

  function whole(panel, element, rect, text) {
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at), box = at.getBoundingClientRect(), isTable = at.getAttribute('role') === 'grid';
      if (style.overflowX !== 'visible' && (rect.left < box.left - 1 || rect.right > box.right + 1)) return add(panel, 'cut at its side', text);
      if (isTable) return;  // rows of a table may lie further down
      if (style.overflowY !== 'visible' && (rect.top < box.top - 1 || rect.bottom > box.bottom + 1)) return add(panel, 'cut above or below', text);
      if (at.dataset.panel && (rect.right > box.right + 1 || rect.bottom > box.bottom + 1)) return add(panel, 'beyond its panel', text);
    }
  }

  for (const box of document.querySelectorAll('[data-panel]')) {
    const panel = box.dataset.panel;
    if (box.dataset.errors) add(panel, 'error', box.dataset.errors);
    if (box.dataset.kind !== 'text' && !Number(box.dataset.values)) add(panel, 'no data', '');
    if (box.dataset.kind !== 'text' && box.querySelector('.nodata')) add(panel, 'no data', box.innerText);
    for (const grid of box.querySelectorAll('[role=grid]'))
      if (grid.scrollWidth > grid.clientWidth + 1) add(panel, 'columns out of sight', [...grid.querySelectorAll('[role=columnheader]')].map((one) => one.innerText).join(' '));
    for (const element of box.querySelectorAll('*'))
      if (element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).textOverflow === 'ellipsis' && element.innerText) add(panel, 'shortened', element.innerText);
    const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const text = node.textContent.trim(), range = document.createRange();
      range.selectNodeContents(node);
      const rects = [...range.getClientRects()].filter((rect) => rect.width > 1 && rect.height > 1);
      if (!text || !rects.length || !node.parentElement.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
      readable(panel, node.parentElement, text);
      for (const rect of rects) whole(panel, node.parentElement, rect, text);
    }
  }
  return [...new Map(found.map((one) => [JSON.stringify(one), one])).values()];
}

function stopClock(ms) {  // before any script of the page
  const Real = Date;
  window.Date = class extends Real { constructor(...given) { super(...(given.length ? given : [ms])); } static now() { return ms; } };
}

async function settled(page, width) {
  await page.waitForFunction((wanted) => window.look?.width === wanted && window.look.pending === 0, { timeout: LONGEST_MS, polling: 100 }, width);
  await page.evaluate((ms) => document.fonts.ready.then(() => new Promise((done) => setTimeout(done, ms))), DRAWN_MS);
}

const browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu', '--hide-scrollbars'] });
const answers = [];
let page, opened;
for (const { uid, theme, width, query = '', png } of jobs) {
  const address = `${base}/d/${uid}?theme=${theme}&${query}`;
  if (address !== opened) {
    await page?.close();
    page = await browser.newPage();
    await page.evaluateOnNewDocument(stopClock, now);
    await page.setViewport({ width, height: HEIGHT });
    await page.goto(address, { waitUntil: 'domcontentloaded' });
    opened = address;
    await settled(page, width);
  }
  // As high as the page, so that each table draws its rows.
  const height = await page.evaluate(() => Math.ceil(document.querySelector('main').getBoundingClientRect().bottom + 8));
  await page.setViewport({ width, height: Math.max(HEIGHT, height) });
  await settled(page, width);
  answers.push(await page.evaluate(findings));
  if (png) await page.screenshot({ path: png, captureBeyondViewport: false });
}
await browser.close();
console.log(JSON.stringify(answers));
