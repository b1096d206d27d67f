// A list of any length that holds only the rows that can be seen: 100,000 rows cost as much as 50.
import { h, setAttribute, setText } from "../dom";

export interface Column<R> {
  name: string;
  /** A CSS grid track. */
  width: string;
  text: (row: R) => string;
  /** Draws more than a text; called only when the cell's text has changed. */
  draw?: (cell: HTMLElement, row: R, text: string) => void;
  numeric?: boolean;
}

export interface ListOptions<R> {
  label: string;
  columns: Column<R>[];
  key: (row: R) => string;
  /** Depth in a tree, and whether the row is open; a flat list has neither. */
  level?: (row: R) => number;
  expanded?: (row: R) => boolean | null;
  tone?: (row: R) => string;
  onSelect?: (row: R | null) => void;
  /** Enter, or a second click. */
  onOpen?: (row: R) => void;
  onToggle?: (row: R, open: boolean) => void;
  empty: () => Node;
}

const ROW_PX = 28;
const SPARE_ROWS = 4;
/** Rows that are written anew in one frame: a jump is drawn in a few of them, and none takes long. */
const ROWS_AT_ONCE = 14;
let lists = 0;

export class VirtualList<R> {
  readonly element: HTMLElement;
  private rows: R[] = [];
  private readonly body: HTMLElement;
  private readonly spacer: HTMLElement;
  private readonly none: HTMLElement;
  /** The elements in use, from the first row that is drawn on; in the document they are in the same order. */
  private pool: HTMLElement[] = [];
  private first = 0;
  private made = 0;
  /** As many rows as the spacer is high. */
  private length = 0;
  private selectedKey: string | null = null;
  private readonly id = `list${++lists}`;
  private frame = 0;
  /** Whether the view stays at the newest row. */
  following = false;

  constructor(private readonly options: ListOptions<R>) {
    const isTree = Boolean(options.level);
    const tracks = options.columns.map((column) => column.width).join(" ");
    const heads = options.columns.map((column) =>
      h("span", { role: "columnheader", class: column.numeric ? "numeric" : null }, column.name),
    );
    this.spacer = h("div", { class: "list-spacer", role: "presentation" });
    this.body = h("div", {
      class: "list-body",
      role: isTree ? "treegrid" : "grid",
      "aria-label": options.label,
      tabindex: 0,
      onkeydown: (event: KeyboardEvent) => this.onKey(event),
      onscroll: () => {
        this.following = this.following && this.isAtEnd();
        this.drawSoon();
      },
    });
    this.none = h("div", { class: "list-empty" });
    const head = h("div", { class: "list-head", role: "row" }, ...heads);
    this.body.append(h("div", { class: "list-head-frame", role: "rowgroup" }, head), this.spacer);
    this.spacer.setAttribute("role", "rowgroup");
    this.element = h("div", { class: "list" }, this.body, this.none);
    this.element.style.setProperty("--tracks", tracks);
    new ResizeObserver(() => this.drawSoon()).observe(this.body);
  }

  get selected(): R | null {
    return this.rows.find((row) => this.options.key(row) === this.selectedKey) ?? null;
  }

  show(rows: R[]): void {
    this.rows = rows;
    this.drawSoon();
  }

  select(key: string | null, reveal = false): void {
    this.selectedKey = key;
    const index = this.rows.findIndex((row) => this.options.key(row) === key);
    this.draw(); // first: the list is as long as its rows only then
    if (reveal && index >= 0) {
      this.reveal(index, true);
      this.draw();
    }
  }

  /** The head of a column, for who has more to say there than its name. */
  head(column: number): HTMLElement {
    return this.body.querySelectorAll<HTMLElement>("[role=columnheader]")[column]!;
  }

  focus(): void {
    this.body.focus({ preventScroll: true });
  }

  private isAtEnd(): boolean {
    return this.body.scrollTop + this.body.clientHeight >= this.body.scrollHeight - ROW_PX;
  }

  /** Once a frame, whatever asks for it: what is measured in it was not changed before in the same frame. */
  private drawSoon(): void {
    this.frame ||= requestAnimationFrame(() => this.draw());
    setAttribute(this.body, "aria-busy", "true");
  }

  private draw(): void {
    this.frame = 0;
    const { rows, body, spacer, options } = this;
    const isEmpty = rows.length === 0;
    if (isEmpty && !this.none.firstChild) this.none.append(options.empty());
    if (!isEmpty && this.none.firstChild) this.none.replaceChildren();
    this.none.hidden = !isEmpty;
    // First everything is measured, then everything is changed: the browser need not lay it out in between.
    const height = body.clientHeight;
    const top = this.following ? Math.max(0, (rows.length + 1) * ROW_PX - height) : body.scrollTop;
    if (this.length !== rows.length) spacer.style.height = `${(this.length = rows.length) * ROW_PX}px`;
    if (this.following) body.scrollTop = top;
    const first = Math.max(0, Math.floor(top / ROW_PX) - SPARE_ROWS);
    const count = Math.max(0, Math.min(rows.length - first, Math.ceil(height / ROW_PX) + 2 * SPARE_ROWS));
    setAttribute(body, "aria-rowcount", String(rows.length + 1));
    this.turnTo(first);
    this.drawRows(first, count, Math.floor(top / ROW_PX) - first);
    const active = this.rows.findIndex((row) => options.key(row) === this.selectedKey);
    const isDrawn = active >= first && active < first + count;
    setAttribute(body, "aria-activedescendant", isDrawn ? this.pool[active - first]!.id : null);
    setAttribute(body, "aria-busy", String(this.frame !== 0));
  }

