/** The fields of `T` that may be null or undefined. */
type NullishKeys<T> = { [K in keyof T]-?: T[K] & (null | undefined) extends never ? never : K }[keyof T];

/** The type that `omitNullish` returns: fields that may be null or undefined become optional. */
type OmitNullish<T> = { [K in Exclude<keyof T, NullishKeys<T>>]: T[K] } & {
  [K in NullishKeys<T>]?: NonNullable<T[K]>;
};

/** Returns a copy without the fields that are null or undefined. */
export function omitNullish<T extends object>(object: T): OmitNullish<T> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value != null)) as OmitNullish<T>;
}
