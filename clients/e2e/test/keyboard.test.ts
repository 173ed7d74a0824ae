import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import { focused, walk } from "../support/keys.js";

const chat = new Chat();

test("everything is done by keyboard alone, and the focus is always to be seen", async () => {
  const ada = await chat.person("Ada");
  const { keyboard } = ada.page;
  const name = chat.name("Keys");
  const room = await chat.room(name, ["bo", ada.id]);
  await chat.post("bo", room, "no mouse today");

  await expect.poll(() => focused(ada)).toMatchObject({ name: "Your name", visible: true });
  await keyboard.type(ada.name);
  await keyboard.press("Enter");
  await ada.ready();
  await ada.listed(name).waitFor();
  await walk(ada, "Tab", new RegExp(`^${name}`));
  await keyboard.press("Enter");
  await ada.row("no mouse today").waitFor();
  await walk(ada, "Tab", /^Message to /);
  await keyboard.type("none indeed");
  await keyboard.press("Shift+Enter");
  await keyboard.type("in two lines");
  await keyboard.press("Enter");
  await ada.row("none indeed").getByText("in two lines").waitFor();
  expect(await ada.composer.inputValue()).toBe("");
  expect(await focused(ada)).toMatchObject({ role: "textarea" });

  await walk(ada, "Shift+Tab", /^Messages of /);
  await walk(ada, "ArrowUp", /none indeed/);
  await walk(ada, "ArrowUp", /no mouse today/);
  await keyboard.press("Enter");
  await ada.page.getByRole("menu", { name: "Message" }).waitFor();
  expect((await focused(ada)).name).toMatch(/^Reply/);
  await keyboard.press("Escape");
  await ada.page.getByRole("menu", { name: "Message" }).waitFor({ state: "detached" });
  expect((await focused(ada)).name).toMatch(/no mouse today/);

  await keyboard.press("Enter");
  await walk(ada, "ArrowDown", /^React/);
  await keyboard.press("Enter");
  await ada.page.getByRole("dialog", { name: "React with" }).waitFor();
  await walk(ada, "ArrowRight", /^heart$/);
  await keyboard.press("Enter");
  await ada.row("no mouse today").getByRole("button", { name: /^❤️ 1/ }).waitFor();
  expect((await focused(ada)).name).toMatch(/no mouse today/);

  await keyboard.press("r");
  await ada.page.getByText("Reply to Bo").waitFor();
  expect(await focused(ada)).toMatchObject({ role: "textarea" });
  await keyboard.type("quite so");
  await keyboard.press("Escape");
  await ada.page.getByText("Reply to Bo").waitFor({ state: "detached" });

  await walk(ada, "Shift+Tab", /^Members$/);
  await keyboard.press("Enter");
  const panel = ada.page.getByRole("complementary", { name: "Members" });
  await panel.getByText("2 members").waitFor();
  await walk(ada, "Tab", /^Leave room$/);
  await keyboard.press("Enter");
  const dialog = ada.page.getByRole("dialog", { name: `Leave ${name}?` });
  await dialog.waitFor();
  // The focus stays in the dialog, whichever way one goes.
  for (let step = 0; step < 5; step += 1) {
    await keyboard.press("Tab");
    expect(await dialog.evaluate((one) => one.contains(document.activeElement))).toBe(true);
  }
  await keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  expect((await focused(ada)).name).toBe("Leave room");
  await keyboard.press("Escape");
  await panel.waitFor({ state: "detached" });
});
