// @vitest-environment jsdom
// Files in the composer and in messages, with a real HTTP server for the files.
import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import { ChatUiProvider, RoomView } from "../src/index.js";
import { chosenFile, drawnPictures, showWithFiles, uploaded } from "./filesSupport.js";
import { show } from "./support.js";

const HASH = "LEHV6nWB2yk8pyo0adR*.7kCMdnj";

async function openKitchen() {
  const world = await showWithFiles(<RoomView room="kitchen" />);
  const input = await screen.findByRole("textbox", { name: "Message to kitchen" });
  await screen.findByRole("button", { name: "Attach files" });
  return { ...world, input };
}

const choose = (...files: File[]) =>
  fireEvent.change(screen.getByLabelText("Files to attach"), { target: { files } });
const attached = () => screen.findByRole("list", { name: "Attached files" });

test("a chosen file uploads in the composer and is sent without a text", async () => {
  const { server, chat } = await openKitchen();
  choose(chosenFile());
  const list = await attached();
  within(list).getByText("cat.png");
  const send = screen.getByRole<HTMLButtonElement>("button", { name: "Send" });
  expect(send.disabled).toBe(false);
  await waitFor(() => expect(server.files.get("f1")?.state).toBe("ready"));
  fireEvent.click(send);
  await waitFor(() => expect(chat.room("kitchen").log.length).toBe(1));
  expect(chat.room("kitchen").log[0]).toMatchObject({
    content: "",
    attachments: [{ file: "f1", name: "cat.png" }],
  });
  expect(screen.queryByRole("list", { name: "Attached files" })).toBeNull();
  await screen.findByRole("button", { name: "View picture cat.png" });
});

test("a message with an unfinished file shows its progress, and is sent when the file is complete", async () => {
  const { server, chat, input } = await openKitchen();
  let isOpen = false;
  server.hook = () => (isOpen ? undefined : { status: 503, body: { code: "unavailable" } });
  choose(chosenFile("plan.pdf", "application/pdf"));
  await attached();
  fireEvent.change(input, { target: { value: "the plan" } });
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
  const row = await screen.findByRole("article", { name: /the plan/ });
  within(row).getByRole("progressbar", { name: "Upload of plan.pdf" });
  expect(chat.room("kitchen").log).toEqual([]);
  isOpen = true;
  await waitFor(() => expect(chat.contents("kitchen")).toEqual(["the plan"]));
  await screen.findByRole("button", { name: "Download plan.pdf 100 KB" });
});

test("a refused file can be tried again and removed", async () => {
  const { server } = await openKitchen();
  server.hook = () => ({ status: 413, body: { code: "too_large" } });
  choose(chosenFile());
  const list = await attached();
  await within(list).findByText("This is too large.");
  server.hook = undefined;
  fireEvent.click(within(list).getByRole("button", { name: "Upload cat.png again" }));
  await waitFor(() => expect(server.files.get("f1")?.state).toBe("ready"));
  fireEvent.click(within(list).getByRole("button", { name: "Remove cat.png" }));
  await waitFor(() => expect(server.files.size).toBe(0));
  expect(screen.queryByRole("list", { name: "Attached files" })).toBeNull();
});

test("pasted and dropped files are attached, pasted text of an office program is not", async () => {
  const { input } = await openKitchen();
  fireEvent.paste(input, {
    clipboardData: { files: [chosenFile("table.png")], types: ["text/rtf", "Files"] },
  });
  expect(screen.queryByRole("list", { name: "Attached files" })).toBeNull();
  fireEvent.paste(input, { clipboardData: { files: [chosenFile("shot.png")], types: ["Files"] } });
  within(await attached()).getByText("shot.png");
  const feed = screen.getByRole("main");
  const dataTransfer = { files: [chosenFile("dropped.txt", "text/plain")], types: ["Files"] };
  fireEvent.dragOver(feed, { dataTransfer });
  screen.getByText("Drop the files to attach them");
  fireEvent.drop(feed, { dataTransfer });
  within(await attached()).getByText("dropped.txt");
  expect(screen.queryByText("Drop the files to attach them")).toBeNull();
});

