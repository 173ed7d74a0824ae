import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Examples } from "./Examples.tsx";
import "@tidings/react-ui/styles.css";
import "../styles/page.css";
import "./examples.css";

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Examples />
    </StrictMode>,
  );
}
