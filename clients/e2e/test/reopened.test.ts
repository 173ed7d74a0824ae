// A page that opens without a network, after a visit.
import { expect, test } from "vitest";
import { usesFirefox } from "../setup/browser.js";
import { Chat } from "../support/chat.js";
import type { Person } from "../support/person.js";

const chat = new Chat();

/** Ada has visited a room with messages of Bo, and the page is kept for a start without a network. */
async function afterVisit(
  roomName: string,
): Promise<{ ada: Person; bo: Person; name: string; room: string }> {
  const ada = await chat.signedIn("Ada", { device: { serviceWorkers: "allow" } });
  const bo = await chat.signedIn("Bo");
  ada.allowBrokenConnections();
  const name = chat.name(roomName);
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  await bo.say("from Bo");
  await ada.say("from Ada");
  await ada.row("from Bo").waitFor();
  await ada.expectTick("from Ada", "Read");
  await ada.page.evaluate(async () => {
    await navigator.serviceWorker.ready;
  });
  // The entry of the list already names a message that is only accepted. The messages are kept when it is stored.
  await expect.poll(() => keptMessages(ada)).toContain("from Ada");
  return { ada, bo, name, room };
}

/** The texts of the messages that the page keeps of all rooms. */
async function keptMessages(person: Person): Promise<string[]> {
  const records = (await keptEntries(person)).map((entry) => JSON.parse(entry));
  return records.flatMap(({ page }) =>
    (page?.items ?? []).map(({ content }: { content: string }) => content),
  );
}

/** Everything that the page keeps of the rooms: the JSON of the user and of each room. */
function keptEntries(person: Person): Promise<string[]> {
  return person.page.evaluate(
    () =>
      new Promise<string[]>((resolve, reject) => {
        const request = indexedDB.open("tidings-cache", 1);
        request.onupgradeneeded = () => request.result.createObjectStore("entries");
        request.onerror = () => reject(request.error);
        request.onsuccess = () => {
          const all = request.result.transaction("entries").objectStore("entries").getAll();
          all.onsuccess = () => {
            resolve(all.result);
            request.result.close();
          };
        };
      }),
  );
}

/** Loads the page again without a network. */
async function reloadOffline(person: Person): Promise<void> {
  await person.page.context().setOffline(true);
  await person.page.reload();
  await person.banner.waitFor();
}

test("a page opens without a network and shows the rooms and the last messages", async () => {
  const { ada, bo, name } = await afterVisit("Reopened");
  await reloadOffline(ada);
  await ada.roomLink(name).getByText("from Ada").waitFor();
  await ada.expectTexts(["from Bo", "from Ada"]);
  await chat.screenshot(ada, "reopened-offline");
  await bo.say("while Ada was away");
  await ada.page.context().setOffline(false);
  await ada.row("while Ada was away").waitFor();
  await ada.expectTexts(["from Bo", "from Ada", "while Ada was away"]);
});

// Playwright does not close the WebSockets of a Firefox that it sets offline.
test.skipIf(usesFirefox)("an edit without a network survives a reload and reaches others once", async () => {
  const { ada, bo, room } = await afterVisit("Edited");
  await ada.page.context().setOffline(true);
  await ada.banner.waitFor();
  await ada.choose("from Ada", "Edit");
  await ada.composer.fill("edited by Ada");
  await ada.composer.press("Enter");
  await ada.row("edited by Ada").getByText("saving…").waitFor();
  await ada.page.reload();
  await ada.row("edited by Ada").getByText("saving…").waitFor();
  await bo.expectTexts(["from Bo", "from Ada"]);
  await ada.page.context().setOffline(false);
  await bo.expectTexts(["from Bo", "edited by Ada"]);
  await ada.row("edited by Ada").getByText("saving…").waitFor({ state: "detached" });
  await expect.poll(() => chat.history(ada.id, room)).toEqual(["from Bo", "edited by Ada"]);
});

test("a sign-out deletes what the page has kept", async () => {
  const { ada, bo, name } = await afterVisit("Signed out");
  await ada.account.click();
  await ada.page.getByRole("menuitem", { name: "Sign out" }).click();
  await ada.page.getByLabel("Your name").waitFor();
  await expect.poll(() => keptEntries(ada)).toEqual([]);
  await bo.say("after the sign-out");
  await ada.page.context().setOffline(true);
  await ada.page.reload();
  await ada.page.getByLabel("Your name").waitFor();
  expect(await ada.page.getByText(name).count()).toBe(0);
});
