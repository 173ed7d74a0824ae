import { createContext, useContext } from "react";

const RowTabIndexContext = createContext<number | undefined>(undefined);

/** Gives the elements of a message their `tabIndex`: 0 while the row has the focus, else -1. */
export const RowTabIndexProvider = RowTabIndexContext.Provider;

/**
 * Returns the `tabIndex` of an element of a message. The arrow keys move between messages, and Tab moves through the
 * elements of the message that has the focus. Without this, a room of many links would have as many stops of Tab.
 */
export const useRowTabIndex = (): number | undefined => useContext(RowTabIndexContext);
