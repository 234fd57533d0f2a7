// A page of panels as Grafana lays them out. The frame about them is a stand-in: it is not Grafana's.
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import '@fontsource/inter/600.css';
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { ThemeContext } from '@grafana/data';
import { GlobalStyles, PanelChrome, useTheme2 } from '@grafana/ui';
import { interpolate, Json, makeTheme, post, Range, rangeOf, runPanel, titleOf, Vars } from './grafana';
import { KINDS, NoData, Words } from './panels';

const ROW_PX = 38, GAP_PX = 8, MARGIN_PX = 16;
const asked = new URLSearchParams(location.search);
const look = ((window as Json).look = { pending: 0, width: 0 });  // panels without their answer, and the width laid out

function PanelBox({ panel, vars, shown, box }: Json) {
  const theme = useTheme2(), [result, setResult] = useState<Json>(null), isText = panel.type === 'text';
  useEffect(() => {
    if (isText) return;
    look.pending++;
    runPanel(panel, vars, shown, box.width, theme)
      .catch((error) => ({ series: [], errors: [String(error)], range: shown, values: 0 }))
      .then(setResult).finally(() => look.pending--);
  }, [vars, box.width]);
  const Kind = KINDS[panel.type];
  const draw = (width: number, height: number) =>
    isText ? <Words panel={panel} vars={vars} height={height} />
      : !result ? null
        : result.series.length || panel.type === 'stat' || panel.type === 'geomap' ? <Kind {...{ panel, result, width, height, vars }} /> : <NoData panel={panel} />;
  return <div style={{ position: 'absolute', ...box }} data-panel={panel.title} data-kind={panel.type}
    data-values={isText ? undefined : result?.values} data-errors={result?.errors.join('; ')}>
    <PanelChrome title={titleOf(panel.title, vars)} description={panel.description} width={box.width} height={box.height}>{draw}</PanelChrome>
  </div>;
}

async function choose(one: Json, vars: Vars): Promise<string[][]> {
  if (one.type === 'query') {
    const found: string[] = (await post('/api/values', { query: interpolate(one.query, vars) })).map(String);
    return found.sort((a, b) => a.localeCompare(b, undefined, { numeric: true })).map((value) => [value, value]);
  }
  if (one.type !== 'custom') return [[one.query, one.query]];
  if (one.valuesFormat === 'json') return JSON.parse(one.query).map((row: Json) => [row.text, row.value]);
  return one.query.split(/(?<!\\),\s*/).map((choice: string) => {
    const [text, value] = choice.trim().replaceAll('\\,', ',').split(/\s+:\s+/);
    return [text, value ?? text];
  });
}

const rowsOf = (one: Json, wanted: string[]) =>
  one.valuesFormat === 'json' ? JSON.parse(one.query).filter((row: Json) => wanted.includes(row.value)) : undefined;

async function loadVars(dashboard: Json) {
  const vars: Vars = {};
  for (const one of dashboard.templating.list) {
    const choices = await choose(one, vars), wanted = asked.getAll(`var-${one.name}`);
    if (one.multi) {
      const all = wanted.length ? wanted : one.allValue ? [one.allValue] : choices.map(([, value]) => value);
      vars[one.name] = { value: all, text: wanted.length ? wanted.join(' + ') : 'All', rows: wanted.length ? rowsOf(one, wanted) : undefined };
    } else {
      const by = (values: string[]) => choices.find(([, value]) => values.includes(value));
      const [text, value] = by(wanted) ?? by([one.current?.value]) ?? choices[0] ?? ['', ''];
      vars[one.name] = { value, text, rows: rowsOf(one, [value]) };
    }
  }
  return vars;
}

function forgetOldThresholds(dashboard: Json) {  // as Grafana does when it reads a file
  JSON.stringify(dashboard, (key, value) => {
    if (key === 'steps') for (const step of value) step.value ??= -Infinity;
    return value;
  });
}

function App() {
  const theme = useTheme2(), [page, setPage] = useState<Json>(null), [screen, setScreen] = useState(window.innerWidth);
  useEffect(() => {
    const uid = location.pathname.split('/')[2];
    fetch(`/api/dashboards/${uid}`).then((answer) => answer.json()).then(async (dashboard) => {
      forgetOldThresholds(dashboard);
      setPage({ dashboard, vars: await loadVars(dashboard), shown: rangeOf(dashboard.time) });
    });
    window.addEventListener('resize', () => setScreen(window.innerWidth));
  }, []);
  useEffect(() => { look.width = page ? screen : 0; }, [page, screen]);  // after the panels have asked
  if (!page) return null;
  const { dashboard, vars, shown } = page as { dashboard: Json; vars: Vars; shown: Range };
  const column = (screen - 2 * MARGIN_PX + GAP_PX) / 24;
  const bottom = Math.max(...dashboard.panels.map((one: Json) => one.gridPos.y + one.gridPos.h)) * ROW_PX;
  const box = ({ x, y, w, h }: Json) => ({ left: x * column, top: y * ROW_PX, width: w * column - GAP_PX, height: h * ROW_PX - GAP_PX });
  const style = `
    body { background: ${theme.colors.background.canvas}; color: ${theme.colors.text.primary} }
    .nodata { display: flex; height: 100%; align-items: center; justify-content: center; color: ${theme.colors.text.secondary} }
    header { display: flex; gap: 12px; flex-wrap: wrap; align-items: center; padding: 8px ${MARGIN_PX}px; font-size: 12px;
             background: ${theme.colors.background.primary}; border-bottom: 1px solid ${theme.colors.border.weak} }
    header b { font-size: 16px } header small { margin-left: auto; color: ${theme.colors.text.secondary} }`;
  return <>
    <GlobalStyles /><style>{style}</style>
    <header><b>{dashboard.title}</b>
      {dashboard.templating.list.filter((one: Json) => one.hide !== 2).map((one: Json) => <span key={one.name}>{one.label}: {vars[one.name].text}</span>)}
      <small>Drawn by Grafana's components (@grafana/ui 13.2.3); this frame and maps are stand-ins. Grafana itself was not run.</small></header>
    <main style={{ position: 'relative', margin: `${GAP_PX}px ${MARGIN_PX}px`, height: bottom }}>
      {dashboard.panels.map((one: Json) => <PanelBox key={one.id} panel={one} vars={vars} shown={shown} box={box(one.gridPos)} />)}
    </main></>;
}

const theme = makeTheme(asked.get('theme') ?? 'dark');
(window as Json).grafanaBootData = { settings: { buildInfo: {}, featureToggles: {} }, user: {} };
createRoot(document.getElementById('root')!).render(<ThemeContext.Provider value={theme}><App /></ThemeContext.Provider>);
