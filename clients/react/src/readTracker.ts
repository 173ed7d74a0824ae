/** For so long, in ms, a message has to stay in sight, and as seldom are marks made: a fast scroll passes many. */
const PAUSE_MS = 200;

type Attach = (element: Element | null) => void;

/**
 * Finds the highest seq whose element a person can really see: half of it, or half a screen of it, in a page that is
 * itself visible. Knows nothing of React.
 */
export class ReadTracker {
  private readonly refs = new Map<number, Attach>();
  private readonly attached = new Map<Element, number>();
  private readonly inSight = new Set<Element>();
  private observer: IntersectionObserver | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private marked = 0;

  /** @param mark told the highest seq seen, only ever a higher one than before. */
  constructor(private readonly mark: (seq: number) => void) {}

  /** Begins to look; elements may have been attached before. */
  start(): void {
    if (typeof IntersectionObserver === "undefined") return;
    this.observer = new IntersectionObserver((entries) => this.look(entries), {
      threshold: [0, 0.25, 0.5, 1],
    });
    for (const element of this.attached.keys()) this.observer.observe(element);
    document.addEventListener("visibilitychange", this.soon);
  }

  /** Stops looking. */
  stop(): void {
    if (this.observer === undefined) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.observer.disconnect();
    this.observer = undefined;
    this.inSight.clear();
    document.removeEventListener("visibilitychange", this.soon);
  }

  /** The ref callback of a seq: the same one each time, so that a render does not take it off and put it on again. */
  ref(seq: number): Attach {
    const known = this.refs.get(seq);
    if (known !== undefined) return known;
    let held: Element | undefined;
    const attach: Attach = (element) => {
      if (held !== undefined) this.detach(held, seq);
      held = element ?? undefined;
      if (element === null) {
        this.refs.delete(seq);
        return;
      }
      this.refs.set(seq, attach);
      this.attached.set(element, seq);
      this.observer?.observe(element);
    };
    this.refs.set(seq, attach);
    return attach;
  }

  private detach(element: Element, seq: number): void {
    // A virtual list may already have given the element to another message.
    if (this.attached.get(element) !== seq) return;
    this.attached.delete(element);
    this.inSight.delete(element);
    this.observer?.unobserve(element);
  }

  private look(entries: readonly IntersectionObserverEntry[]): void {
    for (const entry of entries) {
      if (isSeen(entry)) this.inSight.add(entry.target);
      else this.inSight.delete(entry.target);
    }
    this.soon();
  }

  private readonly soon = (): void => {
    if (this.timer === undefined && this.highest() > this.marked) {
      this.timer = setTimeout(() => this.flush(), PAUSE_MS);
    }
  };

  private flush(): void {
    this.timer = undefined;
    // What a fast scroll has taken out of sight meanwhile was not read, nor what a hidden page shows.
    const seq = this.highest();
    if (document.visibilityState !== "visible" || seq <= this.marked) return;
    this.marked = seq;
    this.mark(seq);
  }

  private highest(): number {
    let highest = 0;
    for (const element of this.inSight) highest = Math.max(highest, this.attached.get(element) ?? 0);
    return highest;
  }
}

function isSeen(entry: IntersectionObserverEntry): boolean {
  if (!entry.isIntersecting) return false;
  if (entry.intersectionRatio >= 0.5) return true;
  // A message longer than the screen is never half in sight.
  const screen = entry.rootBounds?.height ?? 0;
  return screen > 0 && entry.intersectionRect.height >= screen / 2;
}
