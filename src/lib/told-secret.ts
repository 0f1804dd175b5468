/** On the global object, since a plugin may have a copy of this package of its own. */
const TAKER = Symbol.for('webapi-plugin-host.secret-taker');

type Taker = (secret: string) => void;

/** From now on every secret that is told in this thread, by whatever copy of this package, is handed to `take`. */
export function takeSecrets(take: Taker): void {
  Object.defineProperty(globalThis, TAKER, { value: take, configurable: true });
}

/** Tells a secret that is about to be used to whoever masks texts in this process; nobody does outside of one. */
export function tellSecret(secret: string): void {
  const take = (globalThis as { readonly [TAKER]?: unknown })[TAKER];
  if (typeof take === 'function') (take as Taker)(secret);
}
