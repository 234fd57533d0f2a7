// Bundles the page that draws the dashboards, and copies the icons that @grafana/ui loads by address.
import fs from 'node:fs';
import * as esbuild from 'esbuild';

await esbuild.build({
  entryPoints: ['src/main.tsx'], outdir: 'dist', bundle: true, splitting: true, format: 'esm', jsx: 'automatic',
  loader: { '.woff': 'file', '.woff2': 'file', '.ttf': 'file', '.svg': 'dataurl' }, publicPath: '/build',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' }, logLevel: 'warning',
});
fs.cpSync('node_modules/@grafana/ui/dist/public', 'dist/public/build', { recursive: true });
