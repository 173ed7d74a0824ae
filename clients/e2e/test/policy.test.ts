import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("the page has a strict content security policy and does not violate it", async () => {
  const ada = await chat.person("Ada");
  const page = await ada.page.goto(chat.environment.demo);
  const policy = page?.headers()["content-security-policy"] ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toMatch(/unsafe-|\*/);
  await ada.signIn();
  // A forbidden inline script proves that the test detects violations.
  await ada.page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'injected'";
    document.body.append(script);
  });
  await expect.poll(() => ada.errors.splice(0).join()).toContain("Content Security Policy");
  expect(await ada.page.title()).not.toBe("injected");
});
