import { useSyncExternalStore } from "react";
import { tryStorage } from "./tryStorage.ts";

const SOUND_KEY = "tidings.sound";

let isOn = tryStorage(() => localStorage.getItem(SOUND_KEY)) === "on";
const listeners = new Set<() => void>();

function setSound(next: boolean): void {
  isOn = next;
  tryStorage(() => (next ? localStorage.setItem(SOUND_KEY, "on") : localStorage.removeItem(SOUND_KEY)));
  for (const listener of [...listeners]) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Whether notifications have a sound, and a function to change it. Off by default. */
export function useSound(): [boolean, (on: boolean) => void] {
  return [useSyncExternalStore(subscribe, () => isOn), setSound];
}
