import { describe, expect, it } from "vitest";
import { audienceOf, recipientsOf, tickOf } from "../src/logic/ticks.ts";
import { bo, me, message } from "./message.ts";

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
