/** Files for the tests, and functions that look at uploads and pictures. */
import type { Locator, Page } from "playwright-core";
import { expect } from "vitest";
import type { Person } from "./person.js";

/** A file for a user to attach. */
export interface TestFile {
  readonly name: string;
  readonly mimeType: string;
  readonly buffer: Buffer;
}

/** Paints a picture in a page, as a PNG. */
export async function paintPicture(
  page: Page,
  name: string,
  width: number,
  height: number,
): Promise<TestFile> {
  const address = await page.evaluate(
    ([width, height]) => {
      const canvas = Object.assign(document.createElement("canvas"), { width, height });
      const context = canvas.getContext("2d") as CanvasRenderingContext2D;
      const sky = context.createLinearGradient(0, 0, 0, height);
      sky.addColorStop(0, "#2b6cb0");
      sky.addColorStop(1, "#f6ad55");
      context.fillStyle = sky;
      context.fillRect(0, 0, width, height);
      context.fillStyle = "#fffaf0";
      context.beginPath();
      context.arc(width * 0.7, height * 0.4, height / 6, 0, 2 * Math.PI);
      context.fill();
      return canvas.toDataURL("image/png");
    },
    [width, height] as const,
  );
  return { name, mimeType: "image/png", buffer: Buffer.from(address.split(",")[1] ?? "", "base64") };
}

/** Chooses files with the button of the input. */
export async function chooseFiles(person: Person, ...files: TestFile[]): Promise<void> {
  await person.page.getByLabel("Files to attach").setInputFiles(files);
}

/** Pastes a file into the input, or drops it on the list of messages. */
export async function giveFile(person: Person, event: "paste" | "drop", file: TestFile): Promise<void> {
  const target = event === "paste" ? person.composer : person.messages;
  const { name, mimeType } = file;
  const text = file.buffer.toString("base64");
  await target.evaluate(
    (element, { event, name, mimeType, text }) => {
      const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], name, { type: mimeType }));
      const flags = { bubbles: true, cancelable: true };
      if (event === "paste") {
        element.dispatchEvent(new ClipboardEvent("paste", { ...flags, clipboardData: dataTransfer }));
        return;
      }
      element.dispatchEvent(new DragEvent("dragover", { ...flags, dataTransfer }));
      element.dispatchEvent(new DragEvent("drop", { ...flags, dataTransfer }));
    },
    { event, name, mimeType, text },
  );
}

/** The requests of a page that bring bytes of files. They wait while the gate is closed. */
export interface UploadGate {
  /** The offsets of the requests so far. */
  readonly offsets: number[];
  /** Lets waiting and later requests pass. */
  open(): void;
}

/** Holds the requests that bring bytes of files, from the one with this number on, counted from 1. */
export async function holdUploads(person: Person, from: number): Promise<UploadGate> {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const offsets: number[] = [];
  await person.page.route(/\/files\/[^/]+\/content$/, async (route) => {
    const request = route.request();
    if (request.method() === "PATCH") {
      offsets.push(Number(request.headers()["upload-offset"]));
      if (offsets.length >= from) await opened;
    }
    // The page may have been reloaded meanwhile.
    await route.continue().catch(() => undefined);
  });
  return { offsets, open };
}

/** Waits until a picture is loaded and has this size. */
export async function expectLoaded(picture: Locator, width: number, height: number): Promise<void> {
  await picture.waitFor();
  await expect
    .poll(() =>
      picture.evaluate((element: HTMLImageElement) => [element.naturalWidth, element.naturalHeight]),
    )
    .toEqual([width, height]);
}

/** The bytes at an address. */
export async function bytesAt(address: string): Promise<Buffer> {
  const answer = await fetch(address);
  expect(answer.status).toBe(200);
  return Buffer.from(await answer.arrayBuffer());
}
