import type { ComponentType } from "react";

/** An example of the page: a component, and the text of its file. */
export interface Example {
  /** The name of the file, and the hash of the address. */
  readonly id: string;
  readonly title: string;
  readonly Component: ComponentType;
  readonly source: string;
}

/** The files in `parts/` in the order of the page. */
const TITLES = {
  WholeChat: "A whole chat",
  Slots: "Slots",
  Theme: "Theme",
  OwnLayout: "Your own layout",
  Rooms: "List of rooms",
  Room: "A room",
  Members: "Members",
  Search: "Search",
  Dialogs: "Dialogs",
  Pickers: "Pickers",
  Errors: "Errors",
  SmallParts: "Small parts",
};

const modules = import.meta.glob<{ default: ComponentType }>("./parts/*.tsx", { eager: true });
const sources = import.meta.glob<string>("./parts/*.tsx", { eager: true, query: "?raw", import: "default" });

/** All examples. */
export const examples: readonly Example[] = Object.entries(TITLES).map(([id, title]) => {
  const path = `./parts/${id}.tsx`;
  const Component = modules[path]?.default;
  if (Component === undefined) throw new Error(`${path} is missing`);
  return { id, title, Component, source: sources[path] ?? "" };
});
