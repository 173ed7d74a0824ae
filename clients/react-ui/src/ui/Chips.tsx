import { ChatAvatar } from "./ChatAvatar.js";

/** The people that were recognized in a typed text. */
export function Chips({ people }: { people: readonly { id: string; name: string }[] }) {
  if (people.length === 0) return null;
  return (
    <ul className="tidings-chips" aria-label="Chosen people">
      {people.map((person) => (
        <li key={person.id} className="tidings-line">
          <ChatAvatar id={person.id} name={person.name} size="small" />
          {person.name}
        </li>
      ))}
    </ul>
  );
}
