// Replay of a recorded session, by asciinema-player: a scrubber, speeds, and idle time cut.
import { create } from "asciinema-player";
import "asciinema-player/dist/bundle/asciinema-player.css";

export interface Replay {
  dispose(): void;
}

export function makeReplay(recording: string, holder: HTMLElement): Replay {
  // Known beforehand, it need not change its size when it has read them.
  const { width, height } = sizeOf(recording);
  const player = create({ data: recording }, holder, {
    cols: width,
    rows: height,
    fit: "both",
    idleTimeLimit: 2,
    controls: true,
    preload: true,
    poster: "npt:0:01",
    theme: "hermes",
    terminalFontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
  });
  return { dispose: () => player.dispose() };
}

function sizeOf(recording: string): { width: number; height: number } {
  try {
    const head = JSON.parse(recording.slice(0, recording.indexOf("\n"))) as { width?: unknown; height?: unknown };
    if (typeof head.width === "number" && typeof head.height === "number") return { width: head.width, height: head.height };
  } catch {
    // Not of version 2: the player knows others.
  }
  return { width: 80, height: 24 };
}
