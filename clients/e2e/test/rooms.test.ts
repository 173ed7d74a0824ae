import { expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import type { Person } from "../support/person.js";

const chat = new Chat();

async function chooseNew(person: Person, item: string): Promise<void> {
  await person.page.getByRole("button", { name: "New conversation" }).click();
  await person.page.getByRole("menuitem", { name: item }).click();
}

test("a new user can join the Lobby and meets others there", async () => {
  const ada = await chat.signedIn("Ada");
  await ada.page.getByRole("heading", { name: `Hello, ${ada.name}` }).waitFor();
  await chat.screenshot(ada, "welcome");
  await ada.page.getByRole("button", { name: "Join the Lobby" }).click();
  await ada.page.getByRole("heading", { level: 1, name: "Lobby" }).waitFor();
  await ada.say("is anybody here?");
  const bo = await chat.signedIn("Bo");
  await bo.page.getByRole("button", { name: "Join the Lobby" }).click();
  await bo.row("is anybody here?").waitFor();
  await bo.say("I am");
  await ada.row("I am").waitFor();
});

test("a new room appears at once for its members", async () => {
  const ada = await chat.signedIn("Ada");
  const bo = await chat.signedIn("Bo");
  const name = chat.name("Book club");
  await chooseNew(ada, "New room");
  const dialog = ada.page.getByRole("dialog", { name: "New room" });
  await dialog.getByRole("button", { name: "Create room" }).click();
  await dialog.getByRole("alert").getByText("Please give the room a name.").waitFor();
  await dialog.getByLabel("Name", { exact: true }).fill(name);
  await dialog.getByLabel(/^Members/).fill(`${bo.name}, ${ada.name}`);
  // The list leaves out the user who creates the room.
  await expect
    .poll(() => dialog.getByRole("list", { name: "Chosen people" }).getByRole("listitem").count())
    .toBe(1);
  await chat.screenshot(ada, "dialog-new-room");
  await dialog.getByRole("button", { name: "Create room" }).click();
  // The users share no room yet, so the dialog asks first.
  await dialog.getByRole("button", { name: "Create anyway" }).click();
  await ada.page.getByRole("heading", { level: 1, name }).waitFor();
  await bo.open(name);
  await ada.say("welcome");
  await bo.row("welcome").waitFor();
  await ada.page.getByText("Private room · 2 members").waitFor();
});

test("a user finds a public room by a part of its name, joins and leaves it", async () => {
  const ada = await chat.signedIn("Ada");
  const bo = await chat.signedIn("Bo");
  const name = chat.name("Gardening");
  const room = await chat.room(name, [ada.id], { kind: "public" });
  await chat.post(ada.id, room, "what grows now?");
  await chooseNew(bo, "Browse public rooms");
  const dialog = bo.page.getByRole("dialog", { name: "Public rooms" });
  await dialog.getByLabel("Find a public room").fill("nothing is called like this");
  await dialog.getByText("No public rooms found.").waitFor();
  await dialog.getByLabel("Find a public room").fill(name.slice(3).toUpperCase());
  await dialog.getByText("1 member").waitFor();
  await chat.screenshot(bo, "dialog-public-rooms");
  await dialog.getByRole("button", { name: `Join ${name}` }).click();
  await bo.row("what grows now?").waitFor();
  await bo.say("tomatoes");
  await ada.roomLink(name).getByText("tomatoes").waitFor();

  await bo.page.getByRole("button", { name: "Members" }).click();
  await bo.page.getByRole("button", { name: "Leave room" }).click();
  await bo.page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
  await bo.roomLink(name).waitFor({ state: "detached" });
  await ada.open(name);
  await ada.page.getByText("Public room · 1 member").waitFor();
});

test("two users share one direct conversation, and each sees the other one's name as its title", async () => {
  const ada = await chat.signedIn("Ada");
  const bo = await chat.signedIn("Bo");
  for (const [from, to] of [
    [ada, bo],
    [bo, ada],
  ] as const) {
    await chooseNew(from, "Message a person");
    const dialog = from.page.getByRole("dialog", { name: "Message a person" });
    await dialog.getByLabel("Name").fill(to.name);
    await dialog.getByRole("button", { name: "Open conversation" }).click();
    // Only the second user shares a room with the other one, so only the first is asked.
    if (from === ada) await dialog.getByRole("button", { name: "Open anyway" }).click();
    await from.page.getByRole("heading", { level: 1, name: to.name }).waitFor();
    await from.say(`from ${from.name}`);
  }
  for (const person of [ada, bo]) await person.expectTexts([`from ${ada.name}`, `from ${bo.name}`]);
  expect(new URL(ada.page.url()).hash).toBe(new URL(bo.page.url()).hash);
  // After a reload, the list of the creator also shows the other user's name.
  await ada.page.goto("about:blank");
  await ada.page.goto(`${chat.environment.demo}/`);
  await ada.roomLink(bo.name).waitFor();
});

test("both users see at once that a member is added, gets a role, and is removed", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const name = chat.name("Crew");
  await chat.room(name, [ada.id]);
  await ada.open(name);
  await ada.page.getByRole("button", { name: "Members" }).click();
  const panel = ada.page.getByRole("complementary", { name: "Members" });
  await panel.getByLabel("Add people by name").fill(bo.name);
  await panel.getByRole("button", { name: "Add", exact: true }).click();
  await panel.getByText("Nobody you share a room with is called").waitFor();
  await panel.getByRole("button", { name: "Add anyway" }).click();
  const line = panel.getByRole("listitem").filter({ hasText: bo.name });
  await line.waitFor();
  await bo.open(name);
  await line.getByText("Online").waitFor();
  await chat.screenshot(ada, "panel-members");

  await line.getByLabel(`Role of ${bo.name}`).selectOption("Guest");
  await bo.page.getByText("You are a guest here: you can read, but not write.").waitFor();
  await line.getByLabel(`Role of ${bo.name}`).selectOption("Admin");
  await bo.composer.waitFor();
  await bo.say("I may manage now");
  await ada.row("I may manage now").waitFor();

  // The last owner cannot give up the role.
  ada.allowStatus(409);
  await panel.getByLabel(`Role of ${ada.name}`).selectOption("Member");
  await ada.page.getByText("A room needs an owner.").waitFor();

  await line.getByRole("button", { name: `Remove ${bo.name}` }).click();
  await ada.page
    .getByRole("dialog", { name: `Remove ${bo.name}?` })
    .getByRole("button", { name: "Remove" })
    .click();
  await line.waitFor({ state: "detached" });
  await bo.page.getByRole("heading", { name: "You are not in this room" }).waitFor();
  await bo.roomLink(name).waitFor({ state: "detached" });
  await bo.page.getByRole("button", { name: "Back to your rooms" }).click();
});

