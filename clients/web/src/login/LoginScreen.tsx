import { Avatar, Button, useAction } from "@tidings/react-ui";
import { type FormEvent, useEffect, useState } from "react";
import { cleanName, MAX_NAME_LENGTH, userIdOf } from "../../serve/names.mjs";
import { fetchToken } from "../state/server.ts";
import type { Session } from "../state/session.ts";

/** The login screen, which asks only for a name. */
export function LoginScreen({ onSignIn }: { onSignIn: (session: Session) => void }) {
  const [name, setName] = useState("");
  const { busy, error, setError, run } = useAction();
  const cleanedName = cleanName(name);

  useEffect(() => {
    document.title = "Tidings";
  }, []);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (cleanedName === undefined) {
      setError(
        name.trim() === "" ? "Please type a name." : `A name can have up to ${MAX_NAME_LENGTH} characters.`,
      );
      return;
    }
    void run(async () => {
      const { user, name } = await fetchToken(cleanedName);
      onSignIn({ user, name });
    });
  };

  return (
    <main className="tidings login">
      <form className="login-card tidings-column" onSubmit={submit} noValidate>
        <img src="/icon.svg" alt="" width="56" height="56" />
        <h1>Welcome to Tidings</h1>
        <p className="tidings-hint">
          Choose a name and start chatting. There are no passwords here: anyone who types the same name uses
          the same account.
        </p>
        <label htmlFor="name">Your name</label>
        <div className="login-name tidings-line">
          {cleanedName ? (
            <Avatar id={userIdOf(cleanedName)} name={cleanedName} />
          ) : (
            <span className="tidings-avatar tidings-avatar-medium tidings-avatar-empty" aria-hidden="true" />
          )}
          <input
            id="name"
            name="name"
            value={name}
            onChange={(event) => setName(event.target.value)}
            autoComplete="nickname"
            // biome-ignore lint/a11y/noAutofocus: this page has only one field
            autoFocus
            maxLength={MAX_NAME_LENGTH + 40}
            placeholder="Ada Lovelace"
            aria-invalid={error !== undefined}
            aria-describedby="name-error"
          />
        </div>
        <p id="name-error" className="tidings-form-error" role="alert">
          {error}
        </p>
        <Button variant="primary" type="submit" busy={busy}>
          Continue
        </Button>
      </form>
    </main>
  );
}
