// Colours and words for states. A colour never stands alone: the word is always beside it.
import { h, setAttribute, setText } from "../dom";

const TONES: Record<string, string> = {
  running: "good",
  ok: "good",
  free: "calm",
  ready: "calm",
  idle: "calm",
  done: "calm",
  up: "good",
  open: "good",
  leased: "good",
  busy: "good",
  queued: "wait",
  waiting: "wait",
  acquiring: "wait",
  packed: "wait",
  on_the_wire: "move",
  result: "move",
  model: "model",
  thinking: "model",
  dirty: "wait",
  releasing: "wait",
  draining: "wait",
  paused: "wait",
  tool_error: "wait",
  limit_exceeded: "wait",
  cancelled: "wait",
  denied: "wait",
  quarantined: "bad",
  lost: "bad",
  sandbox_lost: "bad",
  link_lost: "bad",
  down: "bad",
  error: "bad",
  internal_error: "bad",
  model_error: "bad",
  warning: "wait",
};

export function toneOf(state: string): string {
  return TONES[state] ?? "calm";
}

export function mark(state: string, text = state.replaceAll("_", " ")): HTMLElement {
  return h("span", { class: "mark", "data-tone": toneOf(state) }, text);
}

/** The same in a list's cell, whose mark is written anew rather than made anew. */
export function drawMark(cell: HTMLElement, state: string, text = state.replaceAll("_", " ")): void {
  const there = cell.firstElementChild;
  if (!(there instanceof HTMLElement)) cell.append(mark(state, text));
  else {
    setAttribute(there, "data-tone", toneOf(state));
    setText(there, text);
  }
  cell.firstElementChild!.toggleAttribute("hidden", !state);
}

/** What is shown where there is nothing: why, and how to get something. */
export function teach(title: string, ...paragraphs: (string | Node)[]): HTMLElement {
  return h("div", { class: "teach" }, h("h2", {}, title), ...paragraphs.map((each) => h("p", {}, each)));
}
