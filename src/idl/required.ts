import { HostError } from '../errors/index.js';

/** Zero values that mean "not set" by their name, in the field's own naming. */
const UNSET_ENUM = /(^|_)(UNDEFINED|UNSPECIFIED)$/;

function isUnset(value: unknown): boolean {
  if (value === undefined || value === null || value === '') return true;
  if (typeof value === 'string') return UNSET_ENUM.test(value);
  if (value instanceof Uint8Array || Array.isArray(value)) return value.length === 0;
  return false;
}

function check(value: unknown, steps: readonly string[], index: number, path: string): void {
  const step = steps[index];
  if (step === undefined) return;
  if (step.includes('|')) {
    const names = step.split('|');
    const object = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
    if (names.some((name) => Object.hasOwn(object, name) && object[name] != null)) return;
    throw new HostError('ENCODE_INVALID', `${path}: one of ${names.join(', ')} must be set, but none is`);
  }
  const each = step.endsWith('[]');
  const name = each ? step.slice(0, -2) : step;
  const here = `${path}.${name}`;
  const child =
    typeof value === 'object' && value !== null && Object.hasOwn(value, name)
      ? (value as Record<string, unknown>)[name]
      : undefined;
  if (each) {
    // Every element of a list or map; an empty one has nothing to lack.
    for (const [key, item] of Object.entries(child ?? {})) check(item, steps, index + 1, `${here}[${key}]`);
    return;
  }
  if (isUnset(child)) {
    const seen = typeof child === 'string' && child !== '' ? child : 'nothing';
    throw new HostError('ENCODE_INVALID', `${here}: required, but ${seen} is set`);
  }
  // An embedded message given as bytes is checked by whoever encoded it.
  if (!(child instanceof Uint8Array)) check(child, steps, index + 1, here);
}

/**
 * Asserts that fields are set. A path is dotted; `name[]` visits every element of a list or map (`logs[].uri`).
 * Unset are: absent, null, empty text, empty bytes or lists, and enum names that end in UNDEFINED or UNSPECIFIED.
 * A last step `a|b` asks for any one of them (the members of a oneof). Throws ENCODE_INVALID with the path.
 */
export function assertRequired(typeName: string, message: unknown, required: readonly string[]): void {
  for (const path of required) check(message, path.split('.'), 0, typeName);
}
