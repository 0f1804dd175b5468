import { isSecretName, type SecretMasks } from '../lib/secrets.js';

const REDACTED = '[redacted]';

const MAX_DEPTH = 6;
/** Keys of which it is remembered whether they name secrets, and their length. */
const MAX_JUDGED = 500;
const MAX_KEY = 40;
const OWN = { enumerable: true, configurable: true, writable: true };
const MAX_ITEMS = 100;
const MAX_TEXT = 8 * 1024;
/** Of a longer text so much is looked at: room for what a mask makes shorter. */
const MAX_READ = 2 * MAX_TEXT;

export interface RedactorOptions {
  /** Further names of fields, compared without regard to case. */
  readonly names: readonly string[];
  /** The secrets of the daemon itself. */
  readonly masks: SecretMasks;
}

/**
 * Makes a copy of fields that is safe to log: values under secret names, the daemon's secrets in every form, credentials in
 * URLs and bearer tokens are replaced, depth, lists and texts are bounded. Never throws.
 */
export function createRedactor({ names: further, masks }: RedactorOptions): (value: unknown) => unknown {
  const names = new Set(further.map((name) => name.toLowerCase()));
  // Of the fields of our own events, which come again and again; what plugins and callers name comes once in a while.
  const judged = new Map<string, boolean>();
  const isSecret = (key: string): boolean => {
    const known = judged.get(key);
    if (known !== undefined) return known;
    const secret = isSecretName(key) || names.has(key.toLowerCase());
    if (judged.size < MAX_JUDGED && key.length <= MAX_KEY) judged.set(key, secret);
    return secret;
  };

  const text = (raw: string): string => {
    // Cut after replacing, so that no secret is cut in two and missed.
    let out = masks.maskStart(raw, MAX_READ);
    if (out.includes('://')) {
      out = out.replace(/(\w{1,20}:\/\/)[^/\s@]{1,512}@/g, `$1${REDACTED}@`);
      if (raw.length > MAX_READ) out = out.replace(/(\w{1,20}:\/\/)[^/\s@]{1,512}…$/, `$1${REDACTED}`);
    }
    // Ids, names and most keys are one word.
    if (out.includes(' ')) out = out.replace(/\b(bearer|basic) [\w.~+/=-]{6,}/gi, `$1 ${REDACTED}`);
    return raw.length > MAX_TEXT ? `${out.slice(0, MAX_TEXT)}… (${raw.length} characters)` : out;
  };

  const walk = (value: unknown, depth: number): unknown => {
    if (typeof value === 'string') return text(value);
    if (typeof value === 'bigint') return String(value);
    if (typeof value === 'function' || typeof value === 'symbol') return undefined;
    if (typeof value !== 'object' || value === null) return value;
    if (depth >= MAX_DEPTH) return '[deeper]';
    if (value instanceof Error) return text(value.message || value.name);
    if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
    if (Array.isArray(value)) {
      const items = value.slice(0, MAX_ITEMS).map((item) => walk(item, depth + 1));
      return value.length > MAX_ITEMS ? [...items, `… (${value.length} items)`] : items;
    }
    return walkObject(value as Record<string, unknown>, depth);
  };

  const walkObject = (value: Record<string, unknown>, depth: number): unknown => {
    const out: Record<string, unknown> = {};
    const keys = Object.keys(value);
    for (const key of keys.slice(0, MAX_ITEMS)) {
      const secret = isSecret(key);
      const inner = value[key];
      const safe = secret && inner !== undefined && inner !== null ? REDACTED : walk(inner, depth + 1);
      const name = text(key);
      // An assignment would set the prototype.
      if (name === '__proto__') Object.defineProperty(out, name, { ...OWN, value: safe });
      else out[name] = safe;
    }
    if (keys.length > MAX_ITEMS) out['…'] = `${keys.length} keys`;
    return out;
  };

  return (value) => {
    try {
      return walk(value, 0);
    } catch {
      return '[unreadable]';
    }
  };
}
