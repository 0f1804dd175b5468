import type { JsonValue } from '../../lib/json.js';
import { type Field, FieldError } from './fields.js';

/** When so many were seen they are forgotten, each kept by its own facts, and sharing begins anew. */
const MAX_KEPT = 4_096;
/** What is longer is hardly that of another fact as well. Bytes. */
const MAX_KEPT_BYTES = 1_024;

/**
 * A part that many facts have in common, as a JSON text of its own: equal texts are read once, and are one frozen object. A
 * start reads half a million of them in a row, nearly all of which say one of a handful of things.
 */
export class SharedJson<T extends object> {
  readonly #field: Field<T>;
  readonly #read = new Map<string, T>();
  readonly #written = new WeakMap<T, Buffer>();
  #last: { readonly bytes: Buffer; readonly value: T } | undefined;

  /** `field` is one without bytes. */
  constructor(field: Field<T>) {
    this.#field = field;
  }

  /** A frozen value is written once. */
  write(value: T): Buffer {
    const known = this.#written.get(value);
    if (known !== undefined) return known;
    const bytes = Buffer.from(JSON.stringify(this.#field.write(value, []) ?? null));
    if (Object.isFrozen(value)) this.#written.set(value, bytes);
    return bytes;
  }

  /** Throws FieldError or SyntaxError. */
  read(bytes: Buffer, at: string): T {
    if (this.#last?.bytes.equals(bytes) === true) return this.#last.value;
    const value = bytes.length > MAX_KEPT_BYTES ? this.#parsed(bytes, at) : this.#kept(bytes, at);
    // Not the bytes themselves, which are a part of what was read with them.
    this.#last = { bytes: Buffer.from(bytes), value };
    return value;
  }

  #kept(bytes: Buffer, at: string): T {
    const text = bytes.toString('latin1');
    const known = this.#read.get(text);
    if (known !== undefined) return known;
    const value = this.#parsed(bytes, at);
    if (this.#read.size >= MAX_KEPT) this.#read.clear();
    this.#read.set(text, value);
    return value;
  }

  #parsed(bytes: Buffer, at: string): T {
    const raw = JSON.parse(bytes.toString('utf8')) as JsonValue;
    if (raw === null) throw new FieldError(`${at} is not there`);
    return Object.freeze(this.#field.read(raw, [], at));
  }
}
