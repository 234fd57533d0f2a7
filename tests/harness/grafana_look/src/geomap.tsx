// A stand-in for Grafana's map, on OpenLayers as Grafana has it: outlines from a file, markers at a geohash, polygons by id.
import 'ol/ol.css';
import { useEffect, useRef } from 'react';
import Feature from 'ol/Feature';
import GeoJSON from 'ol/format/GeoJSON';
import Point from 'ol/geom/Point';
import TileLayer from 'ol/layer/Tile';
import VectorLayer from 'ol/layer/Vector';
import OlMap from 'ol/Map';
import { fromLonLat } from 'ol/proj';
import VectorSource from 'ol/source/Vector';
import XYZ from 'ol/source/XYZ';
import { Circle, Fill, RegularShape, Stroke, Style, Text } from 'ol/style';
import View from 'ol/View';
import { formattedValueToString } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';
import { interpolate, Json } from './grafana';

const DIGITS = '0123456789bcdefghjkmnpqrstuvwxyz';

function centreOf(geohash: string) {
  const lat = [-90, 90], lon = [-180, 180];
  for (let bit = 0; bit < 5 * geohash.length; bit++) {
    const one = bit % 2 ? lat : lon, isUpper = (DIGITS.indexOf(geohash[Math.floor(bit / 5)]) >> (4 - (bit % 5))) & 1;
    one[isUpper ? 0 : 1] = (one[0] + one[1]) / 2;
  }
  return fromLonLat([(lon[0] + lon[1]) / 2, (lat[0] + lat[1]) / 2]);
}

const faded = (color: string, opacity = 1) =>
  opacity === 0 ? 'transparent' : opacity < 1 && color.startsWith('#') ? `${color.slice(0, 7)}${Math.round(255 * opacity).toString(16).padStart(2, '0')}` : color;
const fieldOf = (frame: Json, name: string) => frame?.fields.find((one: Json) => one.name === name);
const colorOf = (field: Json, row: number) => field.display(field.values[row]).color;

function outlines(config: Json, vars: Json) {
  const { color, opacity, lineWidth } = config.style, stroke = new Stroke({ color: color.fixed, width: lineWidth ?? 1 });
  const ofFile = (feature: Json) => {  // a feature may bring its own colours, as Grafana's layer allows
    const own = feature.getProperties();
    return new Style({
      fill: new Fill({ color: faded(own.fill ?? color.fixed, own['fill-opacity'] ?? opacity) }),
      stroke: own.stroke ? new Stroke({ color: own.stroke, width: own['stroke-width'] ?? lineWidth }) : stroke,
    });
  };
  const source = new VectorSource({ url: interpolate(config.src, vars), format: new GeoJSON() });
  return new VectorLayer({ source, style: ofFile });
}

function markers(config: Json, location: Json, frame: Json, theme: Json) {
  const source = new VectorSource(), { color, opacity, size, symbol, lineWidth, text, textConfig } = config.style;
  const shade = fieldOf(frame, color.field), words = fieldOf(frame, text?.field), named = theme.visualization.getColorByName(color.fixed);
  (fieldOf(frame, location.geohash)?.values ?? []).forEach((geohash: string, row: number) => {
    const feature = new Feature(new Point(centreOf(geohash))), ofRow = shade ? colorOf(shade, row) : named;
    const fill = new Fill({ color: faded(ofRow, opacity) }), stroke = new Stroke({ color: ofRow, width: lineWidth ?? 1 });
    const square = { points: 4, angle: Math.PI / 4, radius: 1.41 * size.fixed, fill };
    const image = symbol.fixed.endsWith('circle.svg') ? new Circle({ radius: size.fixed, fill, stroke }) : new RegularShape(square);
    const said = words ? formattedValueToString(words.display(words.values[row])) : text?.fixed;
    const label = text && new Text({ text: said, fill: new Fill({ color: ofRow }), font: `normal ${textConfig.fontSize}px Inter`, ...textConfig });
    feature.setStyle(new Style({ text: label, image }));
    source.addFeature(feature);
  });
  return new VectorLayer({ source });
}

function polygons(layer: Json, frame: Json, vars: Json) {
  const { src, idField, dataStyle } = layer.config, ids = fieldOf(frame, idField), shade = fieldOf(frame, dataStyle.color.field);
  const rows = new Map<string, number>((ids?.values ?? []).map((id: string, row: number) => [String(id), row]));
  const style = (feature: Json) => {
    const row = rows.get(String(feature.getId()));
    return row === undefined ? undefined : new Style({ fill: new Fill({ color: faded(colorOf(shade, row), dataStyle.opacity) }) });
  };
  const source = new VectorSource({ url: interpolate(src, vars), format: new GeoJSON() });
  return new VectorLayer({ source, opacity: layer.opacity ?? 1, style });
}

function layerOf(layer: Json, series: Json[], vars: Json, theme: Json) {
  if (layer.type === 'xyz') return new TileLayer({ source: new XYZ({ url: layer.config.url, transition: 0 }) });
  const wanted = layer.filterData?.options, frame = wanted ? series.find((one) => one.refId === wanted) : series[0];
  if (layer.type === 'geojson') return outlines(layer.config, vars);
  if (layer.type === 'markers') return markers(layer.config, layer.location, frame, theme);
  return layer.type === 'dynamic-geojson' ? polygons(layer, frame, vars) : null;
}

export function GeoMap({ panel, result, width, height, vars }: Json) {
  const element = useRef<HTMLDivElement>(null), theme = useTheme2(), { view, basemap, layers } = panel.options;
  useEffect(() => {
    const drawn = [basemap, ...layers].map((one: Json) => layerOf(one, result.series, vars, theme)).filter(Boolean);
    const map = new OlMap({
      target: element.current!, layers: drawn, controls: [],
      view: new View({ center: fromLonLat([view.lon, view.lat]), zoom: view.zoom }),
    });
    return () => map.setTarget(undefined);
  }, [result, width, height]);
  return <div ref={element} style={{ width, height }} />;
}
