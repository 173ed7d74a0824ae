import type { Message } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { type RefObject, useCallback, useEffect, useState } from "react";
import { useToast } from "../ui/Toasts.js";
import type { ListHandle } from "./VirtualList.js";

const FLASH_MS = 2000;

/** A request to jump to a message. Each request is a new object. */
export interface JumpTarget {
  readonly seq: number;
}

/** Whether a row is completely in the view of its list. */
function isInView(row: HTMLElement, box: HTMLElement): boolean {
  const [inner, outer] = [row.getBoundingClientRect(), box.getBoundingClientRect()];
  return inner.top >= outer.top && inner.bottom <= outer.bottom;
}

/**
 * Jumps to a message: loads the messages around it, highlights it, and scrolls it to the middle unless it is visible.
 */
export function useJump(room: string, ready: boolean, list: RefObject<ListHandle | null>) {
  const toast = useToast();
  const handle = useTidings().room(room);
  const [target, setTarget] = useState<JumpTarget>();
  const [foundMessage, setFoundMessage] = useState<Message>();
  const [flash, setFlash] = useState<string>();

  useEffect(() => {
    if (target === undefined || !ready) return;
    let isCurrent = true;
    const finish = (failed: boolean) => {
      if (!isCurrent) return;
      setTarget(undefined);
      const message = handle.messages.get().items.find(({ seq }) => seq === target.seq);
      if (message) setFoundMessage(message);
      else if (failed) toast("The messages could not be loaded. Please try again.");
      else toast("This message does not exist any more, or you cannot see it.");
    };
    handle.jumpTo(target.seq).then(
      () => finish(false),
      () => finish(true),
    );
    return () => {
      isCurrent = false;
    };
  }, [target, ready, handle, toast]);

  const rowOf = useCallback(
    (key: string) =>
      list.current?.element()?.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`) ?? undefined,
    [list],
  );

  // After this render the found message is among the rows, so the list can scroll to it.
  useEffect(() => {
    if (foundMessage === undefined) return;
    setFoundMessage(undefined);
    setFlash(foundMessage.key);
    const [row, box] = [rowOf(foundMessage.key), list.current?.element()];
    if (!row || !box || !isInView(row, box)) list.current?.scrollToRow(foundMessage.key);
  }, [foundMessage, list, rowOf]);

  useEffect(() => {
    if (flash === undefined) return;
    rowOf(flash)?.focus({ preventScroll: true });
    const timer = setTimeout(setFlash, FLASH_MS, undefined);
    return () => clearTimeout(timer);
  }, [flash, rowOf]);

  return { jump: useCallback((seq: number) => setTarget({ seq }), []), jumping: target !== undefined, flash };
}
