import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("the page comes with a policy that lets nothing strange in, and holds to it", async () => {
  const ada = await chat.person("Ada");
  const page = await ada.page.goto(chat.world.demo);
  const policy = page?.headers()["content-security-policy"] ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toMatch(/unsafe-|\*/);
  await ada.signIn();
  // That complaints of the browser are heard at all is shown by something that the policy forbids.
  await ada.page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'strange'";
    document.body.append(script);
  });
  await expect.poll(() => ada.complaints.splice(0).join()).toContain("Content Security Policy");
  expect(await ada.page.title()).not.toBe("strange");
});
