// A terminal, by xterm.js.
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";

export interface Screen {
  write(data: Uint8Array): void;
  onKeys(hear: (keys: string) => void): void;
  /** Columns and rows that fit. */
  fit(): { columns: number; rows: number };
  /** The size of a terminal that is somebody else's: only watched, it is not for us to change. */
  takeSize(columns: number, rows: number): void;
  onResize(hear: (columns: number, rows: number) => void): void;
  setWritable(writable: boolean): void;
  focus(): void;
  dispose(): void;
}

export function makeScreen(holder: HTMLElement): Screen {
  const terminal = new Terminal({
    fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
    fontSize: 13,
    scrollback: 5000,
    disableStdin: true,
    cursorBlink: false,
    screenReaderMode: true,
    theme: { background: "#0d1014", foreground: "#d7dce2", cursor: "#7cb7ff" },
  });
  const fitting = new FitAddon();
  let isOurs = true;
  terminal.loadAddon(fitting);
  terminal.open(holder);
  new ResizeObserver(() => isOurs && fitting.fit()).observe(holder);
  return {
    write: (data) => terminal.write(data),
    onKeys: (hear) => void terminal.onData(hear),
    fit: () => {
      fitting.fit();
      return { columns: terminal.cols, rows: terminal.rows };
    },
    takeSize: (columns, rows) => {
      isOurs = false;
      terminal.resize(columns, rows);
    },
    onResize: (hear) => void terminal.onResize(({ cols, rows }) => hear(cols, rows)),
    setWritable: (writable) => {
      terminal.options.disableStdin = !writable;
      terminal.options.cursorBlink = writable;
      isOurs = writable;
      if (writable) fitting.fit();
    },
    focus: () => terminal.focus(),
    dispose: () => terminal.dispose(),
  };
}
