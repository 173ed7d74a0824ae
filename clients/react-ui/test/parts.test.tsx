// @vitest-environment jsdom
import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import type { ReactElement } from "react";
import { expect, test, vi } from "vitest";
import {
  AccountButton,
  BrowseDialog,
  Button,
  ChatUiProvider,
  Composer,
  ConnectionBanner,
  Dialog,
  DirectDialog,
  EmojiPicker,
  EmptyState,
  FormError,
  Icon,
  MembersPanel,
  Menu,
  MessageList,
  NewRoomDialog,
  PrivatePicker,
  RoomHeader,
  RoomKeys,
  RoomList,
  RoomScope,
  RoomSwitcher,
  RoomView,
  SearchPanel,
  Sidebar,
  TypingLine,
  useToast,
} from "../src/index.js";
import { show } from "./support.js";

const inChat = (part: ReactElement) => show(<ChatUiProvider>{part}</ChatUiProvider>);
const ignore = () => {};

test("a list of rooms shows the rooms of a search only", async () => {
  inChat(<RoomList query="kit" />);
  await screen.findByRole("link", { name: /kitchen/ });
  expect(screen.queryByRole("link", { name: /garden/ })).toBeNull();
});

test("a sidebar has the account, the search and the rooms", async () => {
  inChat(<Sidebar />);
  await screen.findByRole("link", { name: /kitchen/ });
  screen.getByRole("searchbox", { name: "Search rooms and messages" });
  await screen.findByRole("button", { name: /Alice/ });
});

test("a room has a header, messages and an input", async () => {
  inChat(<RoomView room="kitchen" />);
  await screen.findByRole("heading", { name: "kitchen" });
  await screen.findByText("tea?");
  screen.getByRole("textbox", { name: "Message to kitchen" });
});

test("the parts of a room can be arranged in another way", async () => {
  const { server } = inChat(
    <RoomScope room="garden">
      <Composer />
      <TypingLine />
      <MessageList />
      <RoomHeader />
    </RoomScope>,
  );
  const input = await screen.findByRole("textbox", { name: "Message to garden" });
  const feed = await screen.findByRole("feed", { name: "Messages of garden" });
  expect(input.compareDocumentPosition(feed)).toBe(Node.DOCUMENT_POSITION_FOLLOWING);
  server.say("garden", "bob", "rain today");
  await within(feed).findByText("rain today");
});

test("the input takes the keys of the page and of the chat, but not those of other parts", async () => {
  show(
    <>
      <button type="button">Elsewhere</button>
      <ChatUiProvider>
        <RoomView room="kitchen" />
      </ChatUiProvider>
    </>,
  );
  const input = await screen.findByRole("textbox");
  const elsewhere = screen.getByRole("button", { name: "Elsewhere" });
  elsewhere.focus();
  fireEvent.keyDown(elsewhere, { key: "x" });
  expect(document.activeElement).toBe(elsewhere);
  elsewhere.blur();
  fireEvent.keyDown(document.body, { key: "x" });
  expect(document.activeElement).toBe(input);
});

test("a part of a room outside of a room throws an error that names the room", () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  expect(() => inChat(<MessageList />)).toThrow(/<RoomView> or <RoomScope>/);
  vi.restoreAllMocks();
});

test("a panel of members shows the user and the others", async () => {
  inChat(<MembersPanel room="kitchen" />);
  const panel = screen.getByRole("complementary", { name: "Members" });
  await within(panel).findByText("Bob");
  await within(panel).findByText("(you)");
});

test("a search panel asks the server for the typed words", async () => {
  const { server } = inChat(<SearchPanel room="kitchen" />);
  fireEvent.change(screen.getByRole("searchbox", { name: "Search messages" }), { target: { value: "tea" } });
  await waitFor(() => expect(server.requests.join()).toContain("q=tea"));
});

test("a dialog for a new room sends its name and members, with the ids that the app makes", async () => {
  const { server } = show(
    <ChatUiProvider userIdOf={(name) => name.toLowerCase()}>
      <NewRoomDialog onClose={ignore} />
    </ChatUiProvider>,
  );
  const created = new Promise<string>((done) => {
    server.http = (method, path) => {
      if (method === "POST" && path === "/rooms") done(path);
      return undefined;
    };
  });
  fireEvent.change(screen.getByRole("textbox", { name: "Name" }), { target: { value: "Attic" } });
  fireEvent.change(screen.getByRole("textbox", { name: /Members/ }), { target: { value: "BO" } });
  screen.getByRole("list", { name: "Chosen people" });
  fireEvent.click(screen.getByRole("button", { name: "Create room" }));
  fireEvent.click(await screen.findByRole("button", { name: "Create anyway" }));
  await created;
});

