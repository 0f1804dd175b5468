/** Milliseconds in each unit of the header. */
const UNITS: ReadonlyMap<string, number> = new Map([
  ['H', 3_600_000],
  ['M', 60_000],
  ['S', 1000],
  ['m', 1],
  ['u', 1e-3],
  ['n', 1e-6],
]);

const MAX_DIGITS = 8;
const ZERO = 48;

/** A `grpc-timeout` in milliseconds; undefined where it is none (at most eight digits, then the unit). */
export function parseTimeout(header: unknown): number | undefined {
  if (typeof header !== 'string') return undefined;
  const digits = header.length - 1;
  const unit = UNITS.get(header.charAt(digits));
  if (unit === undefined || digits < 1 || digits > MAX_DIGITS) return undefined;
  let value = 0;
  for (let i = 0; i < digits; i++) {
    const digit = header.charCodeAt(i) - ZERO;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  return value * unit;
}
