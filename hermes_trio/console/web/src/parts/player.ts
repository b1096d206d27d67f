// Replay of a recorded session, by asciinema-player: a scrubber, speeds, and idle time cut.
import { create } from "asciinema-player";
import "asciinema-player/dist/bundle/asciinema-player.css";

export interface Replay {
  dispose(): void;
}

export function makeReplay(recording: string, holder: HTMLElement): Replay {
  const player = create({ data: recording }, holder, {
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
