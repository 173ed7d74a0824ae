// @vitest-environment jsdom
// The menu of the user: notifications and their sound.
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { TidingsClient } from "@tidings/client";
import { TidingsProvider } from "@tidings/react";
import { ChatUiProvider } from "@tidings/react-ui";
import { afterEach, beforeEach, expect, test } from "vitest";
import { exampleOptions } from "../src/examples/server.ts";
import { Account } from "../src/shell/Account.tsx";
import { AccountContext } from "../src/state/account.ts";

HTMLDialogElement.prototype.showModal = function () {
  this.open = true;
};
HTMLDialogElement.prototype.close = function () {
  this.open = false;
};

let signOuts = 0;
const account = { name: "Alice", signOut: () => signOuts++ };

/** Shows the button of the menu. The client does not connect, so a message that is given stays unsent. */
function show(unsent?: string): void {
  signOuts = 0;
  const client = new TidingsClient(exampleOptions());
  if (unsent !== undefined) client.room("kitchen").send(unsent);
  render(
    <TidingsProvider client={client}>
      <AccountContext.Provider value={account}>
        <ChatUiProvider user="alice">
          <Account />
        </ChatUiProvider>
      </AccountContext.Provider>
    </TidingsProvider>,
  );
}

beforeEach(() => show());
afterEach(cleanup);

/** Chooses an item of the user's menu. */
function choose(name: string): void {
  fireEvent.click(screen.getByRole("button", { name: /Alice/ }));
  fireEvent.click(screen.getByRole("menuitem", { name }));
}

test("the menu opens the dialog about notifications, which returns the focus to the button", () => {
  choose("Notifications…");
  screen.getByRole("dialog", { name: "Notifications" });
  fireEvent.click(screen.getByRole("button", { name: "Close" }));
  expect(screen.queryByRole("dialog")).toBeNull();
  expect(document.activeElement).toBe(screen.getByRole("button", { name: /Alice/ }));
});

test("a sign-out asks first if messages are not sent", () => {
  choose("Sign out");
  expect(signOuts).toBe(1);
  cleanup();
  show("unsent");
  choose("Sign out");
  screen.getByText("Messages that are not sent yet: 1. Signing out deletes them.");
  expect(signOuts).toBe(0);
  fireEvent.click(screen.getByRole("button", { name: "Sign out" }));
  expect(signOuts).toBe(1);
});

test("the sound is off until the user turns it on, and the page remembers the choice", () => {
  expect(localStorage.getItem("tidings.sound")).toBeNull();
  choose("Turn on the sound");
  expect(localStorage.getItem("tidings.sound")).toBe("on");
  choose("Turn off the sound");
  expect(localStorage.getItem("tidings.sound")).toBeNull();
});
