// Drives the page in a real browser against a real server: node browser/drive.mjs URL [options]
//
// Options, all as NAME=VALUE: token, chromium, screenshots (a folder), trajectory (with a call that can be
// cancelled), terminal (a trajectory to attach to), cast (a recording to play). Prints one JSON object: what was
// seen. Exits with 1 when something was not as it has to be, and says what.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { chromium } from "playwright-core";

const [url, ...words] = process.argv.slice(2);
const options = Object.fromEntries(words.map((word) => [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]));
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const seen = { faults: [], serious: [] };
const WAIT_MS = 30_000;

function check(isSo, what) {
  if (!isSo) throw new Error(what);
}

async function shoot(page, name) {
  if (options.screenshots) await page.screenshot({ path: path.join(options.screenshots, `${name}.png`), animations: "disabled" });
}

async function show(page, view, argument = "") {
  await page.evaluate((hash) => (location.hash = hash), `/${view}${argument ? `/${encodeURIComponent(argument)}` : ""}`);
  await page.locator("nav a[aria-current]").waitFor();
}

/** Serious and critical violations of the accessibility rules in what is shown now. */
async function auditAccessibility(page, where) {
  // By the debugging protocol: the page's own policy lets in no script but its own.
  const violations = await page.evaluate(`(async () => {
    const found = await axe.run(document, { resultTypes: ["violations"] });
    return found.violations
      .filter((each) => each.impact === "serious" || each.impact === "critical")
      .map((each) => each.id + ": " + each.nodes.map((node) => node.target.join(" ")).slice(0, 3).join(", "));
  })()`);
  for (const violation of violations) seen.serious.push(`${where}: ${violation}`);
}

async function passTheDoor(page) {
  if (!options.token) return;
  const dialog = page.locator("dialog.token");
  await dialog.waitFor();
  await dialog.locator("input").fill("not-the-token");
  await dialog.getByRole("button", { name: "Connect" }).click();
  await page.getByText("The token was refused.").waitFor();
  await shoot(page, "token");
  await auditAccessibility(page, "token");
  await page.locator("dialog.token input").fill(options.token);
  await page.locator("dialog.token").getByRole("button", { name: "Connect" }).click();
}

async function watchTheTree(page) {
  const list = page.getByRole("treegrid", { name: "Live tree" });
  await list.getByRole("row").nth(3).waitFor();
  const before = await list.innerText();
  await page.waitForFunction((text) => document.querySelector("[role=treegrid]").innerText !== text, before, { timeout: WAIT_MS });
  seen.tree_changes = true;
}

async function openTheVictim(page) {
  await show(page, "tree", options.trajectory);
  await page.getByRole("button", { name: "Cancel call" }).waitFor();
  await page.locator(".kind-process").first().waitFor({ timeout: WAIT_MS });
  seen.levels = await page.locator("[role=treegrid] .row:not([hidden])").evaluateAll((rows) => {
    const at = rows.findIndex((row) => row.getAttribute("aria-selected") === "true");
    return rows.slice(at, at + 6).map((row) => row.querySelector(".kind").textContent);
  });
  seen.pid = await page.locator(".kind-process + .name").first().innerText();
  await page.getByRole("button", { name: "Stack" }).click();
  await page.waitForFunction(() => document.querySelector(".stack")?.textContent.length > 80, null, { timeout: WAIT_MS });
  seen.stack = await page.locator(".stack").innerText();
  await shoot(page, "tree");
  await auditAccessibility(page, "tree");
}

async function goByKeyboard(page) {
  await page.locator("body").press("1");
  const list = page.getByRole("treegrid", { name: "Live tree" });
  await list.focus();
  // A trajectory may end between two keys, and its row is gone with it.
  for (let attempt = 0; attempt < 5 && !seen.keyboard; attempt++) {
    for (const key of ["Home", "ArrowDown", "ArrowRight", "Enter"]) await page.keyboard.press(key);
    const opened = page.waitForFunction(() => location.hash.startsWith("#/waterfall/"), null, { timeout: WAIT_MS / 10 });
    seen.keyboard = await opened.then(() => true, () => false);
  }
  check(seen.keyboard, "Enter on a row of the tree opens no waterfall");
}

