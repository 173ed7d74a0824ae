import { expect, test } from "vitest";
import { INTAKE, type Intake, type IntakeRow } from "../src/room/log-states.js";

const INTAKES = Object.keys(INTAKE) as Intake[];

function after(...events: Exclude<keyof IntakeRow, "drops">[]): Intake {
  let intake: Intake = "open";
  for (const event of events) intake = INTAKE[intake][event] ?? intake;
  return intake;
}

test("a load closes the intake in every state, and a reset opens it", () => {
  for (const intake of INTAKES) {
    expect(INTAKE[intake].load).toBe("closed");
    expect(INTAKE[intake].reset).toBe("open");
  }
});

test("the intake opens only with the answer to the join that follows a load", () => {
  expect(after("load")).toBe("closed");
  expect(after("load", "joined")).toBe("closed");
  expect(after("load", "join")).toBe("joining");
  expect(after("load", "join", "joined")).toBe("open");
  expect(after("load", "join", "load", "joined")).toBe("closed");
  expect(after("join", "joined")).toBe("open");
});

test("only an open intake takes frames", () => {
  expect(INTAKES.filter((intake) => !INTAKE[intake].drops)).toEqual(["open"]);
});
