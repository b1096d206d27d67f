// The page's copy of the live state: what the server told, and nothing that it did not.
import type {
  CallRow,
  DaemonRow,
  Detail,
  EventRow,
  Figures,
  Seconds,
  SlotRow,
  Tick,
  TrajectoryRow,
  Welcome,
  WireRow,
} from "./protocol";

const MAX_EVENTS = 5000;
const MAX_FRAMES = 5000;

export const enum T {
  id,
  nursery,
  state,
  turn,
  since,
  started,
  daemon,
  slot,
  waits,
  calls,
  errors,
  live,
}
export const enum C {
  number,
  turn,
  tool,
  phase,
  since,
  entered,
  limit_s,
  pid,
  summary,
}

export const enum S {
  key,
  daemon,
  slot,
  state,
  owner,
  since,
}
export const enum D {
  name,
  state,
  slots,
  leased,
  queued,
  under_way,
  bytes_sent,
  bytes_received,
  url,
  reason,
  since,
}

export class Store {
  readonly trajectories = new Map<string, TrajectoryRow>();
  readonly slots = new Map<string, SlotRow>();
  readonly daemons = new Map<string, DaemonRow>();
  figures: Figures = { phases: {}, tools: {}, counters: {}, history: [] };
  events: EventRow[] = [];
  frames: WireRow[] = [];
  eventsDropped = 0;
  framesDropped = 0;
  late = 0;
  detail: Detail | null = null;
  features: string[] = [];
  framesPaused = false;
  private stopped: Seconds | null = null;
  private serverNow: Seconds = 0;
  private localNow = 0;
  private wallOffset = 0;

  welcome(welcome: Welcome): void {
    this.features = welcome.features;
    this.wallOffset = welcome.wall - welcome.now;
    this.clear();
    this.events = [];
    this.frames = [];
    this.stopped = null;
    this.figures = { phases: {}, tools: {}, counters: {}, history: [] };
    this.setNow(welcome.now);
  }

  apply(tick: Tick): void {
    this.setNow(tick.now);
    if (tick.reset) this.clear();
    for (const row of tick.rows?.trajectories ?? []) this.trajectories.set(row[0], row);
    for (const row of tick.rows?.slots ?? []) this.slots.set(row[0], row);
    for (const row of tick.rows?.daemons ?? []) this.daemons.set(row[0], row);
    for (const key of tick.gone?.trajectories ?? []) this.trajectories.delete(key);
    for (const key of tick.gone?.slots ?? []) this.slots.delete(key);
    for (const key of tick.gone?.daemons ?? []) this.daemons.delete(key);
    this.late = tick.late ?? 0;
    if (tick.figures) this.figures = { ...this.figures, ...tick.figures };
    if (tick.detail) this.detail = tick.detail;
    if (tick.events) this.events = newest([...this.events, ...tick.events], MAX_EVENTS);
    if (tick.wire && !this.framesPaused) this.frames = newest([...this.frames, ...tick.wire], MAX_FRAMES);
    this.eventsDropped = tick.events_dropped ?? this.eventsDropped;
    this.framesDropped = tick.wire_dropped ?? this.framesDropped;
  }

  /** All that is alive, as one message. */
  present(): Tick {
    const rows = { trajectories: [...this.trajectories.values()], slots: [...this.slots.values()], daemons: [...this.daemons.values()] };
    return { t: "tick", now: this.now(), reset: true, rows, figures: this.figures };
  }

  /** Time does not go on: what is shown is a recording. */
  standAt(now: Seconds): void {
    this.stopped = now;
  }

  /** The executor's clock, as far as it can be known here. */
  now(): Seconds {
    if (this.stopped !== null) return this.stopped;
    return this.serverNow + (performance.now() - this.localNow) / 1000;
  }

  /** Time of day of a moment on the executor's clock. */
  clock(at: Seconds): string {
    return new Date((at + this.wallOffset) * 1000).toISOString().slice(11, 23);
  }

  /** The call of a trajectory that has been under way longest. */
  oldestCall(row: TrajectoryRow): CallRow | undefined {
    return row[T.live].reduce<CallRow | undefined>(
      (oldest, call) => (oldest && oldest[C.entered] <= call[C.entered] ? oldest : call),
      undefined,
    );
  }

  call(trajectory: string, number: number): CallRow | undefined {
    return this.trajectories.get(trajectory)?.[T.live].find((each) => each[C.number] === number);
  }

  private setNow(now: Seconds): void {
    this.serverNow = now;
    this.localNow = performance.now();
  }

  private clear(): void {
    this.trajectories.clear();
    this.slots.clear();
    this.daemons.clear();
  }
}

function newest<T>(list: T[], most: number): T[] {
  return list.length > most ? list.slice(-most) : list;
}
