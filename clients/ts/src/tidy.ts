/** An object whose fields may be left out, without those that are `undefined`. */
type Tidy<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Leaves out what is null or undefined. */
export function tidy<T extends object>(object: T): Tidy<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value != null)) as Tidy<T>;
}
