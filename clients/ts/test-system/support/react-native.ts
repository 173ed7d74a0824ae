/**
 * Removes the globals that React Native lacks, before anything of the kit is imported: the page, its storages
 * and browser objects, and the missing parts of its engine and its fetch.
 */
import WebSocket from "ws";

const MISSING_GLOBALS = [
  "window",
  "document",
  "localStorage",
  "sessionStorage",
  "indexedDB",
  "navigator",
  "location",
  "BroadcastChannel",
  "crypto",
  "structuredClone",
  "addEventListener",
  "removeEventListener",
];
for (const name of MISSING_GLOBALS) {
  Object.defineProperty(globalThis, name, { value: undefined, configurable: true, writable: true });
}

for (const name of ["any", "timeout"]) {
  Object.defineProperty(AbortSignal, name, { value: undefined, configurable: true });
}

// React Native's URLSearchParams can append and print; its other methods throw.
for (const name of ["get", "set", "has", "delete", "sort"] as const) {
  Object.defineProperty(URLSearchParams.prototype, name, {
    value: () => {
      throw new Error("not implemented");
    },
  });
}

const originalFetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const { ok, status, headers, ...rest } = await originalFetch(input, init).then(async (answer) => ({
    ok: answer.ok,
    status: answer.status,
    headers: { get: (name: string) => answer.headers.get(name) },
    text: await answer.text(),
  }));
  // The answer has no stream.
  return {
    ok,
    status,
    headers,
    text: async () => rest.text,
    json: async () => JSON.parse(rest.text),
  } as Response;
};

Object.assign(globalThis, { WebSocket });
