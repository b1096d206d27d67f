// Shows the live tree for a while and tells what it cost: node browser/measure.mjs URL SECONDS
//
// Prints JSON: the longest time for which the page's main thread was busy, on the clock and of a processor (a
// machine that is busy with other things makes the first longer, and not the second), how much its layout moved
// without having been asked to (the web's own measure, 0 is best), and the bytes that its websocket was sent.
import { chromium } from "playwright-core";

const [url, seconds] = process.argv.slice(2);

/** The longest task of the page's main thread, in milliseconds of a processor, while `work` is done. */
async function traced(page, work) {
  const tracing = await page.context().newCDPSession(page);
  const pages = new Set();
  const longest = new Map();
  tracing.on("Tracing.dataCollected", ({ value }) => {
    for (const event of value) {
      const thread = `${event.pid}/${event.tid}`;
      if (event.name === "thread_name" && event.args.name === "CrRendererMain") pages.add(thread);
      else if (event.name.endsWith("RunTask")) longest.set(thread, Math.max(longest.get(thread) ?? 0, event.tdur ?? 0));
    }
  });
  const isOver = new Promise((resolve) => tracing.on("Tracing.tracingComplete", resolve));
  await tracing.send("Tracing.start", { traceConfig: { includedCategories: ["toplevel"] }, transferMode: "ReportEvents" });
  await work();
  await tracing.send("Tracing.end");
  await isOver;
  return Math.max(0, ...[...pages].map((thread) => longest.get(thread) ?? 0)) / 1000;
}

async function scrollOn(page) {
  const began = Date.now();
  await page.locator("[role=treegrid]").focus();
  while (Date.now() - began < Number(seconds) * 1000) {
    await page.keyboard.press("PageDown");
    await page.waitForTimeout(200);
  }
  return (Date.now() - began) / 1000;
}

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
  const passed = await scrollOn(page);
  const told = await page.evaluate(() => ({ longest_task_ms: Math.max(0, ...window.tasks), layout_shift: window.shift }));
  const bytes_per_s = bytes / passed;
  const longest_task_cpu_ms = await traced(page, () => scrollOn(page));
  console.log(JSON.stringify({ ...told, longest_task_cpu_ms, bytes_per_s }));
} finally {
  await browser.close();
}
