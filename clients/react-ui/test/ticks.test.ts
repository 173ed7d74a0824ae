import { describe, expect, it } from "vitest";
import { audienceOf, groupTickOf, recipientsOf, seenBy, seenText, tickOf } from "../src/logic/ticks.js";
import { bo, me, message } from "./message.js";

const marks = (all: Record<string, [read: number, delivered: number]>) =>
  new Map(Object.entries(all).map(([user, [readSeq, deliveredSeq]]) => [user, { readSeq, deliveredSeq }]));
const mine = (seq: number | undefined, more = {}) => message(seq, { sender: me, ...more });

describe("ticks", () => {
  it("change from sending to sent, delivered and read", () => {
    expect(tickOf(mine(undefined), marks({ bo: [99, 99] }))).toBe("sending");
    expect(tickOf(mine(7), marks({}))).toBe("sent");
    expect(tickOf(mine(7), marks({ bo: [6, 6] }))).toBe("sent");
    expect(tickOf(mine(7), marks({ bo: [6, 7] }))).toBe("delivered");
    expect(tickOf(mine(7), marks({ bo: [6, 7], cy: [7, 7] }))).toBe("read");
  });

  it("exist only for own messages, and ignore the user's own marks", () => {
    expect(tickOf(message(7, { sender: bo }), marks({ cy: [9, 9] }))).toBe("none");
    expect(tickOf(mine(7), marks({ me: [9, 9] }))).toBe("sent");
    expect(tickOf(mine(7, { deleted: true }), marks({}))).toBe("none");
    expect(tickOf(mine(undefined, { status: "failed" }), marks({}))).toBe("failed");
  });

  it("of a private message count only its recipients", () => {
    const secret = mine(7, { visibleTo: { users: ["bo"], roles: ["admin"] } });
    const members = [
      { user: "cy", role: "member" },
      { user: "di", role: "admin" },
    ];
    const audience = audienceOf(secret, members);
    expect(tickOf(secret, marks({ cy: [9, 9] }), audience)).toBe("sent");
    expect(tickOf(secret, marks({ cy: [9, 9], bo: [0, 8] }), audience)).toBe("delivered");
    expect(tickOf(secret, marks({ di: [9, 9] }), audience)).toBe("read");
    expect(audienceOf(mine(7), members)).toBeUndefined();
  });

  it("have details about who read the message and who only received it", () => {
    const all = marks({ me: [9, 9], bo: [7, 7], cy: [1, 8], di: [1, 1] });
    expect(recipientsOf(mine(7), all)).toEqual({ read: ["bo"], delivered: ["cy"] });
    expect(recipientsOf(mine(undefined), all)).toEqual({ read: [], delivered: [] });
  });
});

describe("the readers of a message in a group", () => {
  const members = ["me", "bo", "cy"].map((user) => ({ user, role: "member" }));

  it("make its tick blue only when all other members have read it", () => {
    const tick = (all: Parameters<typeof marks>[0], list?: typeof members) =>
      groupTickOf(mine(7), marks(all), list);
    expect(tick({}, members)).toBe("sent");
    expect(tick({ bo: [6, 7] }, members)).toBe("delivered");
    expect(tick({ bo: [7, 7] }, members)).toBe("delivered");
    expect(tick({ bo: [7, 7], cy: [8, 8] }, members)).toBe("read");
    expect(tick({ bo: [7, 7], cy: [8, 8] }, undefined)).toBe("delivered");
  });

  it("are counted in a line while some have not read it", () => {
    const text = (all: Parameters<typeof marks>[0]) => seenText(seenBy(mine(7), marks(all), members));
    expect(text({ bo: [6, 7] })).toBeUndefined();
    expect(text({ me: [7, 7], bo: [7, 7] })).toBe("Seen by 1 of 2");
    expect(text({ bo: [7, 7], cy: [7, 7] })).toBeUndefined();
    expect(seenBy(mine(7), marks({ cy: [7, 7] }), members)).toEqual({ read: ["cy"], unread: ["bo"] });
  });

  it("are only those who may see it", () => {
    const secret = mine(7, { visibleTo: { users: ["bo"], roles: [] } });
    expect(groupTickOf(secret, marks({ bo: [7, 7] }), members)).toBe("read");
    const toNobody = mine(7, { visibleTo: { users: [], roles: [] } });
    expect(groupTickOf(toNobody, marks({ bo: [7, 7] }), members)).toBe("sent");
  });

  it("are unknown in rooms that are too large for receipts, and before the server has the message", () => {
    const many = Array.from({ length: 101 }, (_, at) => ({ user: `u${at}`, role: "member" }));
    const all = marks(Object.fromEntries(many.map(({ user }) => [user, [9, 9]])));
    expect(seenBy(mine(7), all, many)).toBeUndefined();
    expect(groupTickOf(mine(7), all, many)).toBe("delivered");
    expect(seenBy(mine(undefined), all, members)).toBeUndefined();
  });
});
