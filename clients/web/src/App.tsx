import { localStorageAdapter } from "@tidings/client/storage";
import { TidingsProvider } from "@tidings/react";
import { Button } from "@tidings/react-ui";
import { useMemo, useState } from "react";
import { Chat } from "./Chat.tsx";
import { LoginScreen } from "./login/LoginScreen.tsx";
import { KeepOffline } from "./state/KeepOffline.tsx";
import { createOriginPicker, fetchToken } from "./state/server.ts";
import { demoServices } from "./state/services.ts";
import { createSessions, type Session } from "./state/session.ts";
import { useDemoConfig } from "./state/useDemoConfig.ts";

const sessions = createSessions(window.sessionStorage, window.localStorage);

/** The whole page: first the login screen, then the chat. */
export function App() {
  const [session, setSession] = useState(sessions.load);
  if (session === undefined) {
    return (
      <LoginScreen
        onSignIn={(next) => {
          sessions.save(next);
          setSession(next);
        }}
      />
    );
  }
  const signOut = (ended: Promise<void>) => {
    // At once, so that the user is signed out even if the page is closed meanwhile.
    sessions.clear(session);
    ended.then(() => {
      window.location.hash = "#/";
      setSession(undefined);
    });
  };
  return <SignedInPage key={session.user} session={session} onSignOut={signOut} />;
}

function SignedInPage({
  session,
  onSignOut,
}: {
  session: Session;
  onSignOut: (ended: Promise<void>) => void;
}) {
  const { config, error, retry } = useDemoConfig();

  const options = useMemo(
    () =>
      config && {
        url: createOriginPicker(config.gateways, window.location.search),
        httpUrl: createOriginPicker(config.persistence, ""),
        token: () => fetchToken(session.name).then((answer) => answer.token),
        account: session.user,
        storage: localStorageAdapter(),
      },
    [config, session],
  );

  if (error !== undefined && config === undefined) {
    return (
      <main className="tidings login">
        <div className="login-card tidings-column">
          <h1>Cannot connect</h1>
          <p role="alert">{error}</p>
          <Button variant="primary" icon="retry" onClick={retry}>
            Try again
          </Button>
        </div>
      </main>
    );
  }
  if (options === undefined) return null;
  return (
    // Other servers need another client.
    <TidingsProvider key={JSON.stringify(config)} options={options}>
      <KeepOffline />
      <Chat session={session} services={demoServices(config)} onSignOut={onSignOut} />
    </TidingsProvider>
  );
}
