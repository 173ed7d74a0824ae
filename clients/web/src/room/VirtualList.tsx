import {
  type KeyboardEvent,
  type ReactNode,
  type Ref,
  useImperativeHandle,
  useLayoutEffect,
  useReducer,
  useRef,
  useState,
} from "react";
import { flushSync } from "react-dom";
import { ListDom } from "./listDom.ts";

/** What can be told to a list. */
export interface ListHandle {
  readonly toEnd: () => void;
  /** Brings a row into the middle; nothing happens when there is no such row. */
  readonly reveal: (key: string) => void;
  readonly element: () => HTMLElement | null;
}

interface VirtualListProps {
  readonly keys: readonly string[];
  /** Draws the row at an index: one element with `data-key` and without margins. */
  readonly children: (index: number) => ReactNode;
  /** The row that is on top at first; the end of the list unless given. */
  readonly startKey?: string | undefined;
  readonly anchorable: (key: string, index: number) => boolean;
  /** Told when less than a screen or two is left above; may come often. */
  readonly onNearStart: () => void;
  readonly onAtEnd: (atEnd: boolean) => void;
  readonly handle: Ref<ListHandle>;
  readonly label: string;
  readonly busy: boolean;
  readonly onKeyDown?: (event: KeyboardEvent<HTMLElement>) => void;
}

/**
 * A list of any length of which only what is near is in the page. Heights are measured before anything is seen. A list
 * of something else must have another React key.
 */
export function VirtualList(props: VirtualListProps) {
  const { keys, children, startKey, anchorable, onNearStart, onAtEnd, handle, label, busy, onKeyDown } =
    props;
  const scroller = useRef<HTMLDivElement>(null);
  const spacer = useRef<HTMLDivElement>(null);
  const holder = useRef<HTMLDivElement>(null);
  const [, render] = useReducer((count: number) => count + 1, 0);
  const [list] = useState(() => new ListDom(keys, anchorable, startKey));
  list.setKeys(keys);
  const range = list.place.range();

  useLayoutEffect(() => {
    if (!scroller.current || !spacer.current || !holder.current) return;
    const elements = { scroller: scroller.current, spacer: spacer.current, holder: holder.current };
    return list.attach(elements, () => flushSync(render));
  }, [list]);

  useLayoutEffect(() => {
    list.callbacks = { onNearStart, onAtEnd };
    list.drawn = range;
    if (list.settle()) render();
    list.tell();
  });

  useImperativeHandle(handle, () => ({
    toEnd: () => {
      list.goTo(undefined);
      render();
    },
    reveal: (key) => {
      list.goTo(key);
      render();
    },
    element: () => scroller.current,
  }));

  const rows: ReactNode[] = [];
  for (let index = range.start; index < range.end; index += 1) rows.push(children(index));
  return (
    <div
      ref={scroller}
      className="message-scroller"
      data-testid="message-list"
      role="feed"
      aria-label={label}
      aria-busy={busy}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
      tabIndex={0}
      onKeyDown={onKeyDown}
    >
      <div ref={spacer} className="message-spacer">
        <div ref={holder} className="message-holder">
          {rows}
        </div>
      </div>
    </div>
  );
}
