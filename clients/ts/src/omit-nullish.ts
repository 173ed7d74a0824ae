/** The type that `omitNullish` returns: fields that may be undefined become optional. */
type OmitNullish<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Returns a copy without the fields that are null or undefined. */
export function omitNullish<T extends object>(object: T): OmitNullish<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value != null)) as OmitNullish<T>;
}
