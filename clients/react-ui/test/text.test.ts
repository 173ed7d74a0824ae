import type { Connection, OutboxEntry, RoomSummary } from "@tidings/client";
import { TidingsError } from "@tidings/client";
import { describe, expect, it } from "vitest";
import { connectionStatus, errorText, sendErrorText } from "../src/logic/connection.js";
import { EMOJIS, moveInGrid } from "../src/logic/emoji.js";
import { emojiNamed, endsWithPartialName, findEmojis, nameAtEnd } from "../src/logic/emojiNames.js";
import {
  isEmojiOnly,
  isNewer,
  lastMessageText,
  linkify,
  newestByRoom,
  previewText,
} from "../src/logic/preview.js";
import { privateLabel } from "../src/logic/private.js";
import { dayLabel, daysBetween, lastSeen, listTime } from "../src/logic/time.js";
import { badgeText, documentTitle, roomTitle, totalUnread } from "../src/logic/title.js";
import { me, message } from "./message.js";

const connection = (more: Partial<Connection>): Connection => ({
  state: "connected",
  attempt: 0,
  draining: false,
  offline: false,
  ...more,
});

describe("the text about the connection", () => {
  it("needs no banner while the client is connected, also by polling", () => {
    expect(connectionStatus(connection({ transport: "websocket" }), 0)).toEqual({
      tone: "good",
      text: "Connected",
    });
    expect(connectionStatus(connection({ transport: "poll" }), 0).text).toBe("Connected (limited network)");
  });

  it("counts the seconds to the next attempt, and offers to try now", () => {
    const waiting = connection({ state: "reconnecting", attempt: 3, retryAt: 10_000 });
    expect(connectionStatus(waiting, 5_500)).toEqual({
      tone: "warning",
      text: "Connection lost. Reconnecting in 5 s",
      action: "try",
    });
    expect(connectionStatus(waiting, 10_000)).toEqual({ tone: "busy", text: "Reconnecting…" });
    expect(connectionStatus(connection({ state: "connecting" }), 0).text).toBe("Connecting…");
  });

  it("first says that the device is offline", () => {
    const status = connectionStatus(connection({ state: "reconnecting", offline: true, retryAt: 9 }), 0);
    expect(status).toMatchObject({ tone: "warning", action: "try" });
    expect(status.text).toContain("offline");
  });

  it("explains why the client disconnected, and offers a solution", () => {
    const stopped = (error?: TidingsError) =>
      connectionStatus(connection({ state: "disconnected", ...(error && { error }) }), 0);
    expect(stopped().action).toBe("connect");
    expect(stopped(new TidingsError("forbidden", "", { closeCode: 4403 }))).toMatchObject({
      action: "sign-in",
    });
    expect(stopped(new TidingsError("closed", "", { closeCode: 4409 })).text).toContain("too many windows");
    expect(stopped(new TidingsError("unauthorized")).action).toBe("sign-in");
  });

  it("covers every error", () => {
    expect(errorText(new TidingsError("forbidden"))).toContain("not allowed");
    expect(errorText(new Error("As it is."))).toBe("As it is.");
    expect(errorText(undefined)).toBe("Something went wrong.");
    expect(sendErrorText(new TidingsError("conflict"))).toBe("Not sent. The room was archived.");
    expect(sendErrorText(undefined)).toBe("Not sent.");
  });
});

describe("times", () => {
  const now = new Date(2026, 0, 15, 12, 0).getTime();
  const ago = (days: number) => new Date(2026, 0, 15 - days, 9, 30).getTime();

  it("have labels for days", () => {
    expect([dayLabel(ago(0), now), dayLabel(ago(1), now)]).toEqual(["Today", "Yesterday"]);
    expect(dayLabel(ago(3), now)).toMatch(/day$/);
    expect(dayLabel(ago(10), now)).toMatch(/5/);
    expect(dayLabel(ago(10), now)).not.toMatch(/2026/);
    expect(dayLabel(ago(100), now)).toMatch(/2025/);
  });

  it("are short in lists", () => {
    expect(listTime(ago(0), now)).toMatch(/9:30/);
    expect(listTime(ago(1), now)).toBe("Yesterday");
    expect(listTime(ago(20), now)).toMatch(/26/);
  });

  it("count days by the calendar, not by hours", () => {
    const late = new Date(2026, 0, 14, 23, 59).getTime();
    expect(daysBetween(late, late + 120_000)).toBe(1);
  });

  it("say when a user was last seen", () => {
    expect(lastSeen(now - 20_000, now)).toBe("last seen just now");
    expect(lastSeen(now - 60_000, now)).toBe("last seen 1 minute ago");
    expect(lastSeen(now - 5 * 60_000, now)).toBe("last seen 5 minutes ago");
    expect(lastSeen(ago(1), now)).toContain("yesterday");
  });
});

