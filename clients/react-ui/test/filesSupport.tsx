import { Blob as NodeBlob, File as NodeFile } from "node:buffer";
import { render } from "@testing-library/react";
import type { ClientOptions } from "@tidings/client";
import { files } from "@tidings/client/files";
import { TestNetwork } from "@tidings/client/testing";
import { TidingsProvider } from "@tidings/react";
import { type ReactElement, StrictMode } from "react";
import { afterEach, vi } from "vitest";
import { FileServer } from "../../ts/test/support/file-server.js";
import { ChatUiProvider } from "../src/index.js";
import "./support.js";

// The `fetch` of Node cannot send the blobs of jsdom.
vi.stubGlobal("Blob", NodeBlob);
vi.stubGlobal("File", NodeFile);
URL.createObjectURL = () => "blob:local";
URL.revokeObjectURL = () => {};

/** The pixels of the blurred pictures that were drawn, as text. */
export const drawnPictures: string[] = [];

// jsdom draws nothing.
HTMLCanvasElement.prototype.getContext = (() => ({
  createImageData: (width: number, height: number) => ({ data: new Uint8ClampedArray(width * height * 4) }),
  putImageData: ({ data }: ImageData) => drawnPictures.push(data.join()),
})) as never;

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of cleanups.splice(0).reverse()) await end();
});

/** Shows a page whose files go to a real HTTP server, and whose messages go to the scripted server. */
export async function showWithFiles(page: ReactElement) {
  const network = new TestNetwork({ rooms: ["kitchen"], realTime: true });
  const server = await new FileServer().start();
  cleanups.push(() => server.stop());
  const options: ClientOptions = network.options();
  const client = network.client({
    random: () => 0.01,
    httpUrl: server.origin,
    fetch: ((url: string, init: RequestInit) =>
      FileServer.serves(url)
        ? // Node does not take the signals of jsdom.
          fetch(url, { ...init, signal: null })
        : options.fetch?.(url, init)) as typeof fetch,
  });
  cleanups.push(() => client.close());
  client.connect().catch(() => {});
  const view = render(page, {
    wrapper: ({ children }) => (
      <StrictMode>
        <TidingsProvider client={client}>
          <ChatUiProvider files={files}>{children}</ChatUiProvider>
        </TidingsProvider>
      </StrictMode>
    ),
  });
  return { network, server, client, view, chat: network.server };
}

/** Adds a file to the server, as if another user had uploaded it. Returns its attachment on the wire. */
export function uploaded(server: FileServer, name: string, media_type: string, more: object = {}) {
  const id = `f${server.files.size + 1}`;
  const bytes = Buffer.from("bytes");
  server.files.set(id, {
    id,
    room: "kitchen",
    name,
    media_type,
    size: bytes.length,
    sha256: "",
    bytes,
    parts: new Map(),
    state: "ready",
  });
  return { file: id, name, media_type, size: bytes.length, ...more };
}

/** A file that the user chooses. */
export const chosenFile = (name = "cat.png", type = "image/png", size = 100_000): File =>
  new NodeFile([new Uint8Array(size)], name, { type }) as unknown as File;
