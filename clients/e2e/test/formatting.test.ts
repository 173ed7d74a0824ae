import { expect, test } from "vitest";
import { usesFirefox } from "../setup/browser.js";
import { accessibilityFaults } from "../support/axe.js";
import { Chat } from "../support/chat.js";

const chat = new Chat();

// The content security policy of the page would block the script that looks for accessibility faults. Playwright cannot
// switch it off in Firefox.
test.skipIf(usesFirefox)("formatting is safe, and its parser is loaded only when it is needed", async () => {
  const ada = await chat.person("Ada", { device: { bypassCSP: true } });
  const scripts: string[] = [];
  ada.page.on("request", (request) => {
    if (request.resourceType() === "script") scripts.push(request.url());
  });
  const countParserRequests = () => scripts.filter((url) => url.includes("markdown")).length;
  await ada.signIn();
  const name = chat.name("Format");
  const room = await chat.room(name, [ada.id, "bo"]);
  await chat.post("bo", room, "plain at first: 2 - 1, see www.a.example");
  await ada.open(name);
  const plainLink = ada.row("plain at first").getByRole("link");
  expect(await plainLink.getAttribute("href")).toBe("http://www.a.example");
  expect(countParserRequests()).toBe(0);

  await ada.composer.fill("**bold** *it* ~~gone~~ `a < b`");
  await ada.composer.press("Enter");
  const row = ada.row("bold it gone a < b");
  await row.waitFor();
  expect(countParserRequests()).toBe(1);
  for (const tag of ["strong", "em", "del", "code"]) expect(await row.locator(tag).count()).toBe(1);

  await chat.post("bo", room, "Bring:\n- **milk**\n- bread\n\n> and no *eggs*\n\n```\nlet x = '<b>';\n```");
  const listRow = ada.row("Bring:");
  await listRow.locator("pre code").waitFor();
  expect(await listRow.getByRole("listitem").allInnerTexts()).toEqual(["milk", "bread"]);
  expect(await listRow.locator("blockquote em").textContent()).toBe("eggs");
  expect(await listRow.locator("pre").textContent()).toBe("let x = '<b>';");

  const hostile = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) ![i](https://evil.example/i.png) *";
  await chat.post("bo", room, hostile);
  const hostileRow = ada.row("onerror=alert(1)");
  await hostileRow.waitFor();
  expect(await hostileRow.locator("img").count()).toBe(0);
  expect(
    await hostileRow.getByRole("link").evaluateAll((all) => all.map((one) => one.getAttribute("href"))),
  ).toEqual(["https://evil.example/i.png"]);
  await chat.screenshot(ada, "formatting");
  expect(await accessibilityFaults(ada)).toEqual([]);
  // The time of a message with several blocks is below its text.
  const meta = await listRow.locator(".tidings-bubble-meta").boundingBox();
  const code = await listRow.locator("pre").boundingBox();
  expect(meta?.y ?? 0).toBeGreaterThanOrEqual((code?.y ?? 0) + (code?.height ?? 0));
});

test("a name between colons becomes an emoji, and the picker finds all emojis", async () => {
  const ada = await chat.signedIn("Ada");
  const name = chat.name("Emoji");
  await chat.room(name, [ada.id, "bo"]);
  await ada.open(name);
  await ada.composer.pressSequentially("done :tada:");
  await expect.poll(() => ada.composer.inputValue()).toBe("done 🎉");
  await ada.composer.pressSequentially(" at 10:30: yes");
  expect(await ada.composer.inputValue()).toBe("done 🎉 at 10:30: yes");
  await ada.page.getByRole("button", { name: "Insert emoji" }).click();
  const picker = ada.page.getByRole("dialog", { name: "Emoji" });
  await picker.waitFor();
  await ada.page.keyboard.type("avoc");
  await picker.getByRole("button", { name: "avocado" }).waitFor();
  await chat.screenshot(ada, "emoji-search");
  await ada.page.keyboard.press("Enter");
  await expect.poll(() => ada.composer.inputValue()).toBe("done 🎉 at 10:30: yes🥑");
  await ada.composer.press("Enter");
  await ada.row("done 🎉 at 10:30: yes🥑").waitFor();
});
