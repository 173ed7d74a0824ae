import { describe, expect, it } from "vitest";
import {
  AVATAR_COLOUR_COUNT,
  colourNumberOf,
  displayName,
  initials,
  isSimilar,
  listNames,
  parsePeople,
  typingText,
} from "../src/logic/names.js";

it("a mistyped name is similar to the right one, and another name is not", () => {
  for (const [typed, right] of [
    ["bobb", "Bob"],
    ["ada lovelce", "Ada Lovelace"],
    ["Grcae", "Grace"],
    ["anne", "ann"],
  ] as const)
    expect(isSimilar(typed, right), typed).toBe(true);
  for (const [typed, other] of [
    ["bob", "Bella"],
    ["ann", "Ben"],
    ["", "Ada"],
    ["Ada", ""],
  ] as const)
    expect(isSimilar(typed, other), typed).toBe(false);
});

describe("names", () => {
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
      Array.from({ length: AVATAR_COLOUR_COUNT }, (_, index) => index),
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
    const userIdOf = (name: string) => name.toLowerCase().replaceAll(" ", "-");
    expect(parsePeople("Ada Lovelace, @bo;\n ada lovelace,, me , ?", userIdOf, "me")).toEqual([
      { user: "ada-lovelace", name: "Ada Lovelace" },
      { user: "bo", name: "bo" },
    ]);
  });
});
