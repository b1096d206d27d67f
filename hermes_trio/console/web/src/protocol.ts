// What the server says on the websocket; docs/design/console.md tells the reasons.
// Rows are arrays, because a thousand of them change several times a second: names would be most of the bytes.

/** Seconds on the executor's clock. `Clock` turns them into ages. */
export type Seconds = number;

export type CallRow = [
  number: number,
  turn: number,
  tool: string,
  phase: string,
  since: Seconds,
  entered: Seconds,
  limit_s: number | null,
  pid: number | null,
  summary: string,
];

export type TrajectoryRow = [
  id: string,
  nursery: string,
  state: string,
  turn: number,
  since: Seconds,
  started: Seconds,
  daemon: string,
  slot: string,
  waits: string,
  calls: number,
  errors: number,
  live: CallRow[],
];

export type SlotRow = [
  key: string,
  daemon: string,
  slot: string,
  state: string,
  owner: string,
  since: Seconds,
];

export type DaemonRow = [
  name: string,
  state: string,
  slots: number,
  leased: number,
  queued: number,
  under_way: number,
  bytes_sent: number,
  bytes_received: number,
  url: string,
  reason: string,
  since: Seconds,
];

export type EventRow = [seq: number, at: Seconds, kind: string, trajectory: string, call: number | null, text: string, level: string];

export type WireRow = [
  seq: number,
  at: Seconds,
  daemon: string,
  direction: "out" | "in",
  type: string,
  bytes: number,
  call: number | null,
  decoded: string,
];

export interface Percentiles {
  n: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

export interface Figures {
  phases: Record<string, Percentiles>;
  tools: Record<string, Percentiles>;
  counters: Record<string, number>;
  /** [at, calls per second, waiting trajectories, queued calls, calls under way, p50, p95, p99 of the last second] */
  history: number[][];
}

export interface CallDetails {
  number: number;
  turn: number;
  tool: string;
  summary: string;
  /** Empty while it is under way. */
  provenance: string;
  error: string;
  daemon: string;
  slot: string;
  pid: number | null;
  limit_s: number | null;
  entered: Seconds;
  /** Phase and when it ended, in order; the last one of a call that is under way has not. */
  phases: [phase: string, until: Seconds | null][];
}

export interface Detail {
  id: string;
  found: boolean;
  calls: CallDetails[];
  forgotten: number;
}

export interface Rows {
  trajectories?: TrajectoryRow[];
  slots?: SlotRow[];
  daemons?: DaemonRow[];
}

export interface Tick {
  t: "tick";
  now: Seconds;
  reset?: boolean;
  rows?: Rows;
  gone?: Record<"trajectories" | "slots" | "daemons", string[]>;
  late?: number;
  /** All of it while the figures are looked at; else the counters and the last point of the curves. */
  figures?: Partial<Figures>;
  events?: EventRow[];
  events_dropped?: number;
  wire?: WireRow[];
  wire_dropped?: number;
  detail?: Detail;
}

export interface Welcome {
  t: "welcome";
  version: number;
  now: Seconds;
  wall: number;
  name: string;
  features: string[];
}

export interface Answer {
  t: "answer";
  id: number;
  ok: boolean;
  value?: unknown;
  error?: string;
}

export type ServerMessage = Welcome | Tick | Answer | { t: "closed"; channel: number; reason: string };

export type Section = "trajectories" | "slots" | "figures" | "events" | "wire";
