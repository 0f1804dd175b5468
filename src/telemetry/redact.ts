import { isSecretName } from '../lib/secrets.js';

const REDACTED = '[redacted]';

const MAX_DEPTH = 6;
const MAX_ITEMS = 100;
const MAX_TEXT = 8 * 1024;

export interface RedactorOptions {
  /** Further names of fields, compared without regard to case. */
  readonly names: readonly string[];
  /** Values that must not appear anywhere, such as the tokens of the configuration. Short ones are ignored. */
  readonly values: readonly string[];
}

/**
 * Makes a copy of fields that is safe to log: values under secret names, known secret values, credentials in URLs and
 * bearer tokens are replaced, depth, lists and texts are bounded. Never throws.
 */
export function createRedactor(options: RedactorOptions): (value: unknown) => unknown {
  const names = new Set(options.names.map((name) => name.toLowerCase()));
  const values = options.values.filter((value) => value.length >= 6).sort((a, b) => b.length - a.length);

  // Credentials in a URL and bearer tokens count as secrets of up to this length.
  const longest = Math.max(values[0]?.length ?? 0, 1_024);

  const text = (raw: string): string => {
    // Cut after replacing, and with room for the longest secret, so that none is cut in two and missed.
    let out = raw.slice(0, MAX_TEXT + longest);
    for (const value of values) if (out.includes(value)) out = out.replaceAll(value, REDACTED);
    if (out.includes('://')) out = out.replace(/(\w{1,20}:\/\/)[^/\s@]{1,512}@/g, `$1${REDACTED}@`);
    out = out.replace(/\b(bearer|basic) [\w.~+/=-]{6,}/gi, `$1 ${REDACTED}`);
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
    const out: Record<string, unknown> = {};
    const keys = Object.keys(value);
    for (const key of keys.slice(0, MAX_ITEMS)) {
      const secret = isSecretName(key) || names.has(key.toLowerCase());
      const inner = (value as Record<string, unknown>)[key];
      const safe = secret && inner !== undefined && inner !== null ? REDACTED : walk(inner, depth + 1);
      // Defined, not assigned: a key may be __proto__.
      Object.defineProperty(out, text(key), { value: safe, enumerable: true, configurable: true, writable: true });
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
