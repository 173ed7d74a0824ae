import type { Message, Room } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { type RefObject, useCallback, useEffect, useState } from "react";
import { useToast } from "../ui/Toasts.tsx";
import { seek } from "./seek.ts";
import type { ListHandle } from "./VirtualList.tsx";

const FLASH_MS = 2000;

/** A request to jump to a message. Each request is a new object. */
export interface JumpTarget {
  readonly seq: number;
}

/** Jumps to a message: loads the messages in between, scrolls the message to the middle and highlights it. */
export function useJump(
  room: string,
  ready: boolean,
  list: RefObject<ListHandle | null>,
  onFar: (seq: number) => void,
) {
  const toast = useToast();
  const handle: Room = useTidings().room(room);
  const [target, setTarget] = useState<JumpTarget>();
  const [found, setFound] = useState<Message>();
  const [flash, setFlash] = useState<string>();

  useEffect(() => {
    if (target === undefined || !ready) return;
    let current = true;
    void seek(handle, target.seq, () => current).then((result) => {
      if (!current) return;
      setTarget(undefined);
      if (result === "far") onFar(target.seq);
      else if (result === "missing") toast("This message does not exist any more, or you cannot see it.");
      else if (result === "failed") toast("Earlier messages could not be loaded. Please try again.");
      else setFound(result);
    });
    return () => {
      current = false;
    };
  }, [target, ready, handle, onFar, toast]);

  // After this render the found message is among the rows, so the list can scroll to it.
  useEffect(() => {
    if (found === undefined) return;
    setFound(undefined);
    setFlash(found.key);
    list.current?.scrollToRow(found.key);
  }, [found, list]);

  useEffect(() => {
    if (flash === undefined) return;
    const row = list.current?.element()?.querySelector<HTMLElement>(`[data-key="${CSS.escape(flash)}"]`);
    row?.focus({ preventScroll: true });
    const timer = setTimeout(setFlash, FLASH_MS, undefined);
    return () => clearTimeout(timer);
  }, [flash, list]);

  return { jump: useCallback((seq: number) => setTarget({ seq }), []), jumping: target !== undefined, flash };
}
