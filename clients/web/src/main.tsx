import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App.tsx";
import { registerWorker } from "./state/registerWorker.ts";
import "@tidings/react-ui/styles.css";
import "./styles/page.css";
import "./styles/login.css";

if (import.meta.env.PROD) registerWorker();

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
