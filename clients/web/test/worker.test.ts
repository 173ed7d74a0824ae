// The service worker, run with a stand-in for the browser.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { filesOfOtherPages, moveStyles, stylesAfterShell } from "../pwa/plugins.ts";
import { parseConfig } from "../src/state/useDemoConfig.ts";

const source = readFileSync(new URL("../pwa/worker.js", import.meta.url), "utf8");

type Handler = (event: unknown) => void;

/** A browser with the caches and the network of one site. */
function createBrowser() {
  const stored = new Map<string, Map<string, Response>>();
  const pathOf = (request: Request | string) =>
    new URL(typeof request === "string" ? request : request.url, "http://demo").pathname;
  const network = {
    down: false,
    status: 200,
    requests: [] as string[],
    text: (path: string) => `new ${path}`,
  };
  const fetchFile = async (request: Request | string) => {
    network.requests.push(pathOf(request));
    if (network.down) throw new TypeError("Failed to fetch");
    return new Response(network.text(pathOf(request)), { status: network.status });
  };
  const open = async (name: string) => {
    const entries = stored.get(name) ?? new Map<string, Response>();
    stored.set(name, entries);
    return {
      match: async (request: Request | string) => entries.get(pathOf(request))?.clone(),
      put: async (request: Request, response: Response) => void entries.set(pathOf(request), response),
      addAll: async (requests: Request[]) => {
        for (const request of requests) entries.set(pathOf(request), await fetchFile(request));
      },
    };
  };
  const caches = {
    open,
    keys: async () => [...stored.keys()],
    delete: async (name: string) => stored.delete(name),
    match: async (request: Request) => {
      for (const name of stored.keys()) {
        const found = await (await open(name)).match(request);
        if (found) return found;
      }
      return undefined;
    },
  };
  /** Installs and activates a version of the worker. Returns a function that requests a file through it. */
  async function install(version: string) {
    const handlers = new Map<string, Handler>();
    const self = {
      addEventListener: (type: string, handler: Handler) => handlers.set(type, handler),
      skipWaiting: async () => {},
      clients: { claim: async () => {} },
      location: { origin: "http://demo" },
    };
    class SiteRequest extends Request {
      constructor(input: string, init?: RequestInit) {
        super(new URL(input, "http://demo"), init);
      }
    }
    const shell = { version, files: ["/", "/icon.svg", `/assets/app-${version}.js`] };
    new Function("SHELL", "self", "caches", "fetch", "Request", source)(
      shell,
      self,
      caches,
      fetchFile,
      SiteRequest,
    );
    for (const type of ["install", "activate"]) {
      let done: Promise<unknown> | undefined;
      handlers.get(type)?.({ waitUntil: (work: Promise<unknown>) => (done = work) });
      await done;
    }
    network.requests.length = 0;
    return async (url: string, { navigate = false, method = "GET" } = {}) => {
      let answer: Promise<Response> | undefined;
      const request = new Request(new URL(url, "http://demo"), { method });
      if (navigate) Object.defineProperty(request, "mode", { value: "navigate" });
      handlers.get("fetch")?.({ request, respondWith: (response: Promise<Response>) => (answer = response) });
      return answer && (await answer).text();
    };
  }
  return { network, stored, install };
}

test("the page opens without a network, at any address", async () => {
  const { network, install } = createBrowser();
  const request = await install("1");
  network.down = true;
  expect(await request("/", { navigate: true })).toBe("new /");
  expect(await request("/?gateway=0", { navigate: true })).toBe("new /");
  expect(await request("/assets/app-1.js")).toBe("new /assets/app-1.js");
  expect(await request("/icon.svg")).toBe("new /icon.svg");
});

test("another page and a single file never become the demo", async () => {
  const { network, install } = createBrowser();
  const request = await install("1");
  network.down = true;
  expect(await request("/index.html", { navigate: true })).toBe("new /");
  expect(await request("/examples.html", { navigate: true })).toBeUndefined();
  expect(await request("/icon.svg", { navigate: true })).toBe("new /icon.svg");
});

test("the page comes from the network while there is one", async () => {
  const { network, install } = createBrowser();
  const request = await install("1");
  network.text = () => "newer";
  expect(await request("/", { navigate: true })).toBe("newer");
  network.status = 502;
  expect(await request("/", { navigate: true })).toBe("new /");
});

