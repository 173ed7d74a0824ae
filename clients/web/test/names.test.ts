import { describe, expect, it } from "vitest";
import {
  AVATAR_COLOURS,
  cleanName,
  colourNumberOf,
  displayName,
  initials,
  listNames,
  parsePeople,
  typingText,
  userIdOf,
} from "../src/logic/names.ts";

describe("user ids", () => {
  it("contain only lower-case letters, digits and dashes, and are stable", () => {
    expect(userIdOf("Ada Lovelace")).toBe("ada-lovelace");
    expect(userIdOf("  Zoë  Müller! ")).toBe("zoe-muller");
    expect(userIdOf("R2-D2")).toBe("r2-d2");
    for (const name of ["Анна", "李小龍", "🙂", "Ada Анна"]) {
      expect(userIdOf(name)).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
      expect(userIdOf(name)).toBe(userIdOf(name));
    }
  });

  it("are different for names whose letters cannot be converted", () => {
    expect(userIdOf("Анна")).not.toBe(userIdOf("Ольга"));
    expect(userIdOf("Bo Анна")).not.toBe(userIdOf("Bo"));
  });
});

describe("names", () => {
  it("are normalized, and refused when empty, too long or with control characters", () => {
    expect(cleanName("  Ada \t Lovelace ")).toBe("Ada Lovelace");
    for (const bad of ["", " ", "x".repeat(61), "a\u0000b", null, 7]) expect(cleanName(bad)).toBeUndefined();
    expect(cleanName("x".repeat(60))).toHaveLength(60);
  });

  it("are made from the id when the name is unknown", () => {
    expect(displayName("ada-lovelace")).toBe("Ada Lovelace");
    expect(displayName("ada-lovelace", "Ada L.")).toBe("Ada L.");
    expect(displayName("--")).toBe("--");
  });

  it("have the initials of their first and last word", () => {
    expect(initials("Ada Lovelace")).toBe("AL");
    expect(initials("Johann Sebastian Bach")).toBe("JB");
    expect(initials("bo")).toBe("B");
    expect(initials("(élodie) durand")).toBe("ÉD");
    expect(initials("…")).toBe("?");
  });

  it("have a stable colour, and all colours are used", () => {
    expect(colourNumberOf("ada")).toBe(colourNumberOf("ada"));
    const used = new Set(Array.from({ length: 200 }, (_, index) => colourNumberOf(`user-${index}`)));
    expect([...used].sort((a, b) => a - b)).toEqual(
      Array.from({ length: AVATAR_COLOURS }, (_, index) => index),
    );
  });

  it("are joined in a list", () => {
    expect(listNames([])).toBe("");
    expect(listNames(["Ada"])).toBe("Ada");
    expect(listNames(["Ada", "Bo"])).toBe("Ada and Bo");
    expect(listNames(["Ada", "Bo", "Cy"])).toBe("Ada, Bo and Cy");
    expect(listNames(["Ada", "Bo", "Cy", "Di"])).toBe("Ada, Bo and 2 others");
  });

  it("are part of the text about typing users", () => {
    expect(typingText([])).toBe("");
    expect(typingText(["Ada"])).toBe("Ada is typing");
    expect(typingText(["Ada", "Bo"])).toBe("Ada and Bo are typing");
    expect(typingText(["a", "b", "c", "d"])).toBe("Several people are typing");
  });

  it("are found in a typed list, each user once and without the user who types", () => {
    expect(parsePeople("Ada Lovelace, @bo;\n ada lovelace,, me , ?", "me")).toEqual([
      { user: "ada-lovelace", name: "Ada Lovelace" },
      { user: "bo", name: "bo" },
    ]);
  });
});
