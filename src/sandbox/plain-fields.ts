import type { JsonObject, JsonValue } from '../lib/json.js';
import { cutText } from '../lib/text.js';

const MAX_DEPTH = 5;
const MAX_KEYS = 50;
const MAX_TEXT = 4_096;
/** Of all values together: fields of a log line are facts, not payloads. */
const MAX_NODES = 500;

/** Cuts a text to a length and says so. Mask secrets first: one that the cut divides is not found any more. */
export function bounded(text: string, max: number): string {
  return text.length > max ? `${cutText(text, max)}… (${text.length} characters)` : text;
}

/** The fields of a log line as bounded plain data; never throws, whatever a plugin hands over. */
export function plainFields(fields: unknown, redact: (text: string) => string): JsonObject {
  if (typeof fields !== 'object' || fields === null) return {};
  let nodes = 0;

  function plain(value: unknown, depth: number): JsonValue {
    if (++nodes > MAX_NODES) return '…';
    switch (typeof value) {
      case 'string':
        return bounded(redact(value), MAX_TEXT);
      case 'number':
        return Number.isFinite(value) ? value : String(value);
      case 'boolean':
        return value;
      case 'object':
        break;
      default:
        return bounded(redact(String(value)), 200);
    }
    if (value === null) return null;
    if (value instanceof Error) return bounded(redact(value.stack ?? value.message), MAX_TEXT);
    if (value instanceof Uint8Array) return `${value.byteLength} bytes`;
    if (depth >= MAX_DEPTH) return '…';
    if (Array.isArray(value)) return value.slice(0, MAX_KEYS).map((item) => plain(item, depth + 1));
    const out: JsonObject = {};
    for (const key of Object.keys(value).slice(0, MAX_KEYS)) {
      if (key !== '__proto__')
        out[bounded(redact(key), 100)] = plain((value as Record<string, unknown>)[key], depth + 1);
    }
    return out;
  }

  try {
    return plain(fields, 0) as JsonObject;
  } catch {
    // A getter or proxy of the plugin threw.
    return { fields: 'unreadable' };
  }
}
