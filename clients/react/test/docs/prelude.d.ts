// Declarations for the examples in the docs: names that the surrounding text introduces, and the parts of React Native
// that they use, because React Native is not installed here.

declare const client: import("@tidings/client").TidingsClient;
declare const room: import("@tidings/client").Room;
declare const message: import("@tidings/client").Message;
declare const input: HTMLInputElement;
declare const myUserId: string;

declare function fetchToken(): Promise<string>;
declare const tokenOfTheTest: string;
declare function report(error: Error): void;
declare function render(messages: readonly import("@tidings/client").Message[]): void;
declare function offerRetry(clientId: string): void;
declare function draw(room: string, from: string, data: unknown): void;
declare function playSound(): void;

declare function showStatus(text: string): void;
declare function showError(error: unknown): void;
declare function showMessages(messages: readonly import("@tidings/client").Message[]): void;
declare function showRooms(rows: readonly { id: string; title: string; unread: number }[]): void;
declare function showMore(there: boolean, load: () => void): void;
declare function showFailed(content: string, code: string | undefined): void;
declare function showTyping(names: readonly string[]): void;
declare function showMembers(names: readonly string[]): void;
declare function showSignal(room: string, from: string, data: unknown): void;
declare function showHit(room: string, seq: number | undefined, text: string): void;

declare module "react-native" {
  import type { ReactElement, ReactNode } from "react";
  export const AppState: {
    addEventListener(type: "change", listener: (state: string) => void): { remove(): void };
  };
  export interface ViewToken<T> {
    item: T;
    isViewable: boolean;
  }
  export function Text(props: { children?: ReactNode }): ReactElement;
  export function FlatList<T>(props: {
    data: readonly T[];
    inverted?: boolean;
    keyExtractor?: (item: T) => string;
    renderItem: (row: { item: T }) => ReactElement;
    onEndReached?: () => void;
    onViewableItemsChanged?: (info: { viewableItems: ViewToken<T>[] }) => void;
    viewabilityConfig?: { itemVisiblePercentThreshold: number; minimumViewTime: number };
  }): ReactElement;
}

declare module "@react-native-community/netinfo" {
  const NetInfo: {
    addEventListener(listener: (state: { isConnected: boolean | null }) => void): () => void;
  };
  export default NetInfo;
}

declare module "@react-native-async-storage/async-storage" {
  const AsyncStorage: {
    getItem(key: string): Promise<string | null>;
    setItem(key: string, value: string): Promise<void>;
    removeItem(key: string): Promise<void>;
    getAllKeys(): Promise<readonly string[]>;
  };
  export default AsyncStorage;
}

declare module "expo-secure-store" {
  interface Options {
    keychainAccessible?: number;
  }
  export const AFTER_FIRST_UNLOCK: number;
  export function getItemAsync(key: string, options?: Options): Promise<string | null>;
  export function setItemAsync(key: string, value: string, options?: Options): Promise<void>;
  export function deleteItemAsync(key: string, options?: Options): Promise<void>;
}

declare module "expo-notifications" {
  export interface NotificationResponse {
    actionIdentifier: string;
    notification: { request: { identifier: string; content: { data: Record<string, unknown> } } };
  }
  export const DEFAULT_ACTION_IDENTIFIER: string;
  export function addNotificationResponseReceivedListener(listener: (event: NotificationResponse) => void): {
    remove(): void;
  };
  export function getLastNotificationResponse(): NotificationResponse | null;
  export function clearLastNotificationResponse(): void;
}
