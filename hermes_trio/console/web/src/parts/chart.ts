// Curves over the last minutes, by uPlot.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

const HEIGHT_PX = 180;
const COLOURS = ["--series-1", "--series-2", "--series-3"];

export interface Chart {
  show(data: number[][]): void;
}

export function makeChart(holder: HTMLElement, unit: string, series: string[]): Chart {
  let plot: uPlot | null = null;
  let data: number[][] = [[], ...series.map(() => [])];
  const make = (): void => {
    plot?.destroy();
    plot = new uPlot(options(holder.clientWidth, unit, series), data as uPlot.AlignedData, holder);
  };
  new ResizeObserver(() => (plot ? plot.setSize({ width: holder.clientWidth, height: HEIGHT_PX }) : make())).observe(holder);
  // The colours are the theme's: drawn anew when it changes.
  new MutationObserver(make).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  return {
    show(next) {
      data = next;
      plot?.setData(data as uPlot.AlignedData);
    },
  };
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function options(width: number, unit: string, series: string[]): uPlot.Options {
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "11px system-ui" };
  return {
    width: Math.max(width, 200),
    height: HEIGHT_PX,
    cursor: { y: false },
    scales: { x: { time: false, range: (_, min, max) => [Math.min(min ?? -60, -60), Math.max(max ?? 0, 0)] }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((tick) => (tick ? `${tick} s` : "now")) },
      { ...axis, size: 62, values: (_, ticks) => ticks.map((tick) => text(tick, unit)) },
    ],
    series: [
      { label: "before", value: (_, at) => (at === null ? "–" : `${at.toFixed(0)} s`) },
      ...series.map((label, n) => ({
        label,
        stroke: colour(COLOURS[n]!),
        width: 1.5,
        points: { show: false },
        value: (_: uPlot, value: number | null) => (value === null ? "–" : text(value, unit)),
      })),
    ],
  };
}

function text(value: number, unit: string): string {
  if (unit !== "s") return `${Number(value.toPrecision(3))}${unit}`;
  return value >= 1 || value === 0 ? `${Number(value.toPrecision(3))} s` : `${Number((value * 1e3).toPrecision(3))} ms`;
}
