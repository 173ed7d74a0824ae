import { expect, it } from "vitest";
import { fold } from "../src/logic/fold.js";

it("folds the forms of a name to one", () => {
  for (const [one, other] of [
    ["Ölpreis", "ölpreis"],
    ["ΣΟΦΟΣ", "σοφός"],
    ["Straße", "STRASSE"],
    ["Łukasz Ødegård", "lukasz odegard"],
    ["Đức", "duc"],
    ["Işık İ", "isik i"],
    ["ﾃﾞｰﾀ", "データ"],
    ["مُحَـمَّد أحمد", "محمد احمد"],
    ["שָׁלוֹם", "שלום"],
    ["葛\u{e0100}城市", "葛城市"],
  ] as const) {
    expect(fold(one)).toBe(fold(other));
  }
  expect(fold("か")).not.toBe(fold("が"));
  expect(fold("की")).not.toBe(fold("का"));
});