async function openTheWaterfall(page, trajectory) {
  await show(page, "waterfall", trajectory);
  await page.locator(".track .phase-running").first().waitFor({ timeout: WAIT_MS });
  seen.bars = await page.locator(".track .phase").count();
  await page.getByRole("grid", { name: "Calls by phase" }).locator(".row:not([hidden])").nth(1).click();
  await page.getByLabel("Time shown").selectOption("60");
  const hash = await page.evaluate(() => location.hash);
  check(/^#\/waterfall\/.+\?call=\d+&last=60$/.test(hash), `no permalink: ${hash}`);
  await page.getByLabel("Time shown").selectOption("0");
  await shoot(page, "waterfall");
  await auditAccessibility(page, "waterfall");
}

async function cancelTheCall(page) {
  await show(page, "tree", options.trajectory);
  await page.getByRole("button", { name: "Cancel call" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  await shoot(page, "cancel");
  await auditAccessibility(page, "cancel");
  await dialog.getByRole("button", { name: "Cancel the call" }).click();
  await page.getByText("is being cancelled").waitFor();
  seen.cancelled = true;
}

async function lookAround(page) {
  await show(page, "slots");
  await page.locator(".tile[data-owner]:not([data-owner=''])").first().waitFor();
  seen.tiles = await page.locator(".tile").count();
  await shoot(page, "slots");
  await auditAccessibility(page, "slots");
  await show(page, "latency");
  await page.locator("canvas").first().waitFor();
  await page.locator("table.figures tbody tr").nth(2).waitFor();
  await page.waitForTimeout(1500);
  await shoot(page, "latency");
  await auditAccessibility(page, "latency");
  await show(page, "wire");
  await page.getByRole("grid", { name: "Frames" }).locator(".row").nth(4).waitFor({ timeout: WAIT_MS });
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("grid", { name: "Frames" }).locator(".row:not([hidden])").nth(3).click();
  await page.waitForFunction(() => document.querySelector(".decoded").textContent.startsWith("{"));
  await shoot(page, "wire");
  await auditAccessibility(page, "wire");
  await page.getByRole("button", { name: "Go on" }).click();
  await show(page, "events");
  await page.getByRole("grid", { name: "Events" }).locator(".row").nth(4).waitFor({ timeout: WAIT_MS });
  seen.audit = await page.evaluate(() => document.body.innerText.includes("cancel_call"));
  await shoot(page, "events");
  await auditAccessibility(page, "events");
}

async function typeInTheTerminal(page) {
  if (!options.terminal) return;
  await show(page, "terminal", options.terminal);
  await page.getByText(`watching ${options.terminal}`).waitFor({ timeout: WAIT_MS });
  await page.locator(".xterm-screen").click();
  await page.keyboard.type("echo ignored-$((1+1))\n");
  await page.getByLabel("type here").check();
  await page.getByText(`typing into ${options.terminal}`).waitFor();
  await page.keyboard.type("echo typed-$((20+22))\n");
  await page.locator(".xterm-rows").filter({ hasText: "typed-42" }).waitFor({ timeout: WAIT_MS });
  seen.typed = await page.locator(".xterm-rows").innerText();
  check(!seen.typed.includes("ignored-2"), "keys reached a terminal that was only watched");
  await shoot(page, "terminal");
  await auditAccessibility(page, "terminal");
  await page.getByRole("button", { name: "Detach" }).click();
  await show(page, "replay");
  const recordings = page.getByRole("grid", { name: "Recordings" });
  // The slot's own terminal, as its daemon has recorded it; then what was seen from here.
  for (const origin of ["main", "console"]) {
    await recordings.locator(".row:not([hidden])").filter({ hasText: options.terminal }).filter({ hasText: origin }).first().click();
    await page.waitForFunction(() => /^#\/replay\/(slot|console)-\d+$/.test(location.hash));
    await replayed(page);
  }
}

async function playARecording(page) {
  if (!options.cast) return;
  await show(page, "replay");
  await page.locator("input[type=file]").setInputFiles(options.cast);
  await replayed(page);
}

async function replayed(page) {
  const player = page.locator(".player");
  await player.locator(".ap-player").waitFor({ timeout: WAIT_MS });
  await player.locator(".ap-player").click();
  await player.locator(".ap-progressbar .ap-bar").waitFor({ state: "attached" });
  await page.waitForFunction(() => document.querySelector(".player .ap-term")?.textContent.includes("typed-42") ?? false, null, { timeout: WAIT_MS });
  seen.replayed = true;
  await page.waitForTimeout(300);
  await shoot(page, "replay");
  await auditAccessibility(page, "replay");
}

/** Records what is alive for a while, goes back and forth in it, and returns to what is live. */
async function recordTheState(page) {
  await show(page, "tree");
  await page.getByRole("button", { name: "Record", exact: true }).click();
  await page.waitForTimeout(4000);
  await page.getByRole("button", { name: "Stop recording" }).click();
  const moment = page.getByLabel("Moment of the recording");
  await moment.waitFor();
  const shownAt = async (share) => {
    await moment.evaluate((input, at) => {
      input.value = String(at * Number(input.max));
      input.dispatchEvent(new Event("input"));
    }, share);
    await page.locator('[aria-label="Recorded state"][aria-busy=false]').waitFor();
    return page.locator("[role=treegrid][aria-busy=false]").innerText();
  };
  const [first, last, again] = [await shownAt(0), await shownAt(1), await shownAt(0)];
  check(first !== last, "the recorded state does not change");
  check(first === again, "a moment of the recording is not always the same");
  await shoot(page, "recorded");
  await auditAccessibility(page, "recorded");
  await page.getByRole("button", { name: "Play" }).click();
  await page.getByRole("button", { name: "Pause" }).waitFor();
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save the recording" }).click()]);
  await page.getByRole("button", { name: "Back to what is live" }).click();
  await moment.waitFor({ state: "detached" });
  await show(page, "replay");
  await page.locator("input[type=file]").setInputFiles({ name: "session.json", mimeType: "application/json", buffer: readFileSync(await file.path()) });
  await moment.waitFor();
  check((await shownAt(0)) === first, "the saved recording is another one");
  await page.getByRole("button", { name: "Back to what is live" }).click();
  await show(page, "replay");
  await page.locator("input[type=file]").setInputFiles({ name: "x.json", mimeType: "application/json", buffer: Buffer.from('{"ticks": 1}') });
  await page.getByText("x.json: It is no recording of a console.").waitFor();
  seen.recorded = true;
}

async function inTheLight(page) {
  await page.emulateMedia({ colorScheme: "light" });
  for (const view of ["tree", "slots", "latency", "events"]) {
    await show(page, view);
    await page.waitForTimeout(400);
    await auditAccessibility(page, `${view}, light`);
    if (view === "tree" || view === "slots") await shoot(page, `${view}-light`);
  }
  await page.emulateMedia({ colorScheme: "dark" });
}

async function main() {
  const browser = await chromium.launch({ executablePath: options.chromium || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  try {
    const context = await browser.newContext({ viewport: { width: 1360, height: 820 }, colorScheme: "dark" });
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    page.on("console", (message) => message.type() === "error" && seen.faults.push(message.text()));
    page.on("pageerror", (error) => seen.faults.push(String(error)));
    const sockets = [];
    page.on("websocket", (socket) => sockets.push(socket.url()));
    // Init scripts come by the debugging protocol, which the page's policy does not bind.
    await page.addInitScript(axeSource);
    await page.addInitScript(() => {
      window.longest = 0;
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
      }).observe({ type: "longtask", buffered: true });
      window.shift = 0;
      window.shifted = [];
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
          if (entry.hadRecentInput) continue;
          window.shift += entry.value;
          const nodes = entry.sources.map(({ node }) => (node instanceof Element ? node : node?.parentElement)?.outerHTML.slice(0, 90));
          window.shifted.push(`${entry.value.toFixed(4)} in ${location.hash}: ${nodes.join(" and ")}`);
        }
      }).observe({ type: "layout-shift", buffered: true });
    });
    await page.goto(`${url}/console`);
    await passTheDoor(page);
    await page.getByText("live", { exact: true }).waitFor();
    await watchTheTree(page);
    if (options.trajectory) {
      await openTheVictim(page);
      await openTheWaterfall(page, options.trajectory);
      await cancelTheCall(page);
    }
    await goByKeyboard(page);
    await lookAround(page);
    await typeInTheTerminal(page);
    await playARecording(page);
    await recordTheState(page);
    await inTheLight(page);
    seen.layout_shift = await page.evaluate(() => window.shift);
    check(seen.layout_shift < 0.05, `what is shown jumps: ${seen.layout_shift}: ${(await page.evaluate(() => window.shifted)).join("; ")}`);
    const text = await page.content();
    check(!options.token || !text.includes(options.token), "the token is in the page");
    check(!options.token || sockets.every((each) => !each.includes(options.token)), "the token is in an address");
    check(seen.serious.length === 0, `not accessible: ${seen.serious.join("; ")}`);
    const faults = seen.faults.filter((fault) => !fault.includes("4401"));
    check(faults.length === 0, `the browser complains: ${faults.join("; ")}`);
  } catch (error) {
    seen.failed = String(error?.message ?? error);
    process.exitCode = 1;
    const page = browser.contexts()[0]?.pages()[0];
    if (page && options.screenshots) await page.screenshot({ path: path.join(options.screenshots, "failed.png") });
  } finally {
    console.log(JSON.stringify(seen));
    await browser.close();
  }
}

await main();
