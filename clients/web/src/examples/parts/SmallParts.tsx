import {
  Avatar,
  Button,
  ChatUiProvider,
  FormError,
  Icon,
  IconButton,
  Menu,
  useToast,
} from "@tidings/react-ui";
import { useState } from "react";

export default function SmallParts() {
  return (
    <ChatUiProvider>
      <Parts />
    </ChatUiProvider>
  );
}

function Parts() {
  const toast = useToast();
  const [anchor, setAnchor] = useState<HTMLElement>();
  return (
    <div className="example-row">
      <Avatar id="alice" name="Alice" status="online" />
      <Avatar id="kitchen" name="Kitchen" icon="people" />
      <Icon name="chat" />
      <Button variant="primary" icon="check" onClick={() => toast("Saved")}>
        Save
      </Button>
      <Button busy>Waiting</Button>
      <IconButton icon="more" label="More" onClick={(event) => setAnchor(event.currentTarget)} />
      <FormError text="This name is too long." />
      {anchor && (
        <Menu
          anchor={anchor}
          label="More"
          items={[{ label: "Copy", icon: "copy", onSelect: () => toast("Copied") }]}
          onClose={() => setAnchor(undefined)}
        />
      )}
    </div>
  );
}