test("a message takes ten files at most", async () => {
  await openKitchen();
  choose(...Array.from({ length: 11 }, (_, index) => chosenFile(`${index}.txt`, "text/plain", 1)));
  await screen.findByText("A message has at most 10 files.");
  expect(within(await attached()).getAllByRole("listitem").length).toBe(10);
});

test("a picture has its size before it loads, and a damaged blurhash does no harm", async () => {
  const { server, chat } = await openKitchen();
  const sizes = { width: 1600, height: 800, blurhash: HASH };
  const attachments = [
    uploaded(server, "wide.png", "image/png", sizes),
    uploaded(server, "odd.png", "image/png", { blurhash: "?" }),
  ];
  act(() => void chat.appendMessage("", "bob", "kitchen", "c1", [], attachments));
  const wide = await screen.findByRole("button", { name: "View picture wide.png" });
  const box = wide.firstElementChild as HTMLElement;
  expect(box.style.width).toBe("320px");
  expect(box.style.aspectRatio).toBe("320 / 160");
  await waitFor(() => expect(wide.querySelector("img")?.src).toContain("/bytes/f1"));
  const odd = screen.getByRole("button", { name: "View picture odd.png" }).firstElementChild as HTMLElement;
  expect(odd.style.width).toBe("240px");
  // The blurhash of the first picture is drawn. That of the second is damaged, so nothing is drawn.
  await waitFor(() => expect(drawnPictures.length).toBeGreaterThan(0));
  expect(new Set(drawnPictures).size).toBe(1);
});

test("a thumbnail loads the preview, and the lightbox and a GIF the picture itself", async () => {
  const { server, chat } = await openKitchen();
  const attachments = [
    uploaded(server, "photo.jpg", "image/jpeg"),
    uploaded(server, "moving.gif", "image/gif"),
  ];
  act(() => void chat.appendMessage("", "bob", "kitchen", "c1", [], attachments));
  const photo = await screen.findByRole("button", { name: "View picture photo.jpg" });
  const gif = screen.getByRole("button", { name: "View picture moving.gif" });
  await waitFor(() => expect(photo.querySelector("img")?.src).toMatch(/bytes\/f1.*preview=1/));
  await waitFor(() => expect(gif.querySelector("img")?.src).toContain("/bytes/f2"));
  expect(gif.querySelector("img")?.src).not.toContain("preview");
  fireEvent.click(photo);
  const box = await screen.findByRole("dialog", { name: "Picture photo.jpg" });
  const large = await within(box).findByRole<HTMLImageElement>("img", { name: "photo.jpg" });
  await waitFor(() => expect(large.src).toContain("/bytes/f1"));
  expect(large.src).not.toContain("preview");
});

test("an address that ended is replaced, three times at most", async () => {
  const { server, chat } = await openKitchen();
  act(
    () => void chat.appendMessage("", "bob", "kitchen", "c1", [], [uploaded(server, "a.png", "image/png")]),
  );
  const button = await screen.findByRole("button", { name: "View picture a.png" });
  const image = () => button.querySelector("img") as HTMLImageElement;
  await waitFor(() => expect(image()?.src).toContain("n=1"));
  for (let count = 2; count <= 4; count++) {
    fireEvent.error(image());
    await waitFor(() => expect(image().src).toContain(`n=${count}`));
  }
  fireEvent.error(image());
  await within(button).findByText("Not available");
  expect(server.links).toBe(4);
});

test("the lightbox shows the pictures of a message, and closes with the focus where it was", async () => {
  const { server, chat } = await openKitchen();
  const attachments = [
    uploaded(server, "one.png", "image/png"),
    uploaded(server, "two.png", "image/png"),
    uploaded(server, "notes.txt", "text/plain"),
  ];
  act(() => void chat.appendMessage("", "bob", "kitchen", "c1", [], attachments));
  const thumbnail = await screen.findByRole("button", { name: "View picture two.png" });
  thumbnail.focus();
  fireEvent.click(thumbnail);
  const box = await screen.findByRole("dialog", { name: "Picture two.png" });
  expect(document.activeElement).toBe(within(box).getByRole("button", { name: "Close" }));
  within(box).getByText("two.png (2 of 2)");
  await within(box).findByRole("img", { name: "two.png" });
  fireEvent.keyDown(box, { key: "ArrowRight" });
  screen.getByRole("dialog", { name: "Picture one.png" });
  fireEvent.keyDown(box, { key: "ArrowLeft" });
  screen.getByRole("dialog", { name: "Picture two.png" });
  fireEvent(box, new Event("cancel", { cancelable: true }));
  expect(screen.queryByRole("dialog")).toBeNull();
  expect(document.activeElement).toBe(thumbnail);
});

