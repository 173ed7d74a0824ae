import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("a private message reaches only its recipients, in the page and in the network data", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0, recordNetwork: true });
  const bo = await chat.signedIn("Bo", { gateway: 1, recordNetwork: true });
  const cy = await chat.signedIn("Cy", { gateway: 0, recordNetwork: true });
  const name = chat.name("Secrets");
  const room = await chat.room(name, [ada.id, bo.id, cy.id]);
  for (const person of [ada, bo, cy]) await person.open(name);
  await ada.say("open to all");

  await ada.page.getByRole("button", { name: "Send privately" }).click();
  const picker = ada.page.getByRole("dialog", { name: "Send privately" });
  await picker.getByRole("checkbox", { name: bo.name }).check();
  await chat.screenshot(ada, "dialog-private");
  await picker.getByRole("button", { name: "Done" }).click();
  await ada.page.getByText(`Only ${bo.name} will see it`).waitFor();
  await ada.say("xylophone under the stairs");
  await ada.row("xylophone").getByText(`Only for ${bo.name}`).waitFor();
  await bo.row("xylophone").getByText("Private: only for").waitFor();
  await ada.page.getByRole("button", { name: "Send to everyone again" }).click();
  await ada.say("open again");

  const textsOfBo = ["open to all", "xylophone under the stairs", "open again"];
  await bo.expectTexts(textsOfBo);
  await cy.expectTexts(["open to all", "open again"]);
  // Without what the page keeps, the messages come from the database after the reload. They and the search must hide the
  // private message too.
  await cy.page.evaluate(
    () =>
      new Promise<void>((resolve, reject) => {
        const request = indexedDB.deleteDatabase("tidings-cache");
        request.onsuccess = () => resolve();
        request.onerror = () => reject(request.error);
      }),
  );
  await cy.page.reload();
  await cy.expectTexts(["open to all", "open again"]);
  await cy.page.getByRole("button", { name: "Search in this room" }).click();
  const searchPanel = cy.page.getByRole("complementary", { name: "Search" });
  await searchPanel.getByLabel("Search messages").fill("xylophone");
  await searchPanel.getByText("No messages found").waitFor();
  await searchPanel.getByLabel("Search messages").fill("again");
  await searchPanel.getByRole("button", { name: /open again/ }).waitFor();

  const page = await cy.page.content();
  expect(page).toContain("open again");
  expect(page).not.toContain("stairs");
  const countSecretFrames = (person: typeof cy) =>
    person.received.filter((text) => text.includes("under the stairs")).length;
  // The recipient's network data contains the message, so the same check would find it in the data of others too.
  expect(countSecretFrames(bo)).toBeGreaterThan(0);
  expect(cy.received.some((text) => text.includes("open to all"))).toBe(true);
  expect(countSecretFrames(cy)).toBe(0);
  await expect.poll(() => chat.history(cy.id, room)).toEqual(["open to all", "open again"]);
});
