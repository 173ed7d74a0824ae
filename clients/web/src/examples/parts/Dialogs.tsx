import {
  BrowseDialog,
  Button,
  ChatUiProvider,
  Dialog,
  DirectDialog,
  NewRoomDialog,
  NotificationsDialog,
  RoomSwitcher,
} from "@tidings/react-ui";
import { useState } from "react";

const NAMES = [
  "New room",
  "Message a person",
  "Public rooms",
  "Go to room",
  "Notifications",
  "A dialog of the app",
];

export default function Dialogs() {
  const [open, setOpen] = useState<string>();
  const close = () => setOpen(undefined);
  return (
    <ChatUiProvider>
      <div className="example-row">
        {NAMES.map((name) => (
          <Button key={name} onClick={() => setOpen(name)}>
            {name}
          </Button>
        ))}
      </div>
      {open === "New room" && <NewRoomDialog onClose={close} />}
      {open === "Message a person" && <DirectDialog onClose={close} />}
      {open === "Public rooms" && <BrowseDialog onClose={close} />}
      {open === "Go to room" && <RoomSwitcher onClose={close} />}
      {open === "Notifications" && <NotificationsDialog onClose={close} />}
      {open === "A dialog of the app" && (
        <Dialog title="Hello" onClose={close} confirm={<Button variant="primary">Save</Button>}>
          <p>Its content is yours.</p>
        </Dialog>
      )}
    </ChatUiProvider>
  );
}
