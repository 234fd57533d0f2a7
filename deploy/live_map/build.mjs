// Makes service/live_map/openlayers.js, its licences and its hash from the packages of the lock file: `node build.mjs`.
// With --check it only says whether the files that are shipped are those.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const SHIPPED = new URL("../../service/live_map/", import.meta.url);
const { metafile, outputFiles } = await build({
  absWorkingDir: fileURLToPath(new URL(".", import.meta.url)),
  bundle: true,
  entryPoints: ["openlayers.js"],
  format: "esm",
  legalComments: "none",
  metafile: true,
  minify: true,
  write: false,
});
const code = outputFiles[0].text.trimEnd() + "\n";
const inputs = Object.keys(metafile.inputs).map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]);
const licences = [...new Set(inputs.filter(Boolean))].sort().map((name) => {
  const folder = new URL(`node_modules/${name}/`, import.meta.url);
  const { version, license } = JSON.parse(readFileSync(new URL("package.json", folder), "utf-8"));
  const own = readdirSync(folder).find((each) => /^licen[sc]e/i.test(each));
  const file = own ? new URL(own, folder) : new URL("protomaps.LICENSE.txt", import.meta.url); // both packages of Protomaps lack it
  if (!own && !/pmtiles$/.test(name)) throw new Error(`${name} has no file of its licence: add it`);
  const text = readFileSync(file, "utf-8").replaceAll("\r", "").trim();
  return `== ${name} ${version}: ${license} ==\n\n${text}\n`;
});
const sha256 = (content) => createHash("sha256").update(content).digest("hex");
const made = { "openlayers.js": code, "openlayers.LICENSE.txt": licences.join("\n") };
const sources = ["package-lock.json", "openlayers.js"];
const hashes = [
  ...Object.entries(made).map(([name, text]) => `${sha256(text)}  service/live_map/${name}`),
  ...sources.map((name) => `${sha256(readFileSync(new URL(name, import.meta.url)))}  deploy/live_map/${name}`),
];
const files = { ...made, "openlayers.sha256": hashes.join("\n") + "\n" };
const differing = Object.entries(files).filter(([name, text]) => {
  if (!process.argv.includes("--check")) writeFileSync(new URL(name, SHIPPED), text);
  return readFileSync(new URL(name, SHIPPED), "utf-8") !== text;
});
for (const [name] of differing)
  console.error(`service/live_map/${name} is not what the lock file gives: make live-map`);
process.exitCode = differing.length ? 1 : 0;
