import { useEffect, useState } from "react";
import { type DemoConfig, fetchConfig } from "./server.ts";
import { tryStorage } from "./tryStorage.ts";

const CONFIG_KEY = "tidings.config";

/** Parses the stored configuration of the last visit. Returns undefined if it is missing or damaged. */
export function parseConfig(text: string | null): DemoConfig | undefined {
  const isOrigins = (value: unknown): value is string[] =>
    Array.isArray(value) && value.length > 0 && value.every((origin) => typeof origin === "string");
  const stored = (tryStorage(() => JSON.parse(text ?? "{}")) ?? {}) as Partial<DemoConfig>;
  const { gateways, persistence, files, push, pictures } = stored;
  return isOrigins(gateways) && isOrigins(persistence)
    ? {
        gateways,
        persistence,
        ...(files === true && { files }),
        ...(push === true && { push }),
        ...(isOrigins(pictures) && { pictures }),
      }
    : undefined;
}

const storedConfig = () => parseConfig(tryStorage(() => localStorage.getItem(CONFIG_KEY)) ?? null);

/**
 * The addresses of the chat servers: those of the last visit at first, so that the page opens without a network, then
 * the present ones. `error` says why the last attempt to load them has failed.
 */
export function useDemoConfig() {
  const [config, setConfig] = useState(storedConfig);
  const [error, setError] = useState<string>();
  const [attempt, setAttempt] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new attempt loads the configuration again
  useEffect(() => {
    let isCurrent = true;
    const apply = (found: DemoConfig) => {
      if (!isCurrent) return;
      const text = JSON.stringify(found);
      tryStorage(() => localStorage.setItem(CONFIG_KEY, text));
      // The same addresses keep the same object, and so the same client.
      setConfig((before) => (JSON.stringify(before) === text ? before : found));
    };
    fetchConfig().then(apply, (failure: Error) => isCurrent && setError(failure.message));
    return () => {
      isCurrent = false;
    };
  }, [attempt]);
  const retry = () => {
    setError(undefined);
    setAttempt((count) => count + 1);
  };
  return { config, error, retry };
}