test("the menu of a message reaches its files by keyboard", async () => {
  const { server, chat } = await openKitchen();
  const attachments = [uploaded(server, "a.png", "image/png"), uploaded(server, "b.pdf", "application/pdf")];
  act(() => void chat.appendMessage("files", "bob", "kitchen", "c1", [], attachments));
  const row = await screen.findByRole("article", { name: /files\. 2 files/ });
  row.focus();
  fireEvent.keyDown(row, { key: "Enter" });
  screen.getByRole("menuitem", { name: "View pictures" });
  const opened: string[] = [];
  vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
    opened.push(this.href);
  });
  fireEvent.click(screen.getByRole("menuitem", { name: "Download b.pdf" }));
  await waitFor(() => expect(opened[0]).toContain("/bytes/f2"));
  vi.restoreAllMocks();
});

test("videos and sounds have players that continue where their address ended", async () => {
  const { server, chat } = await openKitchen();
  const attachments = [
    uploaded(server, "film.mp4", "video/mp4", { width: 640, height: 360 }),
    uploaded(server, "song.mp3", "audio/mpeg"),
  ];
  act(() => void chat.appendMessage("", "bob", "kitchen", "c1", [], attachments));
  const video = (await screen.findByLabelText("film.mp4")) as HTMLVideoElement;
  expect(video.controls).toBe(true);
  await screen.findByLabelText("song.mp3");
  const play = vi.spyOn(HTMLMediaElement.prototype, "play").mockResolvedValue(undefined);
  Object.defineProperty(video, "paused", { value: false });
  video.currentTime = 42;
  fireEvent.timeUpdate(video);
  const before = video.src;
  fireEvent.error(video);
  await waitFor(() => expect(video.src).not.toBe(before));
  video.currentTime = 0;
  fireEvent.loadedMetadata(video);
  expect(video.currentTime).toBe(42);
  expect(play).toHaveBeenCalled();
  vi.restoreAllMocks();
});

test("a held file says so", async () => {
  const { server, chat } = await openKitchen();
  const attachment = uploaded(server, "a.png", "image/png");
  const file = server.files.get("f1");
  if (file) file.state = "held";
  act(() => void chat.appendMessage("", "bob", "kitchen", "c1", [], [attachment]));
  await screen.findByRole("button", { name: "View picture a.png, Being checked…" });
});

test("files at other servers are links, with their size", async () => {
  const url = "https://files.example.com/cat.png";
  const { chat, server } = await openKitchen();
  const attachment = { name: "cat.png", url, media_type: "image/png", size: 1_400_000 };
  act(() => void chat.appendMessage("", "bob", "kitchen", "c1", [], [attachment]));
  const link = await screen.findByRole<HTMLAnchorElement>("link", { name: "cat.png 1.4 MB" });
  expect(link.href).toBe(url);
  expect(server.requests).toEqual([]);
});

test("a page without files has no attach button, and names the files of the server", async () => {
  const { server } = show(
    <ChatUiProvider>
      <RoomView room="kitchen" />
    </ChatUiProvider>,
  );
  await screen.findByText("tea?");
  const attachment = { name: "cat.png", file: "f1", media_type: "image/png", size: 1_400_000 };
  act(() => void server.appendMessage("", "bob", "kitchen", "c1", [], [attachment]));
  const name = await screen.findByRole<HTMLButtonElement>("button", { name: "Download cat.png 1.4 MB" });
  expect(name.disabled).toBe(true);
  expect(screen.queryByRole("button", { name: "Attach files" })).toBeNull();
});
