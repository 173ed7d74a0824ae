import type { InputHTMLAttributes } from "react";
import type { PeopleFieldState } from "../state/usePeopleField.js";
import { PersonOptions } from "./PersonOptions.js";

interface PeopleInputProps extends Omit<InputHTMLAttributes<HTMLInputElement>, "value" | "onChange"> {
  readonly field: PeopleFieldState;
}

/** A field for the names of people, with a list of the people whom it may mean. */
export function PeopleInput({ field, ...rest }: PeopleInputProps) {
  return (
    <div className="tidings-people-field">
      <input
        {...rest}
        {...field.options.fieldProps}
        value={field.value}
        autoComplete="off"
        onChange={(event) => field.change(event.target.value)}
        onKeyDown={(event) => void field.options.onKeyDown(event)}
      />
      <PersonOptions label="People found" state={field.options} />
    </div>
  );
}

/** The question whether to add people whom nobody knows. */
export function PeopleQuestion({ field }: { field: PeopleFieldState }) {
  return (
    field.question && (
      <p className="tidings-people-question" role="alert">
        {field.question}
      </p>
    )
  );
}
