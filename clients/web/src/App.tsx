import { localStorageAdapter } from "@tidings/client/storage";
import { TidingsProvider } from "@tidings/react";
import { useEffect, useMemo, useState } from "react";
import { LoginScreen } from "./login/LoginScreen.tsx";
import { Shell } from "./shell/Shell.tsx";
import { type DemoConfig, fetchConfig, fetchToken, originPicker } from "./state/server.ts";
import { createSessions, type Session } from "./state/session.ts";
import { Button } from "./ui/Button.tsx";
import { Toasts } from "./ui/Toasts.tsx";

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
  const signOut = () => {
    sessions.clear(session);
    window.location.hash = "#/";
    setSession(undefined);
  };
  return <SignedIn key={session.user} session={session} onSignOut={signOut} />;
}

function SignedIn({ session, onSignOut }: { session: Session; onSignOut: () => void }) {
  const [config, setConfig] = useState<DemoConfig>();
  const [error, setError] = useState<string>();
  const [attempt, setAttempt] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new attempt loads the configuration again
  useEffect(() => {
    let current = true;
    fetchConfig().then(
      (found) => current && setConfig(found),
      (failure: Error) => current && setError(failure.message),
    );
    return () => {
      current = false;
    };
  }, [attempt]);

  const options = useMemo(
    () =>
      config && {
        url: originPicker(config.gateways, window.location.search),
        httpUrl: originPicker(config.persistence, ""),
        token: () => fetchToken(session.name).then((answer) => answer.token),
        account: session.user,
        storage: localStorageAdapter(),
      },
    [config, session],
  );

  if (error !== undefined && config === undefined) {
    const retry = () => {
      setError(undefined);
      setAttempt((count) => count + 1);
    };
    return (
      <main className="login">
        <div className="login-card column">
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
    <TidingsProvider options={options}>
      <Toasts>
        <Shell session={session} onSignOut={onSignOut} />
      </Toasts>
    </TidingsProvider>
  );
}
