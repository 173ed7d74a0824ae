import { expect, test } from "vitest";
import { accessibilityFaults } from "../support/axe.js";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("the page of live examples shows each component without a server", async () => {
  const ada = await chat.person("Ada", { device: { bypassCSP: true } });
  await ada.page.goto(`${chat.environment.demo}/examples.html`);
  const links = ada.page.getByRole("navigation", { name: "Examples" }).getByRole("link");
  expect(await links.count()).toBeGreaterThan(10);
  for (const link of await links.all()) {
    await link.click();
    const title = (await link.textContent()) ?? "";
    await ada.page.getByRole("heading", { name: title, exact: true, level: 2 }).first().waitFor();
    expect(await ada.page.getByText("Something went wrong here.").count(), title).toBe(0);
  }
  await ada.page.getByRole("link", { name: "A room", exact: true }).click();
  await ada.page.getByRole("textbox", { name: "Message to kitchen" }).fill("hello");
  await ada.page.keyboard.press("Enter");
  await ada.page.getByRole("feed").getByText("hello").waitFor();
  expect(ada.sockets).toEqual([]);
  expect(await accessibilityFaults(ada)).toEqual([]);
});
