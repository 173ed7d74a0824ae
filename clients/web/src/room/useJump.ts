import type { Message, Room } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { type RefObject, useCallback, useEffect, useState } from "react";
import { useToast } from "../ui/Toasts.tsx";
import { seek } from "./seek.ts";
import type { ListHandle } from "./VirtualList.tsx";

const FLASH_MS = 2000;

/** A wish to see a message; each one is an object of its own. */
export interface JumpTarget {
  readonly seq: number;
}

/** Leads to a message: loads what lies between, brings it to the middle and lights it up. */
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
      else if (result === "missing") toast("That message is not there any more, or not yours to see.");
      else if (result === "failed") toast("Earlier messages could not be loaded. Please try again.");
      else setFound(result);
    });
    return () => {
      current = false;
    };
  }, [target, ready, handle, onFar, toast]);

  // Now it is among the rows, and can be brought into sight.
  useEffect(() => {
    if (found === undefined) return;
    setFound(undefined);
    setFlash(found.key);
    list.current?.reveal(found.key);
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