describe("titles", () => {
  const room = (more: Partial<RoomSummary>) =>
    ({ id: "r", kind: "private", name: "Kitchen", unread: 0, unreadCapped: false, ...more }) as RoomSummary;

  it("are the name of the room, or of the other user", () => {
    expect(roomTitle(room({}))).toBe("Kitchen");
    expect(roomTitle(room({ kind: "direct", name: null, peer: { user: "bo-d" } }))).toBe("Bo D");
    expect(roomTitle(room({ kind: "direct", peer: { user: "bo", name: "Bo!" } }))).toBe("Bo!");
    const lastMessage = message(1, { sender: { id: "bo", name: "Bodo" } });
    expect(roomTitle(room({ kind: "direct", peer: { user: "bo" }, lastMessage }))).toBe("Bodo");
  });

  it("of the page count the unread messages", () => {
    const unread = totalUnread([room({ unread: 2 }), room({ unread: 1 })]);
    expect(documentTitle(unread, "Tidings", "Kitchen")).toBe("(3) Kitchen · Tidings");
    expect(documentTitle({ count: 0, capped: false }, "Chat")).toBe("Chat");
    expect(documentTitle(totalUnread([room({ unread: 100, unreadCapped: true })]), "Tidings")).toBe(
      "(99+) Tidings",
    );
    expect(badgeText(7, true)).toBe("7+");
  });
});

describe("previews", () => {
  it("are one line, with the sender in groups", () => {
    expect(previewText(message(1, { content: "a\n  b" }))).toBe("a b");
    expect(previewText(message(1, { content: "secret", deleted: true }))).toBe("Message deleted");
    expect(lastMessageText(message(1, { content: "hi" }), "private")).toBe("Ada: hi");
    expect(lastMessageText(message(1, { content: "hi" }), "direct")).toBe("hi");
    expect(lastMessageText(message(1, { content: "hi", sender: me }), "direct")).toBe("You: hi");
  });

  it("find links without the punctuation after them, and no links that could run code", () => {
    expect(linkify("see https://a.example/x(1)?q=2, or (http://b.example).")).toEqual([
      { text: "see " },
      { text: "https://a.example/x(1)?q=2", href: "https://a.example/x(1)?q=2" },
      { text: ", or (" },
      { text: "http://b.example", href: "http://b.example" },
      { text: ")." },
    ]);
    expect(linkify("www.a.example. awww.x www.")).toEqual([
      { text: "www.a.example", href: "http://www.a.example" },
      { text: ". awww.x www." },
    ]);
    expect(linkify("javascript:alert(1) data:text/html,x")).toEqual([
      { text: "javascript:alert(1) data:text/html,x" },
    ]);
  });

  it("leave out the marks of formatting on one line", () => {
    const preview = (content: string) => previewText(message(1, { content }));
    expect(preview("**bold** and `code`, ~~gone~~")).toBe("bold and code, gone");
    expect(preview("> quoted\n\n```js\nlet x = 2 * 3;\n```")).toBe("quoted let x = 2 * 3;");
    expect(preview("[tea](https://a.example/x) at 5")).toBe("tea at 5");
    expect(preview("2 * 3 > 5, a__b, ** x **")).toBe("2 * 3 > 5, a__b, ** x **");
  });

  it("recognize a message of only a few emojis", () => {
    expect(["🎉", "👍🏽 ❤️", "👨‍👩‍👧"].map(isEmojiOnly)).toEqual([true, true, true]);
    expect(["hi 🎉", "", "🎉🎉🎉🎉", "7", "…"].map(isEmojiOnly)).toEqual([false, false, false, false, false]);
  });
});

