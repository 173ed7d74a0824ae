/** Replaces the IntersectionObserver, which jsdom does not have: the test decides which elements are visible. */
export class FakeIntersectionObserver {
  private static observers = new Set<FakeIntersectionObserver>();
  private readonly targets = new Set<Element>();

  constructor(private readonly callback: IntersectionObserverCallback) {
    FakeIntersectionObserver.observers.add(this);
  }

  /** Replaces the global class. Returns a function that restores it. */
  static install(): () => void {
    const before = Reflect.get(globalThis, "IntersectionObserver");
    Reflect.set(globalThis, "IntersectionObserver", FakeIntersectionObserver);
    FakeIntersectionObserver.observers.clear();
    return () => Reflect.set(globalThis, "IntersectionObserver", before);
  }

  /** The number of observed elements. */
  static get observed(): number {
    return [...FakeIntersectionObserver.observers].reduce((sum, { targets }) => sum + targets.size, 0);
  }

  /** Reports for all these elements at once that a part of each, from 0 to 1, is visible. */
  static show(
    elements: readonly Element[],
    ratio = 1,
    shape: { height: number; screen: number } = TALL,
  ): void {
    for (const observer of FakeIntersectionObserver.observers) {
      const mine = elements.filter((element) => observer.targets.has(element));
      if (mine.length > 0)
        observer.callback(
          mine.map((target) => entry(target, ratio, shape)),
          observer as never,
        );
    }
  }

  observe(element: Element): void {
    this.targets.add(element);
  }

  unobserve(element: Element): void {
    this.targets.delete(element);
  }

  disconnect(): void {
    this.targets.clear();
  }
}

const TALL = { height: 40, screen: 800 };

function entry(target: Element, ratio: number, { height, screen }: typeof TALL): IntersectionObserverEntry {
  const rect = (size: number) => ({ height: size }) as DOMRectReadOnly;
  return {
    target,
    isIntersecting: ratio > 0,
    intersectionRatio: ratio,
    intersectionRect: rect(height * ratio),
    boundingClientRect: rect(height),
    rootBounds: rect(screen),
    time: 0,
  };
}

/** Makes the page visible or hidden, and dispatches the event. */
export function setPageVisibility(state: "visible" | "hidden"): void {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
