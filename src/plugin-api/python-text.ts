import type { JsonValue } from '../lib/json.js';
import type { LiteralType } from './literal-type.js';
import type { DurationLiteral, LiteralInput, MsgpackValue, TaggedLiteral } from './literals.js';
import { isTaggedLiteral, PreciseDate } from './literals.js';

/**
 * How Python writes the values of tasks: `str` of one that stands alone, `repr` of those within lists and maps. It is what
 * flytekit and flyte put in the place of a placeholder.
 */

/** Thrown for a value that Python has no such text for; the message says what it is. */
export class NoPythonText extends Error {}

const DAY_SECONDS = 86_400;

/** `declared` tells a float from an integer where the value is whole. */
export function pythonStr(value: LiteralInput, declared?: LiteralType): string {
  if (typeof value === 'string') return value;
  if (value instanceof Date) return dateStr(value);
  if (isTaggedLiteral(value)) {
    if (value.literalKind === 'union') return pythonStr(value.value as LiteralInput, value.type);
    if (value.literalKind === 'duration') return durationStr(value);
  }
  return repr(value, declared);
}

function repr(value: LiteralInput | MsgpackValue, declared: LiteralType | undefined): string {
  if (value === null) return 'None';
  if (typeof value === 'string') return stringRepr(value);
  if (typeof value === 'number') return numberRepr(value, declared?.simple === 'FLOAT');
  if (typeof value === 'bigint') return declared?.simple === 'FLOAT' ? numberRepr(Number(value), true) : String(value);
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (value instanceof Date) return dateRepr(value);
  if (value instanceof Uint8Array) throw new NoPythonText('bytes');
  if (isTaggedLiteral(value)) return taggedRepr(value);
  if (Array.isArray(value)) {
    return `[${value.map((one: LiteralInput) => repr(one, declared?.collectionType)).join(', ')}]`;
  }
  const entries = Object.entries(value as Readonly<Record<string, LiteralInput>>);
  return `{${entries.map(([key, one]) => `${stringRepr(key)}: ${repr(one, declared?.mapValueType)}`).join(', ')}}`;
}

function taggedRepr(value: TaggedLiteral): string {
  switch (value.literalKind) {
    case 'integer':
      return String(value.value);
    case 'float':
      return numberRepr(value.value, true);
    case 'union':
      return repr(value.value as LiteralInput, value.type);
    case 'struct':
      // Protobuf's JSON writes whole doubles without a fraction, and Python reads integers.
      return repr(value.value as JsonValue as MsgpackValue, undefined);
    case 'msgpack':
      return repr(value.value, undefined);
    case 'duration':
      return durationRepr(value);
    case 'blob':
    case 'schema':
    case 'structured_dataset':
      return value.uri;
    default:
      throw new NoPythonText(`a literal of kind ${value.literalKind}`);
  }
}

/** Whole numbers that a double cannot tell from their neighbours were floats: integers are read as bigint there. */
function numberRepr(value: number, isFloat: boolean): string {
  if (!isFloat && Number.isSafeInteger(value) && !Object.is(value, -0)) return String(value);
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  const [mantissa = '', power = '0'] = Math.abs(value).toExponential().split('e');
  const exponent = Number(power);
  const digits = mantissa.replace('.', '');
  if (exponent < -4 || exponent >= 16) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : '';
    const size = String(Math.abs(exponent)).padStart(2, '0');
    return `${sign}${digits[0]}${fraction}e${exponent < 0 ? '-' : '+'}${size}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0');
  return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`;
}

/** Controls, formats, what is private or unassigned, and all spaces but the plain one. */
const UNPRINTABLE = /[\p{C}\p{Z}]/u;
const ESCAPES = new Map([
  ['\\', '\\\\'],
  ['\t', '\\t'],
  ['\n', '\\n'],
  ['\r', '\\r'],
]);

function stringRepr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = quote;
  for (const character of text) {
    if (character === quote) out += `\\${quote}`;
    else if (character === ' ') out += character;
    else out += ESCAPES.get(character) ?? (UNPRINTABLE.test(character) ? codeEscape(character) : character);
  }
  return out + quote;
}

function codeEscape(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = (digits: number) => code.toString(16).padStart(digits, '0');
  if (code < 0x100) return `\\x${hex(2)}`;
  return code < 0x1_0000 ? `\\u${hex(4)}` : `\\U${hex(8)}`;
}

/** Python knows microseconds, and cuts what is below. */
function microsecondsOf(date: Date): number {
  const below = date instanceof PreciseDate ? Math.floor(date.nanosBelowMs / 1_000) : 0;
  return date.getUTCMilliseconds() * 1_000 + below;
}

function dateStr(date: Date): string {
  if (Number.isNaN(date.getTime())) throw new NoPythonText('an invalid date');
  const two = (part: number) => String(part).padStart(2, '0');
  const day = `${String(date.getUTCFullYear()).padStart(4, '0')}-${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`;
  const time = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
  return `${day} ${time}${fraction(microsecondsOf(date))}+00:00`;
}

function dateRepr(date: Date): string {
  if (Number.isNaN(date.getTime())) throw new NoPythonText('an invalid date');
  const parts = [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours()];
  const [minutes, seconds, microseconds] = [date.getUTCMinutes(), date.getUTCSeconds(), microsecondsOf(date)];
  parts.push(minutes);
  if (seconds !== 0 || microseconds !== 0) parts.push(seconds);
  if (microseconds !== 0) parts.push(microseconds);
  return `datetime.datetime(${parts.join(', ')}, tzinfo=datetime.timezone.utc)`;
}

/** As Python keeps a span: any number of days, and a rest that is not negative. */
function spanOf({ seconds, nanos }: DurationLiteral): { days: number; seconds: number; microseconds: number } {
  const carried = Math.floor(Math.trunc(nanos / 1_000) / 1e6);
  const microseconds = Math.trunc(nanos / 1_000) - carried * 1e6;
  const whole = seconds + carried;
  const days = Math.floor(whole / DAY_SECONDS);
  return { days, seconds: whole - days * DAY_SECONDS, microseconds };
}

function durationStr(duration: DurationLiteral): string {
  const { days, seconds, microseconds } = spanOf(duration);
  const two = (part: number) => String(part).padStart(2, '0');
  const time = `${Math.floor(seconds / 3_600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  const before = days === 0 ? '' : `${days} day${Math.abs(days) === 1 ? '' : 's'}, `;
  return `${before}${time}${fraction(microseconds)}`;
}

function durationRepr(duration: DurationLiteral): string {
  const parts = Object.entries(spanOf(duration)).filter(([, count]) => count !== 0);
  return `datetime.timedelta(${parts.map(([name, count]) => `${name}=${count}`).join(', ') || '0'})`;
}

function fraction(microseconds: number): string {
  return microseconds === 0 ? '' : `.${String(microseconds).padStart(6, '0')}`;
}
