import AsyncStorage from "@react-native-async-storage/async-storage";
import NetInfo from "@react-native-community/netinfo";
import { TidingsClient } from "@tidings/client";
import { asyncStorage } from "@tidings/client/storage";
import { nativeLifecycle, secureToken } from "@tidings/react-native";
import * as SecureStore from "expo-secure-store";
import { AppState } from "react-native";

/** The origin of Tidings, and the origin of the app's own server, which gives tokens to its users. */
const CHAT = process.env.EXPO_PUBLIC_CHAT_ORIGIN ?? "http://localhost:8080";
const LOGIN = process.env.EXPO_PUBLIC_LOGIN_ORIGIN ?? "http://localhost:3000";

/** Where the name of the signed-in user is kept, so that the next start of the app needs no login. */
const NAME_KEY = "name";

/** The client of a signed-in user, and the function that signs the user out. */
export interface Session {
  readonly name: string;
  readonly client: TidingsClient;
  readonly signOut: () => Promise<void>;
}

/** Asks the app's own server for a token. A real app sends a password, or the session of its user. */
async function fetchToken(name: string): Promise<string> {
  const response = await fetch(`${LOGIN}/dev/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name }),
  });
  if (!response.ok) throw new Error(`The login failed with status ${response.status}`);
  const { token } = (await response.json()) as { token: string };
  return token;
}

// One lifecycle and one storage for the whole run of the app.
const lifecycle = nativeLifecycle(AppState, NetInfo);
const storage = asyncStorage(AsyncStorage);

function start(name: string): Session {
  const { token, forget } = secureToken(SecureStore, () => fetchToken(name));
  const client = new TidingsClient({ url: CHAT, token, account: name, storage, lifecycle });
  // The rejection is ignored, because the state of the connection shows each error that stops the client.
  client.connect().catch(() => {});
  const signOut = async () => {
    client.close();
    await AsyncStorage.removeItem(NAME_KEY);
    await forget();
  };
  return { name, client, signOut };
}

/** Signs a user in. Rejects when the server gives no token. */
export async function signIn(name: string): Promise<Session> {
  await fetchToken(name);
  await AsyncStorage.setItem(NAME_KEY, name);
  return start(name);
}

/** Continues the session of the last run of the app; undefined when nobody is signed in. */
export async function resumeSession(): Promise<Session | undefined> {
  const name = await AsyncStorage.getItem(NAME_KEY);
  return name === null ? undefined : start(name);
}
