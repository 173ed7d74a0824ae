import { describe, expect, it } from "vitest";
import { cleanName, userIdOf } from "../serve/names.mjs";

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
});