test("both users see at once that a room is renamed, archived and unarchived", async () => {
  const ada = await chat.signedIn("Ada", { gateway: 0 });
  const bo = await chat.signedIn("Bo", { gateway: 1 });
  const [name, renamed] = [chat.name("Sheds"), chat.name("Barns")];
  const room = await chat.room(name, [ada.id, bo.id]);
  await chat.post(ada.id, room, "what do we call it?");
  await ada.open(name);
  await bo.open(name);
  await ada.page.getByRole("button", { name: "Members" }).click();
  const panel = ada.page.getByRole("complementary", { name: "Members" });
  await panel.getByText("Room settings").click();
  await panel.getByLabel("Room name").fill(renamed);
  await panel.getByRole("button", { name: "Rename" }).click();
  for (const person of [ada, bo]) {
    await person.page.getByRole("heading", { level: 1, name: renamed }).waitFor();
    await person.roomLink(renamed).waitFor();
  }
  await chat.screenshot(ada, "panel-renamed");
  await panel.getByRole("button", { name: "Archive room" }).click();
  await bo.page.getByText("This room is archived.").waitFor();
  await bo.composer.waitFor({ state: "detached" });
  await panel.getByText("Nobody can write in an archived room.").waitFor();
  await chat.screenshot(ada, "panel-archived");
  await chat.screenshot(bo, "room-archived");
  await panel.getByRole("button", { name: "Unarchive room" }).click();
  await bo.say("we can write again");
  await ada.row("we can write again").waitFor();

  // The last owner cannot leave, and the dialog says why.
  ada.allowStatus(409);
  await panel.getByRole("button", { name: "Leave room" }).click();
  const dialog = ada.page.getByRole("dialog", { name: `Leave ${renamed}?` });
  await dialog.getByRole("button", { name: "Leave" }).click();
  await dialog.getByText("You are the last owner. Make another member an owner first.").waitFor();
  await chat.screenshot(ada, "dialog-last-owner");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await bo.page.getByRole("button", { name: "Members" }).click();
  await bo.page.getByRole("button", { name: "Leave room" }).click();
  await bo.page.getByRole("dialog").getByRole("button", { name: "Leave" }).click();
  await bo.page.getByText(`You left ${renamed}`).waitFor();
  await chat.screenshot(bo, "room-left");
  await panel.getByText("1 member", { exact: true }).waitFor();
});
