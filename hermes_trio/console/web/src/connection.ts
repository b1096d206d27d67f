// The websocket: opened, asked for a token once, opened again when it is lost.
import type { Answer, ServerMessage, Tick, Welcome } from "./protocol";

export type LinkState = "connecting" | "needs token" | "live" | "lost";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
const REFUSED = 4401;

interface Listener {
  onState(state: LinkState, why: string): void;
  onWelcome(welcome: Welcome): void;
  onTick(tick: Tick, chars: number): void;
}

export class Connection {
  /** Of the present link. */
  bytesReceived = 0;
  private socket: WebSocket | null = null;
  // Here and nowhere else: not in storage, not in an address. A reload asks again.
  private token = "";
  private pauseMs = FIRST_PAUSE_MS;
  private commands = 0;
  private readonly waiting = new Map<number, (answer: Answer) => void>();
  private readonly channels = new Map<number, (data: Uint8Array | null, reason: string) => void>();
  private subscription: Record<string, unknown> = {};

  constructor(private readonly listener: Listener) {}

  open(): void {
    this.listener.onState("connecting", "");
    const url = new URL("console/ws", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.bytesReceived = 0;
    socket.onopen = () => this.send({ t: "hello", version: 1, token: this.token });
    socket.onmessage = (message) => this.receive(message.data);
    socket.onclose = (close) => this.lost(close);
  }

  useToken(token: string): void {
    this.token = token;
    this.open();
  }

  /** What the page looks at now; the server sends nothing else. */
  subscribe(subscription: Record<string, unknown>): void {
    this.subscription = subscription;
    this.send({ t: "subscribe", ...subscription });
  }

  /** Asks for something to be done. Rejects with the server's sentence when it was not. */
  async command<T>(name: string, args: Record<string, unknown> = {}): Promise<T> {
    const id = ++this.commands;
    if (!this.send({ t: "command", id, name, args })) throw new Error("There is no connection to the executor now.");
    const answer = await new Promise<Answer>((resolve) => this.waiting.set(id, resolve));
    if (!answer.ok) throw new Error(answer.error ?? "refused");
    return answer.value as T;
  }

  /** Hears the bytes of a channel that a command has opened; `null`: it is over. */
  listen(channel: number, hear: (data: Uint8Array | null, reason: string) => void): void {
    this.channels.set(channel, hear);
  }

  sendBytes(channel: number, data: Uint8Array): void {
    const message = new Uint8Array(data.length + 1);
    message[0] = channel;
    message.set(data, 1);
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(message);
  }

  close(channel: number): void {
    this.channels.delete(channel);
    this.send({ t: "close", channel });
  }

  private send(message: unknown): boolean {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  private receive(data: string | ArrayBuffer): void {
    if (typeof data !== "string") {
      this.bytesReceived += data.byteLength;
      const bytes = new Uint8Array(data);
      this.channels.get(bytes[0]!)?.(bytes.subarray(1), "");
      return;
    }
    this.bytesReceived += data.length;
    const message = JSON.parse(data) as ServerMessage;
    switch (message.t) {
      case "welcome":
        this.pauseMs = FIRST_PAUSE_MS;
        this.listener.onState("live", "");
        this.listener.onWelcome(message);
        this.send({ t: "subscribe", ...this.subscription });
        break;
      case "tick":
        this.listener.onTick(message, data.length);
        break;
      case "answer":
        this.waiting.get(message.id)?.(message);
        this.waiting.delete(message.id);
        break;
      case "closed":
        this.channels.get(message.channel)?.(null, message.reason);
        this.channels.delete(message.channel);
    }
  }

  private lost(close: CloseEvent): void {
    this.socket = null;
    for (const [id, resolve] of this.waiting) resolve({ t: "answer", id, ok: false, error: "The connection was lost." });
    for (const hear of this.channels.values()) hear(null, "the connection was lost");
    this.waiting.clear();
    this.channels.clear();
    if (close.code === REFUSED) {
      this.listener.onState("needs token", this.token ? close.reason || "The token was refused." : "");
      return;
    }
    this.listener.onState("lost", close.reason);
    setTimeout(() => this.open(), this.pauseMs);
    this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
  }
}
