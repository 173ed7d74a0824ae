import { onSignOut as onSignOutElsewhere, signOut } from "@tidings/client/offline";
import { useTidings } from "@tidings/react";
import {
  ChatApp,
  type ChatSlots,
  type ChatUiProviderProps,
  FaviconBadge,
  Notifications,
  PageTitle,
  useHashNavigation,
} from "@tidings/react-ui";
import { useEffect, useMemo } from "react";
import { userIdOf } from "../serve/names.mjs";
import { Account } from "./shell/Account.tsx";
import { Welcome } from "./shell/Welcome.tsx";
import { AccountContext } from "./state/account.ts";
import { endPush } from "./state/endPush.ts";
import type { Session } from "./state/session.ts";
import { useSound } from "./state/sound.ts";

const SLOTS: ChatSlots = { SidebarHeader: Account, EmptyState: Welcome };

interface ChatProps {
  readonly session: Session;
  readonly services: Pick<ChatUiProviderProps, "files" | "mutes" | "pictureOrigins">;
  /** `ended` resolves when the client is no longer needed. */
  readonly onSignOut: (ended: Promise<void>) => void;
}

/** The chat of the signed-in user. */
export function Chat({ session, services, onSignOut }: ChatProps) {
  const client = useTidings();
  const navigation = useHashNavigation();
  const [sound] = useSound();
  const account = useMemo(
    () => ({
      name: session.name,
      signOut: () => {
        const end = async () => {
          // Needs the token of the user, so it comes first.
          await endPush(client);
          // Deletes all that this browser has of the user. A storage that fails has kept nothing.
          await Promise.allSettled([signOut(client), services.files?.(client).forget()]);
        };
        onSignOut(end());
      },
    }),
    [session, client, services, onSignOut],
  );
  useEffect(() => onSignOutElsewhere(client, () => onSignOut(Promise.resolve())), [client, onSignOut]);
  return (
    <AccountContext.Provider value={account}>
      <ChatApp
        user={session.user}
        navigation={navigation}
        slots={SLOTS}
        {...services}
        userIdOf={userIdOf}
        onSignIn={account.signOut}
      >
        <PageTitle app="Tidings" />
        <FaviconBadge />
        <Notifications push sound={sound} icon="/icon.svg" />
      </ChatApp>
    </AccountContext.Provider>
  );
}
