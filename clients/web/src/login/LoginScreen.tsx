import { type FormEvent, useEffect, useState } from "react";
import { cleanName, NAME_LIMIT, userIdOf } from "../logic/names.ts";
import { fetchToken } from "../state/server.ts";
import type { Session } from "../state/session.ts";
import { Avatar } from "../ui/Avatar.tsx";
import { Button } from "../ui/Button.tsx";
import { useAction } from "../ui/useAction.ts";

/** The login screen, which asks only for a name. */
export function LoginScreen({ onSignIn }: { onSignIn: (session: Session) => void }) {
  const [name, setName] = useState("");
  const { busy, error, setError, run } = useAction();
  const clean = cleanName(name);

  useEffect(() => {
    document.title = "Tidings";
  }, []);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (clean === undefined) {
      setError(
        name.trim() === "" ? "Please type a name." : `A name can have up to ${NAME_LIMIT} characters.`,
      );
      return;
    }
    void run(async () => {
      const { user, name } = await fetchToken(clean);
      onSignIn({ user, name });
    });
  };

  return (
    <main className="login">
      <form className="login-card column" onSubmit={submit} noValidate>
        <img src="/icon.svg" alt="" width="56" height="56" />
        <h1>Welcome to Tidings</h1>
        <p className="hint">
          Choose a name and start chatting. There are no passwords here: anyone who types the same name uses
          the same account.
        </p>
        <label htmlFor="name">Your name</label>
        <div className="login-name line">
          {clean ? (
            <Avatar id={userIdOf(clean)} name={clean} />
          ) : (
            <span className="avatar avatar-medium avatar-empty" aria-hidden="true" />
          )}
          <input
            id="name"
            name="name"
            value={name}
            onChange={(event) => setName(event.target.value)}
            autoComplete="nickname"
            // biome-ignore lint/a11y/noAutofocus: this page has only one field
            autoFocus
            maxLength={NAME_LIMIT + 40}
            placeholder="Ada Lovelace"
            aria-invalid={error !== undefined}
            aria-describedby="name-error"
          />
        </div>
        <p id="name-error" className="form-error" role="alert">
          {error}
        </p>
        <Button variant="primary" type="submit" busy={busy}>
          Continue
        </Button>
      </form>
    </main>
  );
}
