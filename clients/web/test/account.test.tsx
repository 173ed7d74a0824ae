// @vitest-environment jsdom
// The menu of the user: notifications and their sound.
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
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

const account = { name: "Alice", signOut: () => {} };

beforeEach(() => {
  render(
    <TidingsProvider options={exampleOptions()}>
      <AccountContext.Provider value={account}>
        <ChatUiProvider user="alice">
          <Account />
        </ChatUiProvider>
      </AccountContext.Provider>
    </TidingsProvider>,
  );
});

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

test("the sound is off until the user turns it on, and the page remembers the choice", () => {
  expect(localStorage.getItem("tidings.sound")).toBeNull();
  choose("Turn on the sound");
  expect(localStorage.getItem("tidings.sound")).toBe("on");
  choose("Turn off the sound");
  expect(localStorage.getItem("tidings.sound")).toBeNull();
});
