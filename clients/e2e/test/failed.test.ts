import { afterEach, expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

afterEach(async () => {
  await chat.stack.link("gateway", 0, "heal");
});

test("a refused message is shown as not sent, and the user can retry or discard it", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  ada.allowBrokenConnections();
  const name = chat.name("Refusals");
  const room = await chat.room(name, [bo.id, ada.id]);
  await ada.open(name);
  await bo.open(name);
  await ada.say("before");
  await bo.row("before").waitFor();
  await chat.stack.link("gateway", 0, "refuse");
  await chat.stack.link("gateway", 0, "cut");
  await ada.say("keep me");
  await ada.say("drop me");
  await chat.http(bo.id, "PATCH", `/rooms/${room}`, { archived: true });
  await chat.stack.link("gateway", 0, "heal");

  for (const text of ["keep me", "drop me"]) {
    await ada
      .row(text)
      .getByRole("group", { name: "Message not sent" })
      .getByText("Not sent")
      .waitFor({ timeout: 30_000 });
    await ada.tick(text).waitFor({ state: "detached" });
  }
  await ada.page.getByText("This room is archived.").waitFor();
  await chat.screenshot(ada, "failed-message");
  await bo.expectTexts(["before"]);

  await chat.http(bo.id, "PATCH", `/rooms/${room}`, { archived: false });
  await ada.composer.waitFor();
  await ada.row("drop me").getByRole("button", { name: "Discard" }).click();
  await ada.row("drop me").waitFor({ state: "detached" });
  await ada.row("keep me").getByRole("button", { name: "Try again" }).click();
  await ada.expectTick("keep me", "Read");
  await bo.expectTexts(["before", "keep me"]);
  await ada.page.reload();
  await ada.expectTexts(["before", "keep me"]);
  await expect.poll(() => chat.history(ada.id, room)).toEqual(["before", "keep me"]);
});

test("messages are delivered while persistence is down, and stored when it is back", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  ada.allowBrokenConnections();
  bo.allowBrokenConnections();
  const name = chat.name("Storage");
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  await ada.say("before");
  await bo.row("before").waitFor();
  await chat.stack.kill("persistence", 0);
  try {
    await ada.say("without storage");
    await bo.row("without storage").waitFor();
  } finally {
    await chat.stack.start("persistence", 0);
  }
  await ada.expectTick("without storage", "Read");
  await expect.poll(() => chat.history(ada.id, room)).toEqual(["before", "without storage"]);
  await ada.expectTexts(["before", "without storage"]);
  await bo.expectTexts(["before", "without storage"]);
});
