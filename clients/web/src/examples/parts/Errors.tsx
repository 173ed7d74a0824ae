import { Button, ChatErrorBoundary, ChatUiProvider } from "@tidings/react-ui";
import { useState } from "react";

export default function Errors() {
  return (
    <ChatUiProvider>
      <ChatErrorBoundary>
        <Fragile />
      </ChatErrorBoundary>
    </ChatUiProvider>
  );
}

function Fragile() {
  const [isBroken, setIsBroken] = useState(false);
  if (isBroken) throw new Error("This part is broken.");
  return (
    <div className="example-row">
      <Button variant="danger" onClick={() => setIsBroken(true)}>
        Break this part
      </Button>
    </div>
  );
}
