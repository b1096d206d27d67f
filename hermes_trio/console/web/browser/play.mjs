// Plays a recording to its end in asciinema's own player, as it is published: node browser/play.mjs FILE [chromium=PATH]
//
// Prints one JSON object: the lines of the screen at the end, how long the player says the recording is, and what
// the page complained of. Exits with 1 when the player could not play it, and says why.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [file, ...words] = process.argv.slice(2);
const options = Object.fromEntries(words.map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]));
const { resolve } = createRequire(import.meta.url);
const dist = new URL("bundle/", `file://${resolve("asciinema-player")}`).pathname;
const WAIT_MS = 20_000;

/** Runs in the page. Idle time is cut and speed is up: the order of the output is what is looked at. */
function play(recording) {
  const holder = document.querySelector("#player");
  const player = AsciinemaPlayer.create({ data: recording }, holder, { autoPlay: true, speed: 20, idleTimeLimit: 0.5 });
  return new Promise((done, failed) => {
    player.addEventListener("error", (told) => failed(new Error(`the player: ${JSON.stringify(told)}`)));
    player.addEventListener("ended", async () => {
      await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
      const lines = [...holder.querySelectorAll(".ap-line")].map((line) => line.textContent.trimEnd());
      done({ lines, duration_s: await player.getDuration() });
    });
  });
}

async function main() {
  const browser = await chromium.launch({ executablePath: options.chromium || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  try {
    const page = await browser.newPage();
    const faults = [];
    page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
    page.on("pageerror", (error) => faults.push(String(error)));
    await page.setContent('<div id="player"></div>');
    await page.addStyleTag({ path: `${dist}asciinema-player.css` });
    await page.addScriptTag({ path: `${dist}asciinema-player.min.js` });
    const late = new Promise((_, failed) => setTimeout(() => failed(new Error(`not played to its end in ${WAIT_MS} ms`)), WAIT_MS));
    const seen = await Promise.race([page.evaluate(play, readFileSync(file, "utf8")), late]);
    return { ...seen, faults };
  } finally {
    await browser.close();
  }
}

try {
  console.log(JSON.stringify(await main()));
  process.exit(0);
} catch (error) {
  console.log(JSON.stringify({ failed: String(error) }));
  process.exit(1);
}
