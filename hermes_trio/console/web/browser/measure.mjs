// Shows the live tree for a while and tells what it cost: node browser/measure.mjs URL SECONDS
//
// Prints JSON: the longest time for which the page's main thread was busy, how much its layout moved without
// having been asked to (the web's own measure, 0 is best), and the bytes that its websocket was sent.
import { chromium } from "playwright-core";

const [url, seconds] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const page = await browser.newPage({ viewport: { width: 1360, height: 820 } });
  let bytes = 0;
  page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => (bytes += payload.length)));
  await page.addInitScript(() => {
    window.tasks = [];
    window.shift = 0;
    new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "longtask", buffered: true });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  await page.goto(`${url}/console`);
  await page.locator("[role=treegrid] .row").nth(10).waitFor();
  await page.waitForTimeout(1000);
  // Loading a page is one long task, and not what is asked here.
  await page.evaluate(() => (window.tasks.length = window.shift = 0));
  bytes = 0;
  const began = Date.now();
  const list = page.locator("[role=treegrid]");
  await list.focus();
  while (Date.now() - began < Number(seconds) * 1000) {
    await page.keyboard.press("PageDown");
    await page.waitForTimeout(200);
  }
  const passed = (Date.now() - began) / 1000;
  const told = await page.evaluate(() => ({ longest_task_ms: Math.max(0, ...window.tasks), layout_shift: window.shift }));
  console.log(JSON.stringify({ ...told, bytes_per_s: bytes / passed }));
} finally {
  await browser.close();
}
