// Builds the page: `npm ci && npm run build` writes ../page, which is committed and shipped in the wheel.
// With `--check` nothing is written: it exits with 1 and names the files that differ from what is committed.
import { build } from "esbuild";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const page = path.join(here, "..", "page");
const isCheck = process.argv.includes("--check");

const result = await build({
  absWorkingDir: here,
  // The terminal and the player are large and seldom looked at: they are loaded when they are.
  entryPoints: { console: "src/main.ts", terminal: "src/parts/terminal.ts", player: "src/parts/player.ts", chart: "src/parts/chart.ts" },
  outdir: page,
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "eof",
  chunkNames: "shared-[hash]",
  write: false,
  logLevel: "warning",
});
const files = new Map(result.outputFiles.map((file) => [path.basename(file.path), file.contents]));
files.set("index.html", await readFile(path.join(here, "src", "index.html")));

if (isCheck) {
  const differing = [];
  for (const [name, contents] of files) {
    const there = await readFile(path.join(page, name)).catch(() => null);
    if (there === null || !there.equals(Buffer.from(contents))) differing.push(name);
  }
  for (const name of await readdir(page).catch(() => [])) if (!files.has(name)) differing.push(name);
  if (differing.length) {
    console.error(`not what the sources give: ${differing.join(", ")}; run npm run build`);
    process.exit(1);
  }
} else {
  await rm(page, { recursive: true, force: true });
  await mkdir(page, { recursive: true });
  for (const [name, contents] of files) await writeFile(path.join(page, name), contents);
  for (const [name, contents] of files) console.log(`${String(contents.length).padStart(8)}  ${name}`);
}
