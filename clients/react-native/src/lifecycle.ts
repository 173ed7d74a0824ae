import type { Lifecycle, LifecycleEvent } from "@tidings/client";

/** The part of React Native's `AppState` that `nativeLifecycle` uses. */
export interface AppStateLike {
  addEventListener(type: "change", listener: (state: string) => void): { remove(): void };
}

/** The part of `@react-native-community/netinfo` that `nativeLifecycle` uses. */
export interface NetInfoLike {
  addEventListener(listener: (state: { readonly isConnected: boolean | null }) => void): () => void;
}

/**
 * Makes the lifecycle of an app from React Native's `AppState` and, if it is given, NetInfo. Without NetInfo the app
 * always counts as online; the kit then finds a dead network by itself, some seconds later.
 */
export function nativeLifecycle(appState: AppStateLike, netInfo?: NetInfoLike): Lifecycle {
  const listeners = new Set<(event: LifecycleEvent) => void>();
  let online = true;
  let stop = () => {};
  const emit = (event: LifecycleEvent) => {
    for (const listener of [...listeners]) listener(event);
  };
  const start = () => {
    const app = appState.addEventListener("change", (state) => {
      if (state === "active") emit("visible");
      // The other states, such as `inactive` of iOS, are short and leave the app visible.
      if (state !== "background") return;
      emit("hidden");
      // The system may end an app in the background without a notice, so this may be the last event.
      emit("hide");
    });
    // Uses `isConnected` and not `isInternetReachable`, because a server in a private network needs no internet.
    const stopNet = netInfo?.addEventListener(({ isConnected }) => {
      // Null means that the state is not known yet.
      const next = isConnected ?? true;
      if (next === online) return;
      online = next;
      emit(online ? "online" : "offline");
    });
    return () => {
      app.remove();
      stopNet?.();
    };
  };
  return {
    online: () => online,
    subscribe(listener) {
      // A new function, so that two subscriptions with the same listener count twice.
      const entry = (event: LifecycleEvent) => listener(event);
      listeners.add(entry);
      if (listeners.size === 1) stop = start();
      return () => {
        if (listeners.delete(entry) && listeners.size === 0) stop();
      };
    },
  };
}
