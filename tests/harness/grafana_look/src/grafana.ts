// From a panel's settings to fields that can be drawn: by @grafana/data; variables and intervals by hand.
import {
  applyFieldOverrides, cacheFieldDisplayNames, createTheme, dataLinksOverrideProcessor, DataFrame, dateMath, dateTime,
  displayNameOverrideProcessor, escapeRegex, FieldConfigOptionsRegistry, FieldType, identityOverrideProcessor,
  numberOverrideProcessor, rangeUtil, standardFieldConfigEditorRegistry, standardTransformers,
  standardTransformersRegistry, stringOverrideProcessor, thresholdsOverrideProcessor, toDataFrame, transformDataFrame,
  unitOverrideProcessor, valueMappingsOverrideProcessor,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

export type Json = any;
export interface Range { from: number; to: number; raw: { from: string; to: string } }
export interface Vars { [name: string]: { value: string | string[]; text: string; rows?: Json[] } }

const PROCESSORS: Json = {
  actions: identityOverrideProcessor, color: identityOverrideProcessor, decimals: numberOverrideProcessor,
  description: stringOverrideProcessor, displayName: displayNameOverrideProcessor, fieldMinMax: identityOverrideProcessor,
  filterable: identityOverrideProcessor, links: dataLinksOverrideProcessor, mappings: valueMappingsOverrideProcessor,
  max: numberOverrideProcessor, min: numberOverrideProcessor, noValue: stringOverrideProcessor,
  thresholds: thresholdsOverrideProcessor, unit: unitOverrideProcessor,
};
const NOT_ON_X = ['axisLabel', 'axisSoftMax'];  // Grafana gives these to no field of the x axis
const item = (id: string, path: string, process: Json, isCustom = false): Json => ({
  id, path, name: id, process, isCustom, override: () => null, editor: () => null,
  shouldApply: (field: Json) => !NOT_ON_X.includes(path) || (field.type !== FieldType.time && field.type !== FieldType.string),
});
const STANDARD = Object.entries(PROCESSORS).map(([id, process]) => item(id, id, process));
const TRANSFORMERS = [...new Map(Object.values(standardTransformers).map((one: Json) => [one.id, one])).values()];
standardFieldConfigEditorRegistry.setInit(() => STANDARD);
standardTransformersRegistry.setInit(
  () => TRANSFORMERS.map((one: Json) => ({ id: one.id, name: one.name, transformation: async () => one, editor: () => null })) as Json,
);

function registryFor(panel: Json) {
  const registry = new FieldConfigOptionsRegistry();
  const rules = (panel.fieldConfig?.overrides ?? []).flatMap((one: Json) => one.properties.map((rule: Json) => rule.id));
  const custom = Object.keys(panel.fieldConfig?.defaults?.custom ?? {}).map((name) => `custom.${name}`);
  for (const one of STANDARD) registry.register(one);
  for (const id of new Set<string>([...custom, ...rules.filter((rule: string) => rule.startsWith('custom.'))]))
    registry.register(item(id, id.slice('custom.'.length), identityOverrideProcessor, true));
  return registry;
}

const asRegex = (value: string | string[]) =>
  Array.isArray(value) && value.length > 1 ? `(${value.map(escapeRegex).join('|')})` : escapeRegex([value].flat()[0] ?? '');

export function interpolate(text: string, vars: Vars, range?: Range, row: Json = {}): string {
  return text.replace(/\$\{([\w.]+)(?::(\w+))?\}|\$(\w+)/g, (all, inBraces, format, bare) => {
    const name = inBraces ?? bare;
    if (name === '__to' || name === '__from') return String(range?.[name === '__to' ? 'to' : 'from']);
    if (name.startsWith('__data.fields.')) return String(row[name.slice('__data.fields.'.length)] ?? '');
    const [variable, property] = name.split('.'), found = vars[variable];
    if (!found) return all;
    const one = property && found.rows ? { ...found, value: found.rows.map((row) => row[property]) } : found;
    if (format === 'pipe') return [one.value].flat().join('|');
    if (format === 'regex') return asRegex(one.value);
    if (format === 'raw') return [one.value].flat().join(',');
    if (format === 'text') return one.text;
    return Array.isArray(one.value) && one.value.length > 1 ? `(${one.value.join('|')})` : String([one.value].flat()[0]);
  });
}

export const titleOf = (text: string, vars: Vars) =>
  text.replace(/\$\{?(\w+)\}?/g, (all, name) => (vars[name] ? vars[name].text : all));

export function rangeOf(raw: { from: string; to: string }): Range {
  const [from, to] = [dateMath.toDateTime(raw.from, { roundUp: false })!, dateMath.toDateTime(raw.to, { roundUp: true })!];
  return { from: from.valueOf(), to: to.valueOf(), raw };
}

export const post = async (path: string, body: Json) =>
  (await fetch(path, { method: 'POST', body: JSON.stringify(body) })).json();

export async function runPanel(panel: Json, vars: Vars, shown: Range, width: number, theme: Json) {
  const range = panel.timeFrom ? rangeOf({ from: `now-${panel.timeFrom}`, to: 'now' }) : shown;
  const moments = { from: dateTime(range.from), to: dateTime(range.to), raw: range.raw };
  const { intervalMs } = rangeUtil.calculateInterval(moments, panel.maxDataPoints ?? width, '60s');
  const queries = (panel.targets ?? []).map((one: Json) => ({ ...one, query: interpolate(one.query, vars, range) }));
  const answers = await post('/api/query', { queries, from: range.from, to: range.to, intervalMs });
  const errors = answers.filter((one: Json) => one.error).map((one: Json) => one.error);
  let frames: DataFrame[] = answers.flatMap((one: Json) => one.frames.map((frame: Json) => toDataFrame(frame)));
  const values = frames.flatMap((frame) => frame.fields.filter((field) => field.type !== FieldType.time))
    .reduce((sum, field) => sum + field.values.filter((value: Json) => value !== null && value !== undefined).length, 0);
  if (panel.transformations?.length)
    frames = await lastValueFrom(transformDataFrame(panel.transformations, frames, { interpolate: (text: string) => interpolate(text, vars, range) } as Json));
  const series = applyFieldOverrides({
    data: frames, fieldConfig: panel.fieldConfig, fieldConfigRegistry: registryFor(panel), theme, timeZone: 'browser',
    replaceVariables: (text: string, scoped?: Json) => interpolate(text, vars, range, scoped?.__rowFields),
  });
  cacheFieldDisplayNames(series);
  return { series, errors, range, values };
}

export const makeTheme = (mode: string) => createTheme({ colors: { mode: mode as Json } });