  /** Those that are seen come first, the spare ones above them last. */
  private drawRows(first: number, count: number, above: number): void {
    let left = ROWS_AT_ONCE;
    for (let at = 0; at < count; at++) {
      const n = (at + above) % count;
      while (this.pool.length <= n) this.newRow();
      const element = this.pool[n]!;
      if (element.dataset.index === String(first + n) || left-- > 0) this.drawRow(element, first + n);
      else {
        element.hidden = true;
        element.dataset.index = "";
      }
    }
    for (let n = count; n < this.pool.length; n++) this.pool[n]!.hidden = true;
    if (left < 0) this.drawSoon();
  }

  /** Rows that are seen before and after a scroll keep their elements: only the others are written anew. */
  private turnTo(first: number): void {
    const { pool, spacer } = this;
    const by = first - this.first;
    this.first = first;
    if (by === 0 || Math.abs(by) >= pool.length) return;
    if (by > 0) {
      const moved = pool.splice(0, by);
      spacer.append(...moved);
      pool.push(...moved);
    } else {
      const moved = pool.splice(by);
      spacer.prepend(...moved);
      pool.unshift(...moved);
    }
  }

  private newRow(): HTMLElement {
    const cells = this.options.columns.map((column) =>
      h("span", { role: "gridcell", class: column.numeric ? "cell numeric" : "cell" }),
    );
    const row = h("div", { role: "row", class: "row", id: `${this.id}-${this.made++}`, onclick: (event: MouseEvent) => this.onClick(row, event) }, ...cells);
    this.pool.push(row);
    this.spacer.append(row);
    return row;
  }

  private drawRow(element: HTMLElement, index: number): void {
    const { options } = this;
    const row = this.rows[index]!;
    element.hidden = false;
    element.style.transform = `translateY(${index * ROW_PX}px)`;
    element.dataset.index = String(index);
    const isSelected = options.key(row) === this.selectedKey;
    setAttribute(element, "aria-rowindex", String(index + 2));
    setAttribute(element, "aria-selected", String(isSelected));
    setAttribute(element, "data-tone", options.tone?.(row) ?? null);
    if (options.level) {
      const open = options.expanded?.(row) ?? null;
      setAttribute(element, "aria-level", String(options.level(row) + 1));
      setAttribute(element, "aria-expanded", open === null ? null : String(open));
      element.style.setProperty("--level", String(options.level(row)));
    }
    options.columns.forEach((column, n) => {
      const cell = element.children[n] as HTMLElement;
      const text = column.text(row);
      if (!column.draw) setText(cell, text);
      else if (cell.dataset.text !== text) {
        cell.dataset.text = text;
        column.draw(cell, row, text);
      }
      if (cell.title !== text && text.length > 24) cell.title = text;
      else if (text.length <= 24 && cell.title) cell.title = "";
    });
  }

  private onClick(element: HTMLElement, event: MouseEvent): void {
    const row = this.rows[Number(element.dataset.index)];
    if (row === undefined) return;
    const open = this.options.expanded?.(row) ?? null;
    const isTwisty = event.offsetX < 24 + 16 * (this.options.level?.(row) ?? 0) && event.target === element.firstChild;
    if (open !== null && isTwisty) {
      this.options.onToggle?.(row, !open);
      return;
    }
    const wasSelected = this.options.key(row) === this.selectedKey;
    this.choose(row);
    if (wasSelected && event.detail > 1) this.options.onOpen?.(row);
  }

  private choose(row: R): void {
    this.selectedKey = this.options.key(row);
    this.options.onSelect?.(row);
    this.drawSoon();
  }

  private reveal(index: number, inTheMiddle = false): void {
    const top = index * ROW_PX;
    const { body } = this;
    const seen = body.clientHeight - ROW_PX;
    if (top >= body.scrollTop && top + ROW_PX <= body.scrollTop + seen - (inTheMiddle ? seen / 3 : 0)) return;
    if (inTheMiddle) body.scrollTop = top - seen / 3;
    else body.scrollTop = top < body.scrollTop ? top : top + ROW_PX - seen;
  }

  private onKey(event: KeyboardEvent): void {
    const index = this.rows.findIndex((row) => this.options.key(row) === this.selectedKey);
    const page = Math.max(1, Math.floor(this.body.clientHeight / ROW_PX) - 2);
    const moves: Record<string, number> = {
      ArrowDown: index + 1,
      ArrowUp: Math.max(0, index - 1),
      PageDown: index + page,
      PageUp: Math.max(0, index - page),
      Home: 0,
      End: this.rows.length - 1,
    };
    const row = this.rows[index];
    if (event.key in moves && this.rows.length) {
      const target = Math.min(moves[event.key]!, this.rows.length - 1);
      this.choose(this.rows[target]!);
      this.reveal(target);
    } else if (row !== undefined && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      const open = this.options.expanded?.(row) ?? null;
      if (open === null || open === (event.key === "ArrowRight")) return;
      this.options.onToggle?.(row, event.key === "ArrowRight");
    } else if (row !== undefined && event.key === "Enter") this.options.onOpen?.(row);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
