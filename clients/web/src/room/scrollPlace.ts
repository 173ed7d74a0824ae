import { type Anchor, Offsets } from "../logic/offsets.ts";

/** So near to the end counts as being there, in px. */
const AT_END = 12;
/** What is in the page above and below of what is in sight, in px, and how little of that may be left. */
const MARGIN = 900;
const NEEDED = 250;
/** The height of a row that was never in the page, in px. */
const GUESS = 56;

/** The rows that are in the page: from `start` up to but without `end`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * Where a list stands. What it holds on to is not a number of pixels but a row: so rows may come, go and change their
 * height above it, and what is in sight stays where it is. At the end it holds on to the end.
 */
export class ScrollPlace {
  offsets: Offsets;
  /** Height of what is in sight, in px. */
  height = 0;
  private readonly heights = new Map<string, number>();
  private held: Anchor | "end" = "end";

  /** @param anchorable whether a row may be held on to: one that stays, and keeps its height when others come. */
  constructor(
    keys: readonly string[],
    private readonly anchorable: (key: string, index: number) => boolean,
  ) {
    this.offsets = new Offsets(keys, this.heights, GUESS);
  }

  get atEnd(): boolean {
    return this.held === "end";
  }

  /** Where to scroll to, in px. */
  get scrollTop(): number {
    const most = Math.max(0, this.offsets.total - this.height);
    if (this.held === "end") return most;
    return Math.max(0, Math.min(this.offsets.scrollTopOf(this.held) ?? most, most));
  }

  /** Takes other rows. When the row that is held on to has gone, the next one that stays is taken instead. */
  setKeys(keys: readonly string[]): void {
    if (keys === this.offsets.keys) return;
    const next = new Offsets(keys, this.heights, GUESS);
    if (this.held !== "end" && next.indexOf(this.held.key) === undefined) {
      const from = this.offsets.indexOf(this.held.key) ?? 0;
      const scrollTop = this.scrollTop;
      const stays = (key: string) => next.indexOf(key) !== undefined;
      const key =
        this.offsets.keys.slice(from).find(stays) ?? this.offsets.keys.slice(0, from).findLast(stays);
      const index = key === undefined ? undefined : this.offsets.indexOf(key);
      this.held =
        key === undefined || index === undefined
          ? "end"
          : { key, offset: scrollTop - this.offsets.top(index) };
    }
    this.offsets = next;
  }

  /** Takes the height that a row turned out to have, in px; whether that is another one than before. */
  setHeight(key: string, height: number): boolean {
    if (this.heights.get(key) === height) return false;
    this.heights.set(key, height);
    return true;
  }

  /** Forgets all heights: the list has another width. */
  forgetHeights(): void {
    this.heights.clear();
    this.offsets.measure();
  }

  /** The list was scrolled, by whomever. */
  scrolledTo(scrollTop: number): void {
    if (scrollTop >= this.offsets.total - this.height - AT_END) this.held = "end";
    else this.held = this.offsets.anchorAt(scrollTop, this.height, this.anchorable) ?? "end";
  }

  /** Holds on to the end where the list came to rest there, whatever led there. To be told once all is measured. */
  rest(): void {
    if (this.scrollTop >= this.offsets.total - this.height - AT_END) this.held = "end";
  }

  toEnd(): void {
    this.held = "end";
  }

  /** Puts a row into the middle of what is in sight. */
  reveal(key: string): void {
    const index = this.offsets.indexOf(key);
    if (index === undefined) return;
    const free = Math.max(0, this.height - this.offsets.height(index));
    this.held = { key, offset: -Math.round(free / 2) };
  }

  /** Puts a row to the top of what is in sight, with some px above it. */
  startAt(key: string, above: number): void {
    if (this.offsets.indexOf(key) !== undefined) this.held = { key, offset: -above };
  }

  /** The rows to be in the page now. */
  range(): Range {
    return this.offsets.range(this.scrollTop, this.height || 900, MARGIN);
  }

  /** Whether the rows in the page will do for a while. */
  covers(range: Range): boolean {
    const needed = this.offsets.range(this.scrollTop, this.height || 900, NEEDED);
    return range.start <= needed.start && range.end >= Math.min(needed.end, this.offsets.keys.length);
  }
}