describe("a waiting message", () => {
  const entry = (more: Partial<OutboxEntry>): OutboxEntry => ({
    clientId: "c",
    room: "r",
    content: "hi",
    options: {},
    at: 0,
    status: "sending",
    ...more,
  });

  it("is the newest of its room until the room has a newer one, whatever the clock says", () => {
    const last = message(5);
    expect(isNewer(entry({}), last)).toBe(true);
    expect(isNewer(entry({}), undefined)).toBe(true);
    expect(isNewer(entry({ status: "sent", seq: 6 }), last)).toBe(true);
    expect(isNewer(entry({ status: "sent", seq: 5 }), last)).toBe(false);
    expect(isNewer(undefined, undefined)).toBe(false);
  });

  it("keeps its time after it has failed", () => {
    const last = message(5);
    expect(isNewer(entry({ status: "failed", at: last.at + 1 }), last)).toBe(true);
    expect(isNewer(entry({ status: "failed", at: last.at - 1 }), last)).toBe(false);
  });

  it("is found by its room, the last one of each room", () => {
    const all = [entry({ clientId: "a" }), entry({ clientId: "b", room: "s" }), entry({ clientId: "c" })];
    const newest = newestByRoom(all);
    expect([newest.get("r")?.clientId, newest.get("s")?.clientId, newest.get("t")]).toEqual([
      "c",
      "b",
      undefined,
    ]);
  });
});

describe("the label of a private message", () => {
  const nameOf = (user: string) => user.toUpperCase();
  const to = (users: string[], roles: string[] = []) => message(1, { visibleTo: { users, roles } });

  it("has no names until the names are loaded", () => {
    expect(privateLabel(to(["bo"]), false, nameOf)).toBe("Private");
    expect(privateLabel(to(["bo"]), true, nameOf)).toBe("Private: only for BO");
  });

  it("names roles at once, because they need no loading", () => {
    expect(privateLabel(to([], ["admin"]), false, nameOf)).toBe(
      "Private: only for everyone with the role admin",
    );
    const mine = message(1, { sender: me, visibleTo: { users: ["bo"], roles: ["owner"] } });
    expect(privateLabel(mine, true, nameOf)).toBe("Only for BO and everyone with the role owner");
  });
});

describe("the emoji picker", () => {
  it("moves by arrow keys within its edges", () => {
    expect(moveInGrid("ArrowDown", 0, 12)).toBe(6);
    expect(moveInGrid("ArrowDown", 7, 12)).toBe(7);
    expect(moveInGrid("ArrowLeft", 0, 12)).toBe(0);
    expect(moveInGrid("End", 0, 12)).toBe(11);
    expect(moveInGrid("a", 0, 12)).toBeUndefined();
  });

  it("offers only emojis that the server accepts, up to 32 bytes, each once", () => {
    expect(EMOJIS.every(([emoji]) => Buffer.byteLength(emoji) <= 32)).toBe(true);
    expect(new Set(EMOJIS.map(([emoji]) => emoji)).size).toBe(EMOJIS.length);
    expect(new Set(EMOJIS.map(([, name]) => name)).size).toBe(EMOJIS.length);
  });
});

describe("emojis by name", () => {
  const all = [
    {
      emoji: "🎉",
      names: ["tada"],
      tags: ["party"],
      description: "party popper",
      category: "Activities",
    },
    { emoji: "🥑", names: ["avocado"], tags: [], description: "avocado", category: "Food & Drink" },
    { emoji: "👍", names: ["+1", "thumbsup"], tags: [], description: "thumbs up", category: "People & Body" },
  ] as unknown as Parameters<typeof findEmojis>[0];

  it("are found by the beginnings of words in names, tags and descriptions", () => {
    expect(findEmojis(all, "pop par")).toEqual([["🎉", "party popper"]]);
    expect(findEmojis(all, ":avo")).toEqual([["🥑", "avocado"]]);
    expect(findEmojis(all, "ocado")).toEqual([]);
    expect(findEmojis(all, " : ")).toEqual([]);
    expect([emojiNamed(all, "+1"), emojiNamed(all, "party")]).toEqual(["👍", undefined]);
  });

  it("are recognized between colons at the end of a text, but not in times and addresses", () => {
    expect(["done :tada:", ":+1:", "(:tada:"].map(nameAtEnd)).toEqual(["tada", "+1", "tada"]);
    expect(["10:30:", "http://x:80:", "a:tada:", "::", ":ta da:"].map(nameAtEnd)).toEqual(
      Array(5).fill(undefined),
    );
    expect([":ta", "hi :t", "10:3", "done:"].map(endsWithPartialName)).toEqual([true, true, false, false]);
  });
});
