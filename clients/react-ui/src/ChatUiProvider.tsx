import type { Files, Mutes, TidingsClientLike } from "@tidings/client";
import { useMe, useTidings } from "@tidings/react";
import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import type { ChatSlots } from "./slots.js";
import { ChatPlaceContext, type ChatUi, ChatUiContext } from "./state/chatUi.js";
import { keepMutes } from "./state/keepMutes.js";
import { type ChatNavigation, type ChatRoute, useMemoryNavigation } from "./state/route.js";
import type { SavedPosition } from "./state/savedPositions.js";
import { tryStorage } from "./state/tryStorage.js";
import { createUnreadMarks } from "./state/unreadMarks.js";
import { useMessageTarget } from "./state/useMessageTarget.js";
import { Toasts } from "./ui/Toasts.js";

/** The properties of the provider. None is required. */
export interface ChatUiProviderProps {
  readonly children?: ReactNode;
  /** The id of the signed-in user; by default that of the connection, which is known after the first connection. */
  readonly user?: string | undefined;
  /** Where the open room is kept; by default in the memory of the page. See {@link useHashNavigation}. */
  readonly navigation?: ChatNavigation | undefined;
  /** Components of the app in place of parts of the chat. */
  readonly slots?: ChatSlots | undefined;
  /**
   * The function `files` of `@tidings/client/files`. With it users attach files, and see pictures and players. It must stay
   * the same function.
   */
  readonly files?: ((client: TidingsClientLike) => Files) | undefined;
  /**
   * The function `mutes` of `@tidings/client/push`. With it users mute rooms, if the server has push. It must stay the
   * same function.
   */
  readonly mutes?: ((client: TidingsClientLike) => Mutes) | undefined;
  /**
   * Origins from which the pictures of users may be loaded, such as `https://pictures.example.com`. Pictures of the
   * page's own origin are always loaded. The default is an empty list. Pass the same array in each render.
   */
  readonly pictureOrigins?: readonly string[] | undefined;
  /** Makes the id of a user from a name that was typed to add or message this user; by default the name is the id. */
  readonly userIdOf?: ((name: string) => string) | undefined;
  /** Signs in again after the server has refused the user. Without it the connection banner has no such button. */
  readonly onSignIn?: (() => void) | undefined;
}

const NO_SLOTS: ChatSlots = {};
const NO_ORIGINS: readonly string[] = [];
const sameId = (name: string): string => name;

/** Returns the object of an earlier render as long as all values are the same. */
// biome-ignore lint/correctness/useExhaustiveDependencies: the values of the object are the dependencies
const useStable = <T extends object>(value: T): T => useMemo(() => value, Object.values(value));

/** Gives the components inside what they share: the user, the open room, the slots and the notices. */
export function ChatUiProvider(props: ChatUiProviderProps): ReactNode {
  const { children, slots = NO_SLOTS, pictureOrigins = NO_ORIGINS, userIdOf = sameId, onSignIn } = props;
  const me = useMe();
  const user = props.user ?? me?.id;
  const client = useTidings();
  const { files: filesOf, mutes: mutesOf } = props;
  const files = useMemo(() => filesOf?.(client), [filesOf, client]);
  const mutes = useMemo(() => mutesOf?.(client), [mutesOf, client]);
  useEffect(() => mutes && keepMutes(client, mutes), [client, mutes]);
  const memory = useMemoryNavigation();
  const { route, go: navigate, href } = props.navigation ?? memory;
  const [savedPositions] = useState(() => new Map<string, SavedPosition>());
  const unreadMarks = useMemo(() => {
    const page = typeof window === "undefined" ? undefined : window;
    return createUnreadMarks(
      user ?? "",
      tryStorage(() => page?.localStorage),
      page,
    );
  }, [user]);

  // `go` stays the same function, so that components do not render again when the user goes to another room.
  const latest = useRef({ navigate, route });
  useEffect(() => {
    latest.current = { navigate, route };
  });
  const [go] = useState<ChatUi["go"]>(
    () => (next: ChatRoute, replace?: boolean) => latest.current.navigate(next, replace),
  );
  const { target, goToMessage } = useMessageTarget(route, go, latest);

  const { room } = route;
  useEffect(() => {
    if (room !== undefined) unreadMarks.set(room, false);
  }, [room, unreadMarks]);

  const ui = useStable<ChatUi>({
    user,
    go,
    href,
    goToMessage,
    slots,
    files,
    mutes,
    pictureOrigins,
    userIdOf,
    onSignIn,
    unreadMarks,
    savedPositions,
  });
  const place = useMemo(() => ({ route, target }), [route, target]);
  return (
    <ChatUiContext.Provider value={ui}>
      <ChatPlaceContext.Provider value={place}>
        <div className="tidings tidings-root">
          <Toasts>{children}</Toasts>
        </div>
      </ChatPlaceContext.Provider>
    </ChatUiContext.Provider>
  );
}
