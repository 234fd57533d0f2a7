// What the live map's modules give to one another; the service's answers are described in docs/reference/openapi.json.
interface Place {
  lat: number;
  lon: number;
}
interface Named extends Place {
  name: string;
  lines?: number[][][];
}
interface Spot extends Place {
  cell: number;
  name?: string;
}
/** A part of a cell. share: of what is expected in the cell. */
interface Square extends Place {
  cell: number;
  expected: number;
  share: number;
  metres: number;
}
interface Grid {
  rows: number;
  cols: number;
  south_deg: number;
  west_deg: number;
  cell_lat_deg: number;
  cell_lon_deg: number;
  cell_m: number;
}
/** Of a cell, a category and a horizon. */
interface Row {
  expected: number;
  usual: number;
  risk: number;
  low?: number;
  high?: number;
  observed_1h: number;
  support: "ok" | "sparse" | "no_history";
  squares?: number[]; // expected in each, from the south-west row by row
  category?: string;
  horizon?: string;
  factors?: { says: string; factor: number }[] | null;
}
/** With more incidents than usual. */
interface Unusual {
  category: string;
  cells: string[];
  above?: string[];
  area?: string | null;
  areas?: string[];
  hours: number;
  observed: number;
  usual: number;
  more: number;
  once_in_days: number;
  of_categories?: Record<string, number>;
}
interface Decision {
  what: string;
  category: string;
  first: string;
  last: string;
  reason: string;
  by: string;
  until: string;
  observed?: number;
}
interface Silence {
  category: string;
  since: string;
  until?: string | null;
  observed: number;
  usual: number;
}
interface Surge {
  category: string;
  factors: Record<string, number>;
  observed: number;
  usual: number;
}
/** Of the last day. at: its beginning; observed: in the hour before; why: it has no frame. */
interface Hour {
  at: string;
  as_of: string | null;
  why: string | null;
  observed: number | null;
  usual: number | null;
  low: number | null;
  high: number | null;
}
/** What current.js judges. */
interface Facts {
  digest?: string;
  region: string;
  model: string;
  timezone: string;
  as_of_s: number;
  scored_s: number;
  silent_s: number;
  stale: boolean;
  stale_after_s: number;
  tick_s: number;
  isReplay: boolean;
  isEnded?: boolean;
  behind_s?: number;
  shows?: string;
  category: string;
  measure?: string;
  silent?: Silence[];
  surges?: Surge[];
  signed_in_until_s: number;
  baseline_only?: boolean;
  expired?: string | null;
  change?: { since: string; says: string } | null;
  waiting?: number;
  past?: Hour | null;
}
interface Reach {
  units: Place[];
  bare: number[];
}
/** All that the page shows at a time. */
interface Picture {
  region: string;
  category: string;
  horizon: string;
  area: string;
  as_of_s: number;
  timezone: string;
  grid: Grid;
  rows: Map<number, Row>; // of each cell on record
  active: Set<number>; // the cells on record
  inside: Set<number> | null; // those of the chosen area
  places: Unusual[];
  more?: Map<number, number>;
  least_days: number;
  past: Hour | null;
  decisions: Decision[];
  may_decide: boolean;
  areas: (Row & { area: string })[];
  total: { name: string; expected: number; usual: number; observed_1h: number };
  outlines: any[];
  land: any[];
  names: Named[];
  stations: Named[]; // of units
  reach: Reach | null;
  silent?: Silence[];
  surges?: Surge[];
  digest?: string;
  stale?: boolean;
  facts(now_s: number): Facts;
  scoresOf(cell: number): Row[] | null; // of every category, where they are at hand
  decide(decision: object): Promise<void>;
}
/** What is shown of a cell: by which measure, its value, and the unusual places around it; null where nobody asks for them. */
interface Shown {
  measure: string;
  score: number;
  places: Unusual[] | null;
  caption?: string;
}
