/**
 * Takes away what React Native has not, before anything of the kit is imported: the page and its storages,
 * what tells of the browser, and what its engine or its fetch have only in part.
 */
import WebSocket from "ws";

const missing = [
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
for (const name of missing) {
  Object.defineProperty(globalThis, name, { value: undefined, configurable: true, writable: true });
}

for (const name of ["any", "timeout"]) {
  Object.defineProperty(AbortSignal, name, { value: undefined, configurable: true });
}

// React Native's own URLSearchParams can append and be written, and throws for the rest.
for (const name of ["get", "set", "has", "delete", "sort"] as const) {
  Object.defineProperty(URLSearchParams.prototype, name, {
    value: () => {
      throw new Error("not implemented");
    },
  });
}

const whole = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const { ok, status, headers, ...rest } = await whole(input, init).then(async (answer) => ({
    ok: answer.ok,
    status: answer.status,
    headers: { get: (name: string) => answer.headers.get(name) },
    text: await answer.text(),
  }));
  // No stream to read from.
  return {
    ok,
    status,
    headers,
    text: async () => rest.text,
    json: async () => JSON.parse(rest.text),
  } as Response;
};

Object.assign(globalThis, { WebSocket });
