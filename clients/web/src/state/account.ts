import { createContext, useContext } from "react";

/** The user who is signed in. */
interface Account {
  readonly name: string;
  readonly signOut: () => void;
}

/** Provides the account to the components that the demo adds to the chat. */
export const AccountContext = createContext<Account>({ name: "", signOut: () => {} });

/** Returns the account. */
export const useAccount = (): Account => useContext(AccountContext);
