import { expect, test } from "vitest";
import { accessibilityFaults } from "../support/axe.js";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test.each(["light", "dark"] as const)(
  "the page has no serious accessibility faults in %s colours",
  async (colorScheme) => {
    // The content security policy of the page would block the script that looks for faults.
    const ada = await chat.person("Ada", { device: { colorScheme, bypassCSP: true } });
    const faultsByPart: Record<string, string[]> = {};
    const checkPart = async (part: string) => {
      await chat.screenshot(ada, `${colorScheme}-${part}`);
      const faults = await accessibilityFaults(ada);
      if (faults.length > 0) faultsByPart[part] = faults;
    };
    const { page } = ada;
    const waitUntilDialogCloses = (name: string) =>
      page.getByRole("dialog", { name }).waitFor({ state: "detached" });

    await checkPart("login");
    await ada.signIn();
    await page.getByRole("button", { name: "Join the Lobby" }).waitFor();
    await checkPart("welcome");

    const bo = await chat.signedIn("Bo");
    const name = chat.name("Allotment");
    const room = await chat.room(name, [ada.id, bo.id, "cy"]);
    await chat.room(chat.name("Choir"), [ada.id, bo.id], { kind: "public" });
    const direct = await chat.room("", [bo.id, ada.id], { kind: "direct" });
    await chat.post(bo.id, direct, "are you there?");
    await chat.post("cy", room, "The beans are up! See https://example.org/beans for how to tie them.");
    await chat.post(bo.id, room, "Already? Then we need canes.", { reply_to: 1 });
    await chat.http(bo.id, "PUT", `/rooms/${room}/messages/1/reactions/${encodeURIComponent("🎉")}`);
    await chat.post(bo.id, room, "Only between us: I have none left.", {
      visible_to: { users: [ada.id], roles: [] },
    });
    await chat.post(bo.id, room, "👍");
    const deleted = await chat.post("cy", room, "to be deleted");
    await chat.http("cy", "DELETE", `/rooms/${room}/messages/${deleted}`);
    await ada.roomLink(name).getByText("unread").waitFor();
    await checkPart("list");

    await ada.open(name);
    await bo.open(name);
    await ada.say("I bring some on Saturday.");
    await bo.row("I bring some").waitFor();
    // Cy has not read it.
    await ada.page.getByRole("button", { name: "Seen by 1 of 2" }).waitFor();
    await ada.choose("I bring some", "Edit");
    await ada.composer.fill("I bring a dozen on Saturday.");
    await ada.composer.press("Enter");
    await ada.row("I bring a dozen").getByText("edited").waitFor();
    await bo.composer.pressSequentially("How");
    await page.getByText(`${bo.name} is typing`).first().waitFor();
    await checkPart("room");

    await ada.openMenuOf("The beans are up!");
    await checkPart("menu");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Insert emoji" }).click();
    await checkPart("emoji");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Send privately" }).click();
    await page.getByRole("checkbox").first().waitFor();
    await checkPart("private");
    await page.keyboard.press("Escape");
    await waitUntilDialogCloses("Send privately");
    await ada.choose("I bring a dozen", "Delete");
    await checkPart("delete");
    await page.keyboard.press("Escape");
    await waitUntilDialogCloses("Delete message?");

    await page.getByRole("button", { name: "Members" }).click();
    await page.getByRole("complementary", { name: "Members" }).getByText("3 members").waitFor();
    await page.getByText("Room settings").click();
    await checkPart("members");
    await page.getByRole("button", { name: "Search in this room" }).click();
    await page.getByLabel("Search messages").fill("beans");
    await page.getByRole("region", { name: "Messages found" }).getByRole("button").first().waitFor();
    await checkPart("search");

    for (const part of ["Message a person", "New room", "Browse public rooms"]) {
      await page.getByRole("button", { name: "New conversation" }).click();
      await page.getByRole("menuitem", { name: part }).click();
      const title = part.startsWith("Browse") ? "Public rooms" : part;
      await page.getByRole("dialog", { name: title }).waitFor();
      await page.getByText("Loading…").waitFor({ state: "detached" });
      await checkPart(part.toLowerCase().replaceAll(" ", "-"));
      await page.keyboard.press("Escape");
      await waitUntilDialogCloses(title);
    }
    await ada.account.click();
    await page.getByRole("menuitem", { name: "Notifications…" }).click();
    await page.getByRole("dialog", { name: "Notifications" }).waitFor();
    await checkPart("notifications");
    await page.keyboard.press("Escape");
    await waitUntilDialogCloses("Notifications");
    await page.context().setOffline(true);
    await ada.banner.waitFor();
    await checkPart("offline");
    await page.context().setOffline(false);
    await ada.banner.waitFor({ state: "detached" });
    expect(faultsByPart).toEqual({});
  },
);