test("an asset is loaded once, also if it was not installed", async () => {
  const { network, install } = createBrowser();
  const request = await install("1");
  for (let at = 0; at < 2; at++) {
    await request("/assets/app-1.js");
    expect(await request("/assets/gemoji-9.js")).toBe("new /assets/gemoji-9.js");
  }
  expect(network.requests).toEqual(["/assets/gemoji-9.js"]);
});

test("a failed answer for an asset is not kept", async () => {
  const { network, stored, install } = createBrowser();
  const request = await install("1");
  network.status = 404;
  await request("/assets/gone-9.js");
  expect([...(stored.get("tidings-shell-1")?.keys() ?? [])]).not.toContain("/assets/gone-9.js");
});

test("answers of the chat and of the demo's server are never kept", async () => {
  const { install } = createBrowser();
  const request = await install("1");
  expect(await request("/dev/config")).toBeUndefined();
  expect(await request("/dev/token", { method: "POST" })).toBeUndefined();
  expect(await request("http://chat.example/v1/me/rooms")).toBeUndefined();
});

test("a new version takes over, and keeps the files of the previous one for open pages", async () => {
  const { network, stored, install } = createBrowser();
  for (const version of ["1", "2", "3"]) await install(version);
  expect([...stored.keys()]).toEqual(["tidings-shell-2", "tidings-shell-3"]);
  const request = await install("4");
  network.down = true;
  expect(await request("/assets/app-3.js")).toBe("new /assets/app-3.js");
  await expect(request("/assets/app-2.js")).rejects.toThrow("Failed to fetch");
});

test("the styles of the page move behind its static shell", () => {
  const html =
    '<head><link rel="stylesheet" crossorigin href="/a.css"></head><body><div id="root"></div></body>';
  expect(moveStyles(html)).toBe(
    '<head></head><body><div id="root"></div><link rel="stylesheet" crossorigin href="/a.css"></body>',
  );
});

test("only the styles of the page with a static shell are moved", () => {
  const html = '<head><link rel="stylesheet" href="/a.css"></head><body></body>';
  const { handler } = stylesAfterShell().transformIndexHtml as {
    handler: (html: string, page: { path: string }) => string;
  };
  expect(handler(html, { path: "/index.html" })).toBe(moveStyles(html));
  expect(handler(html, { path: "/examples.html" })).toBe(html);
});

test("the worker keeps the files of the demo, and none that only other pages use", () => {
  const chunk = (more: object) => ({ type: "chunk", imports: [], dynamicImports: [], ...more });
  const asset = { type: "asset" };
  const bundle = {
    "index.html": asset,
    "examples.html": asset,
    "index.js": chunk({
      facadeModuleId: "/demo/index.html",
      imports: ["page.js"],
      viteMetadata: { importedCss: new Set(["index.css"]), importedAssets: new Set() },
    }),
    "examples.js": chunk({
      facadeModuleId: "/demo/examples.html",
      imports: ["page.js"],
      viteMetadata: { importedCss: new Set(["examples.css"]), importedAssets: new Set(["picture.png"]) },
    }),
    "page.js": chunk({ dynamicImports: ["later.js"] }),
    // A chunk may import the chunk that loads it.
    "later.js": chunk({ imports: ["page.js"] }),
    "index.css": asset,
    "examples.css": asset,
    "picture.png": asset,
  };
  const others = filesOfOtherPages(bundle as unknown as Parameters<typeof filesOfOtherPages>[0]);
  expect([...others].sort()).toEqual(["examples.css", "examples.html", "examples.js", "picture.png"]);
});

test("a damaged configuration of the last visit is ignored", () => {
  const config = { gateways: ["http://a"], persistence: ["http://b"] };
  expect(parseConfig(JSON.stringify(config))).toEqual(config);
  expect(parseConfig(JSON.stringify({ ...config, files: true }))).toEqual({ ...config, files: true });
  expect(parseConfig(JSON.stringify({ ...config, push: true }))).toEqual({ ...config, push: true });
  const withPictures = { ...config, pictures: ["https://pictures.example"] };
  expect(parseConfig(JSON.stringify(withPictures))).toEqual(withPictures);
  expect(parseConfig(JSON.stringify({ ...config, files: "yes", push: 1, pictures: [1] }))).toEqual(config);
  for (const text of [
    null,
    "",
    "{",
    "null",
    "[]",
    '{"gateways":[],"persistence":["http://b"]}',
    '{"gateways":[1]}',
  ])
    expect(parseConfig(text), `${text}`).toBeUndefined();
});
