// The kinds of panels: stat, table and lines by @grafana/ui; the state timeline is a stand-in.
import {
  DataFrame, dateTime, dateTimeFormat, formattedValueToString, getFieldDisplayName, getFieldDisplayValues, renderMarkdown,
} from '@grafana/data';
import { BigValue, BigValueTextMode, TimeSeries, useTheme2, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { GeoMap } from './geomap';
import { interpolate, Json } from './grafana';

const longest = (texts: string[]) => texts.reduce((one, other) => (other.length > one.length ? other : one), '');

export const NoData = ({ panel }: Json) => <div className="nodata">{panel.fieldConfig?.defaults?.noValue || 'No data'}</div>;

export const Words = ({ panel, vars, height }: Json) => {
  const html = renderMarkdown(interpolate(panel.options.content, vars));
  return <div className="markdown-html" style={{ overflow: 'auto', height }} dangerouslySetInnerHTML={{ __html: html }} />;
};

function Stat({ panel, result, width, height }: Json) {
  const theme = useTheme2(), options = panel.options;
  const values = getFieldDisplayValues({
    fieldConfig: panel.fieldConfig, reduceOptions: options.reduceOptions, replaceVariables: (text: string) => text, theme,
    data: result.series, timeZone: 'browser',
  });
  const factors = {
    title: longest(values.map((one) => one.display.title ?? '')),
    text: longest(values.map((one) => formattedValueToString(one.display))),
  };
  const textMode = options.textMode === 'auto' ? BigValueTextMode.Value : options.textMode;
  return <VizRepeater width={width} height={height} source={result} getValues={() => values} renderCounter={0} autoGrid
    orientation={options.orientation} getAlignmentFactors={() => factors as Json}
    renderValue={(one: Json) => <BigValue value={one.value.display} count={one.count} colorMode={options.colorMode}
      graphMode={options.graphMode} justifyMode={options.justifyMode} textMode={textMode} alignmentFactors={factors as Json}
      parentOrientation={one.orientation} width={one.width} height={one.height} theme={theme} wideLayout={options.wideLayout} />} />;
}

function Table({ panel, result, width, height }: Json) {
  const frame = result.series[0];
  return !frame?.length ? <NoData panel={panel} /> : <TableNG width={width} height={height} data={frame} structureRev={1} resizable
    noHeader={!panel.options.showHeader} cellHeight={panel.options.cellHeight} fieldConfig={panel.fieldConfig} />;
}

function Lines({ panel, result, width, height }: Json) {
  const range = { from: dateTime(result.range.from), to: dateTime(result.range.to), raw: result.range.raw };
  return <TimeSeries frames={result.series} structureRev={1} width={width} height={height} timeRange={range} timeZone="browser"
    legend={panel.options.legend} options={panel.options} />;
}

function Timeline({ result, width, height }: Json) {
  const theme = useTheme2(), frames = result.series as DataFrame[], { from, to } = result.range;
  const left = 70, bottom = 20, step = (height - bottom) / frames.length;
  const x = (ms: number) => left + ((ms - from) / (to - from)) * (width - left);
  const spans = frames.flatMap((frame, row) => {
    const [times, field] = [frame.fields[0].values, frame.fields[1]], found: Json[] = [];
    for (let start = 0, end = 0; start < times.length; start = end) {
      for (end = start + 1; end < times.length && field.values[end] === field.values[start];) end++;
      if (field.values[start] == null) continue;
      const shown = field.display!(field.values[start]), stop = end < times.length ? times[end] : to;
      found.push(<div key={`${row}.${start}`} style={{
        position: 'absolute', left: x(times[start]), width: Math.max(1, x(stop) - x(times[start])), top: (row + 0.1) * step, height: 0.8 * step,
        lineHeight: `${0.8 * step}px`, background: shown.color, color: theme.colors.getContrastText(shown.color!, 4.5), whiteSpace: 'nowrap',
      }}>{x(stop) - x(times[start]) > 9 * shown.text.length ? shown.text : ''}</div>);
    }
    return [<span key={row} style={{ position: 'absolute', top: (row + 0.5) * step - 10 }}>{getFieldDisplayName(field, frame, frames)}</span>, ...found];
  });
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => <span key={share} style={{ position: 'absolute', bottom: 0, left: Math.min(width - 40, left + share * (width - left)) }}>
    {dateTimeFormat(from + share * (to - from), { format: 'HH:mm' })}</span>);
  return <div style={{ position: 'relative', width, height, fontSize: 12 }}>{spans}{ticks}</div>;
}

export const KINDS: Json = { geomap: GeoMap, stat: Stat, 'state-timeline': Timeline, table: Table, timeseries: Lines };