test("a dialog for a direct room refuses the user's own name", async () => {
  show(
    <ChatUiProvider user="alice">
      <DirectDialog onClose={ignore} />
    </ChatUiProvider>,
  );
  fireEvent.change(screen.getByRole("textbox", { name: "Name" }), { target: { value: "alice" } });
  fireEvent.click(screen.getByRole("button", { name: "Open conversation" }));
  expect(screen.getByRole("alert").textContent).toContain("your own name");
});

test("a dialog lists the public rooms", async () => {
  const { server } = inChat(<BrowseDialog onClose={ignore} />);
  screen.getByRole("dialog", { name: "Public rooms" });
  await waitFor(() => expect(server.requests.some((one) => one.startsWith("GET /rooms"))).toBe(true));
});

test("a picker gives the chosen recipients", async () => {
  const onChoose = vi.fn();
  inChat(<PrivatePicker room="kitchen" me="alice" chosen={[]} onChoose={onChoose} onClose={ignore} />);
  fireEvent.click(await screen.findByRole("checkbox", { name: "Bob" }));
  fireEvent.click(screen.getByRole("button", { name: "Done" }));
  expect(onChoose).toHaveBeenCalledWith(["bob"]);
});

test("an emoji picker finds an emoji by its name and gives it", async () => {
  const onPick = vi.fn();
  inChat(<EmojiPicker anchor={document.body} label="Emoji" onPick={onPick} onClose={ignore} />);
  fireEvent.change(screen.getByRole("searchbox", { name: "Search emoji" }), { target: { value: "avocado" } });
  fireEvent.click(await screen.findByRole("button", { name: "avocado" }));
  expect(onPick).toHaveBeenCalledWith("🥑");
});

test("a switcher opens the chosen room, and Ctrl+K opens the switcher", async () => {
  const onClose = vi.fn();
  inChat(
    <>
      <RoomSwitcher onClose={onClose} />
      <RoomList />
    </>,
  );
  fireEvent.click(await screen.findByRole("option", { name: /garden/ }));
  expect(onClose).toHaveBeenCalled();
  expect(screen.getByRole("link", { name: /garden/ }).getAttribute("aria-current")).toBe("page");
});

test("the keys of the page open the switcher", async () => {
  inChat(<RoomKeys />);
  fireEvent.keyDown(document.body, { key: "k", ctrlKey: true });
  screen.getByRole("dialog", { name: "Go to room" });
});

test("a banner reports the connection", async () => {
  inChat(<ConnectionBanner />);
  await waitFor(() =>
    expect(screen.getByRole("status", { name: "Connection" }).textContent).toBe("Connected"),
  );
});

test("an account button has the items of the app in its menu", async () => {
  const onSelect = vi.fn();
  inChat(<AccountButton name="Alice A." items={[{ label: "Sign out", onSelect }]} />);
  fireEvent.click(screen.getByRole("button", { name: /Alice A\./ }));
  screen.getByRole("menuitemradio", { name: "Online" });
  fireEvent.click(screen.getByRole("menuitem", { name: "Sign out" }));
  expect(onSelect).toHaveBeenCalledTimes(1);
});

test("an empty state tells users without rooms how to begin", () => {
  inChat(<EmptyState hasRooms={false} />);
  expect(screen.getByRole("main").textContent).toContain("create a room");
});

const onDialogClose = vi.fn();

function Parts() {
  const toast = useToast();
  return (
    <Dialog title="Rename" onClose={onDialogClose}>
      <FormError text="too long" />
      <Button icon="check" onClick={() => toast("Saved")}>
        Save
      </Button>
      <Icon name="chat" />
      <Menu
        anchor={document.body}
        label="More"
        items={[{ label: "One", onSelect: ignore }]}
        onClose={ignore}
      />
    </Dialog>
  );
}

test("small parts work in components of the app", () => {
  inChat(<Parts />);
  screen.getByRole("dialog", { name: "Rename" });
  screen.getByRole("alert");
  screen.getByRole("menu", { name: "More" });
  fireEvent.click(screen.getByRole("button", { name: "Save" }));
  screen.getByText("Saved");
  fireEvent.click(screen.getByRole("button", { name: "Close" }));
  expect(onDialogClose).toHaveBeenCalled();
});
