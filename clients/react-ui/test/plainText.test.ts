// Cuts between the characters that users see, names that change no direction, and times of the device's zone.
import type { RoomSummary, SystemEvent } from "@tidings/client";
import { afterEach, expect, test, vi } from "vitest";
import { displayName, initials, listNames } from "../src/logic/names.js";
import { type NewMessage, notificationText } from "../src/logic/notify.js";
import { isolate, shorten } from "../src/logic/plainText.js";
import { isEmojiOnly, lastMessageText, previewText } from "../src/logic/preview.js";
import { buildRows } from "../src/logic/rows.js";
import { systemLines } from "../src/logic/systemLines.js";
import { exactTime, listTime, timeOfDay } from "../src/logic/time.js";
import { roomTitle } from "../src/logic/title.js";
import { message } from "./message.js";

const room = (more: Partial<RoomSummary>) => ({ kind: "public", name: "Kitchen", ...more }) as RoomSummary;
const KISS = "👩🏿‍❤️‍💋‍👨🏽";
const update = (change: object): SystemEvent[] => [
  { type: "room:updated", room: "r", seq: 1, at: "2024-01-01T00:00:00Z", by: "bo", ...change } as SystemEvent,
];
const isWellFormed = (text: string) => !/\p{Surrogate}/u.test(text);

test("a cut never splits a character that users see", () => {
  for (const character of ["😀", KISS, "🇩🇪", "e\u0301", "क्ष"]) {
    const text = character.repeat(500);
    const line = systemLines(update({ metadata: { description: `x${text}` } }), String, undefined)[0] ?? "";
    expect(line).toBe(`bo changed the description to “x${character.repeat(119)}…”`);
    const event = { seq: 1, sender: { id: "bo" }, content: text } as unknown as NewMessage;
    const { body } = notificationText(event, room({}), "me", "all");
    expect(body).toBe(`${character.repeat(200)}…`);
    expect([line, body].every(isWellFormed)).toBe(true);
  }
  expect(shorten("abc", 3)).toBe("abc");
  expect(shorten("ab cd", 3)).toBe("ab…");
});

test("initials and names made from ids keep whole characters", () => {
  expect(initials("e\u0301lodie 𐐨da")).toBe("E\u0301𐐀");
  expect(initials("क्षमा")).toBe("क्ष");
  expect(displayName("𐐨da")).toBe("𐐀da");
});

test("a platform without Intl.Segmenter cuts between code points", () => {
  vi.stubGlobal("Intl", Object.create(Intl, { Segmenter: { value: undefined } }));
  expect(shorten("😀".repeat(4), 3)).toBe("😀😀😀…");
  expect(shorten("e\u0301e\u0301", 3)).toBe("e\u0301e…");
  expect(shorten("abc", 3)).toBe("abc");
  expect(initials("𐐨da (bo)")).toBe("𐐀B");
  expect([isEmojiOnly("😀😀"), isEmojiOnly("😀a")]).toEqual([true, false]);
});

test("a name cannot reverse the text around it", () => {
  const evil = "\u202enimda\u2066";
  expect(displayName("x", evil)).toBe("nimda");
  expect(displayName(`\u202dx`)).toBe("X");
  expect(displayName("x", "\u202e")).toBe("X");
  expect(roomTitle(room({ name: evil }))).toBe("nimda");
  expect(roomTitle(room({ name: "\u202e" }))).toBe("Unnamed room");
  expect(systemLines(update({ name: evil }), () => evil, undefined)).toEqual([
    "nimda renamed the room to “nimda”",
  ]);
  const file = { name: "x\u202efdp.exe", url: "https://x", mediaType: "a/b", size: 1 };
  expect(previewText(message(1, { content: "", attachments: [file] }))).toBe("xfdp.exe");
  expect(lastMessageText(message(1, { content: "hi", sender: { id: "x", name: evil } }), "public")).toBe(
    "nimda: hi",
  );
});

test("a name from right to left does not move its neighbours in a sentence", () => {
  expect(isolate("Ada")).toBe("Ada");
  expect(listNames(["Ada", "אבי", "Bo", "Cy"])).toBe("Ada, \u2068אבי\u2069 and 2 others");
  expect(systemLines(update({ archived: true }), () => "نور", undefined)).toEqual([
    "\u2068نور\u2069 archived the room",
  ]);
});

afterEach(() => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
});

test("times and days follow the zone of the device while the page stays open", () => {
  const at = Date.parse("2024-05-06T22:30:00Z");
  const days = () => buildRows([message(1, { at })], { hasOlder: false, readUpTo: undefined })[1];
  vi.stubEnv("TZ", "UTC");
  expect([timeOfDay(at), exactTime(at), listTime(at, at)].join()).toMatch(/^10:30.*10:30:00.*10:30/);
  const before = days();
  vi.stubEnv("TZ", "Asia/Tokyo");
  expect([timeOfDay(at), exactTime(at), listTime(at, at)].join()).toMatch(/^7:30.*7:30:00.*7:30/);
  expect(days()).not.toEqual(before);
});
