import { editDistance } from '../lib/nearest.js';
import { methodsOffered } from '../model/plugin-methods.js';

/** Which type each name of the contract has that an author may leave out, so that a mistyped one is not missed otherwise. */
type OptionalNames = Readonly<Record<string, 'function' | 'object' | 'boolean' | 'string'>>;

export const OPTIONAL_OF_DEFINITION: OptionalNames = {
  version: 'string',
  isDefault: 'boolean',
  config: 'object',
  settings: 'object',
  environment: 'object',
};

export const OPTIONAL_OF_PLUGIN: OptionalNames = {
  ...Object.fromEntries(methodsOffered('optional').map((name) => [name, 'function' as const])),
  status: 'function',
  getMany: 'object',
  metaCodec: 'object',
  findsByKey: 'boolean',
  close: 'function',
};

/** How many prototypes are looked at: an instance, its class, and what that extends. */
const MAX_PROTOTYPES = 4;
const MAX_KEYS = 200;

/**
 * Sentences about what nothing reads and what is nearly the name of something that is optional: `enviroment`, `getmany`. A
 * helper of another type, or beside the one that it resembles, is none.
 */
export function mistyped(value: object, optional: OptionalNames): string[] {
  const keys = keysOf(value);
  const unread = keys.filter((key) => !Object.hasOwn(optional, key));
  return Object.entries(optional).flatMap(([meant, type]) => {
    if (keys.includes(meant)) return [];
    const key = unread.find((one) => isNear(one, meant) && typeOf(value, one) === type);
    return key === undefined ? [] : [`nothing reads ${JSON.stringify(key)}; did you mean ${JSON.stringify(meant)}?`];
  });
}

function isNear(key: string, meant: string): boolean {
  if (key.length > 40) return false;
  const [seen, wanted] = [key.toLowerCase(), meant.toLowerCase()];
  if (seen === wanted) return true;
  // `getMetricsOf` is a name of its own.
  if (seen.startsWith(wanted)) return false;
  return key.length >= 5 && editDistance(seen, wanted) <= (key.length >= 8 ? 2 : 1);
}

function keysOf(value: object): string[] {
  const keys = new Set<string>();
  let at: object | null = value;
  for (let depth = 0; at !== null && at !== Object.prototype && depth < MAX_PROTOTYPES; depth++) {
    for (const key of Object.getOwnPropertyNames(at).slice(0, MAX_KEYS)) if (key !== 'constructor') keys.add(key);
    at = Object.getPrototypeOf(at);
  }
  return [...keys];
}

/** Getters are the author's code and are not run for this. */
function typeOf(value: object, key: string): string {
  let at: object | null = value;
  while (at !== null) {
    const found = Object.getOwnPropertyDescriptor(at, key);
    if (found !== undefined) return typeof found.value;
    at = Object.getPrototypeOf(at);
  }
  return 'undefined';
}
