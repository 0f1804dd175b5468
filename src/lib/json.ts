/** What JSON.parse can answer. */
export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue };
export type JsonObject = { [key: string]: JsonValue };

/** Decimal digits that every number of so many keeps. */
const EXACT_DIGITS = 15;
/** Above it a number is taken for a measure, and not for an id. */
const LARGEST_ID = 1e30;

/** Whether a whole number has so many digits, as an id has them, that it may have been another one in its text. */
export function losesDigits(value: number): boolean {
  if (!Number.isInteger(value) || Number.isSafeInteger(value) || Math.abs(value) > LARGEST_ID) return false;
  const digits = String(Math.abs(value)).replace(/e.*$/, '').replace('.', '').replace(/0+$/, '');
  return digits.length > EXACT_DIGITS;
}
