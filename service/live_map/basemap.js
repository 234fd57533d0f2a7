// The map below the cells, where the service was given one: tiles of an address, a WMS, or one file of PMTiles.
import * as ol from "./openlayers.js";

/** @type {{ kind: "xyz" | "wms" | "raster" | "vector", url: string, credit: string } | null} */
const given = JSON.parse(globalThis.document?.getElementById?.("basemap")?.textContent ?? "null");
export const baseCredit = given?.credit ?? "";
const SOURCES = {
  xyz: (url) => new ol.XYZ({ url }),
  wms: (url) => {
    const { origin, pathname, searchParams } = new URL(url);
    return new ol.TileWMS({
      url: origin + pathname,
      params: Object.fromEntries([...searchParams].map(([name, value]) => [name.toUpperCase(), value])),
    });
  },
  raster: (url) => new ol.PMTilesRasterSource({ url }),
};

/** What the usual layers of vector tiles are: of Protomaps, OpenMapTiles and Shortbread. */
function styleOf(feature, ink, rem) {
  const [layer, kind] = [feature.get("layer"), `${feature.get("kind") ?? feature.get("class") ?? ""}`];
  const name = feature.get("name");
  const font = `500 ${10 * rem}px system-ui, sans-serif`;
  const text = () =>
    new ol.Text({
      text: name,
      font,
      fill: new ol.Fill({ color: ink.quiet }),
      stroke: new ol.Stroke({ color: ink.halo, width: 3 }),
    });
  if (/^(water|ocean|waterway)/.test(layer) && !/label|name/.test(layer))
    return new ol.Style({
      fill: new ol.Fill({ color: ink.water }),
      stroke: new ol.Stroke({ color: ink.water, width: 1 }),
    });
  if (/^(land(use|cover)|park)/.test(layer) && /park|forest|wood|grass|green|nature|cemetery/.test(kind))
    return new ol.Style({ fill: new ol.Fill({ color: ink.park }) });
  if (/^(roads|streets|transportation)$/.test(layer))
    return new ol.Style({
      stroke: new ol.Stroke({ color: ink.line, width: /major|highway|motorway|primary|trunk/.test(kind) ? 2 : 1 }),
    });
  if (/^places?(_labels)?$/.test(layer) && name) return new ol.Style({ text: text() });
  return undefined;
}

/** The layer, or none. look: the inks of the theme and the size of letters, as they are when it is drawn. */
export function baseLayers(look) {
  if (!given) return [];
  if (given.kind !== "vector")
    return [new ol.TileLayer({ className: "basemap", source: SOURCES[given.kind](given.url) })];
  const source = new ol.PMTilesVectorSource({ url: given.url });
  const style = (feature) => styleOf(feature, look.ink, look.rem());
  return [new ol.VectorTileLayer({ className: "ground", declutter: true, source, style })];
}
