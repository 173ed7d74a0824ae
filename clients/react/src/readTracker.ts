/** How long, in ms, messages must stay visible before they are marked as read, so that a fast scroll marks nothing. */
const MARK_DELAY_MS = 200;

type ElementRef = (element: Element | null) => void;

/**
 * Finds the highest seq whose element is visible. At least half of the element, or half a screen of it, must be in the
 * view, and the page itself must be visible.
 */
export class ReadTracker {
  private readonly refBySeq = new Map<number, ElementRef>();
  private readonly seqByElement = new Map<Element, number>();
  private readonly visible = new Set<Element>();
  private observer: IntersectionObserver | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private lastMarked = 0;

  /** @param mark called with the highest visible seq, if this is above the last seq for which `mark` returned true */
  constructor(private readonly mark: (seq: number) => boolean) {}

  /** Starts observing the elements, including those that were attached before. */
  start(): void {
    if (typeof IntersectionObserver === "undefined") return;
    this.observer = new IntersectionObserver((entries) => this.update(entries), {
      threshold: [0, 0.25, 0.5, 1],
    });
    for (const element of this.seqByElement.keys()) this.observer.observe(element);
    document.addEventListener("visibilitychange", this.scheduleMark);
  }

  /** Stops observing the elements. */
  stop(): void {
    if (this.observer === undefined) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.observer.disconnect();
    this.observer = undefined;
    this.visible.clear();
    document.removeEventListener("visibilitychange", this.scheduleMark);
  }

  /**
   * Returns the ref callback of a seq. It is the same function each time, so that React does not detach the element and
   * attach it again.
   */
  ref(seq: number): ElementRef {
    const existing = this.refBySeq.get(seq);
    if (existing !== undefined) return existing;
    let current: Element | undefined;
    const attach: ElementRef = (element) => {
      if (current !== undefined) this.detach(current, seq);
      current = element ?? undefined;
      if (element === null) {
        this.refBySeq.delete(seq);
        return;
      }
      this.refBySeq.set(seq, attach);
      this.seqByElement.set(element, seq);
      this.observer?.observe(element);
    };
    this.refBySeq.set(seq, attach);
    return attach;
  }

  private detach(element: Element, seq: number): void {
    // A virtual list may have reused the element for another message already.
    if (this.seqByElement.get(element) !== seq) return;
    this.seqByElement.delete(element);
    this.visible.delete(element);
    this.observer?.unobserve(element);
  }

  private update(entries: readonly IntersectionObserverEntry[]): void {
    for (const entry of entries) {
      if (isVisible(entry)) this.visible.add(entry.target);
      else this.visible.delete(entry.target);
    }
    this.scheduleMark();
  }

  private readonly scheduleMark = (): void => {
    if (this.timer === undefined && this.highestVisible() > this.lastMarked) {
      this.timer = setTimeout(() => this.markVisible(), MARK_DELAY_MS);
    }
  };

  private markVisible(): void {
    this.timer = undefined;
    // Ignores messages that left the view meanwhile, or that are in a hidden page.
    const seq = this.highestVisible();
    if (document.visibilityState !== "visible" || seq <= this.lastMarked) return;
    // Tries a refused mark again when other messages become visible. By then the missing messages may be loaded.
    if (this.mark(seq)) this.lastMarked = seq;
  }

  private highestVisible(): number {
    let highest = 0;
    for (const element of this.visible) highest = Math.max(highest, this.seqByElement.get(element) ?? 0);
    return highest;
  }
}

function isVisible(entry: IntersectionObserverEntry): boolean {
  if (!entry.isIntersecting) return false;
  if (entry.intersectionRatio >= 0.5) return true;
  // Half of a very tall message does not fit on the screen, so half a screen of it is enough.
  const screen = entry.rootBounds?.height ?? 0;
  return screen > 0 && entry.intersectionRect.height >= screen / 2;
}
