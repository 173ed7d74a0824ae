import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";

const chat = new Chat();

test("a hidden page shows a notification of a message, and none of an own one", async () => {
  const [ada, bo] = [await chat.signedIn("Ada"), await chat.signedIn("Bo")];
  const name = chat.name("Notices");
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.roomLink(name).waitFor();
  await ada.page.context().grantPermissions(["notifications"]);
  // A headless browser shows no notifications and hides no page, so stand-ins record and pretend them.
  await ada.page.evaluate(() => {
    const shown: string[] = [];
    class Recorder {
      static readonly permission = "granted";
      constructor(title: string, options: NotificationOptions) {
        shown.push(`${title}: ${options.body}`);
      }
    }
    Object.assign(window, { shown, Notification: Recorder });
    Object.defineProperty(document, "hidden", { value: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await chat.post(ada.id, room, "my own");
  await chat.post(bo.id, room, "tea?");
  const shown = () => ada.page.evaluate(() => (window as unknown as { shown: string[] }).shown);
  await expect.poll(shown).toEqual([expect.stringContaining(`in ${name}: tea?`)]);
});
