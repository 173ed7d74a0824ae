import { Button, ChatUiProvider, EmojiPicker, PrivatePicker } from "@tidings/react-ui";
import { useState } from "react";

export default function Pickers() {
  const [anchor, setAnchor] = useState<HTMLElement>();
  const [isChoosing, setIsChoosing] = useState(false);
  const [emoji, setEmoji] = useState("none");
  const [people, setPeople] = useState<readonly string[]>([]);
  return (
    <ChatUiProvider>
      <div className="example-row">
        <Button onClick={(event) => setAnchor(event.currentTarget)}>Emoji: {emoji}</Button>
        <Button onClick={() => setIsChoosing(true)}>Recipients: {people.join(", ") || "everyone"}</Button>
      </div>
      {anchor && (
        <EmojiPicker anchor={anchor} label="Emoji" onPick={setEmoji} onClose={() => setAnchor(undefined)} />
      )}
      {isChoosing && (
        <PrivatePicker
          room="kitchen"
          me="alice"
          chosen={people}
          onChoose={setPeople}
          onClose={() => setIsChoosing(false)}
        />
      )}
    </ChatUiProvider>
  );
}
