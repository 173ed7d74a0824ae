import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import { focusedElement, pressUntilFocused } from "../support/keys.js";

const chat = new Chat();

test("a user does everything with the keyboard, and the focus is always visible", async () => {
  const ada = await chat.person("Ada");
  const { keyboard } = ada.page;
  const name = chat.name("Keys");
  const room = await chat.room(name, ["bo", ada.id]);
  await chat.post("bo", room, "no mouse today");

  await expect.poll(() => focusedElement(ada)).toMatchObject({ name: "Your name", visible: true });
  await keyboard.type(ada.name);
  await keyboard.press("Enter");
  await ada.ready();
  await ada.roomLink(name).waitFor();
  await pressUntilFocused(ada, "Tab", new RegExp(`^${name}`));
  await keyboard.press("Enter");
  await ada.row("no mouse today").waitFor();
  await pressUntilFocused(ada, "Tab", /^Message to /);
  await keyboard.type("none indeed");
  await keyboard.press("Shift+Enter");
  await keyboard.type("in two lines");
  await keyboard.press("Enter");
  await ada.row("none indeed").getByText("in two lines").waitFor();
  expect(await ada.composer.inputValue()).toBe("");
  expect(await focusedElement(ada)).toMatchObject({ role: "textarea" });

  await pressUntilFocused(ada, "Shift+Tab", /^Messages of /);
  await pressUntilFocused(ada, "ArrowUp", /none indeed/);
  await pressUntilFocused(ada, "ArrowUp", /no mouse today/);
  await keyboard.press("Enter");
  await ada.page.getByRole("menu", { name: "Message" }).waitFor();
  expect((await focusedElement(ada)).name).toMatch(/^Reply/);
  await keyboard.press("Escape");
  await ada.page.getByRole("menu", { name: "Message" }).waitFor({ state: "detached" });
  expect((await focusedElement(ada)).name).toMatch(/no mouse today/);

  await keyboard.press("Enter");
  await pressUntilFocused(ada, "ArrowDown", /^React/);
  await keyboard.press("Enter");
  await ada.page.getByRole("dialog", { name: "React with" }).waitFor();
  await pressUntilFocused(ada, "ArrowRight", /^heart$/);
  await keyboard.press("Enter");
  await ada.row("no mouse today").getByRole("button", { name: /^❤️ 1/ }).waitFor();
  expect((await focusedElement(ada)).name).toMatch(/no mouse today/);

  await keyboard.press("r");
  await ada.page.getByText("Reply to Bo").waitFor();
  expect(await focusedElement(ada)).toMatchObject({ role: "textarea" });
  await keyboard.type("quite so");
  await keyboard.press("Escape");
  await ada.page.getByText("Reply to Bo").waitFor({ state: "detached" });

  await pressUntilFocused(ada, "Shift+Tab", /^Members$/);
  await keyboard.press("Enter");
  const panel = ada.page.getByRole("complementary", { name: "Members" });
  await panel.getByText("2 members").waitFor();
  await pressUntilFocused(ada, "Tab", /^Leave room$/);
  await keyboard.press("Enter");
  const dialog = ada.page.getByRole("dialog", { name: `Leave ${name}?` });
  await dialog.waitFor();
  // Tab never moves the focus out of the dialog.
  for (let step = 0; step < 5; step += 1) {
    await keyboard.press("Tab");
    expect(await dialog.evaluate((one) => one.contains(document.activeElement))).toBe(true);
  }
  await keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  expect((await focusedElement(ada)).name).toBe("Leave room");
  await keyboard.press("Escape");
  await panel.waitFor({ state: "detached" });
});
