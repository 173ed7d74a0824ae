import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App.tsx";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/ui.css";
import "./styles/floating.css";
import "./styles/forms.css";
import "./styles/login.css";
import "./styles/shell.css";
import "./styles/sidebar.css";
import "./styles/room.css";
import "./styles/message.css";
import "./styles/bubble.css";
import "./styles/composer.css";
import "./styles/panel.css";
import "./styles/touch.css";

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
