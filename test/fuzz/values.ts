import type { Dice } from '../support/decisions.js';
import { below, mutateBytes, oneOf, randomBytes } from './bytes.js';

const TEXTS: readonly string[] = [
  ...[
    '',
    ' ',
    '\0',
    'a\0b',
    '\n',
    '\ud83d',
    '\udc00\ud800',
    '\u202e',
    '\ufffe',
    '😀',
    '漢'.repeat(1_000),
    'x'.repeat(5_000),
  ],
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'then', 'prototype', '$b', '$s', '$l', '$o', '$ref'],
  ...[
    '../../etc/passwd',
    '/dev/full',
    'file:///',
    's3://',
    's3://b',
    's3://b/../k',
    'http://[::1',
    '%00',
    '%',
    '$(x)',
    '{{.x}}',
  ],
  ...[
    '{{ .inputs.x }}',
    '{{$inputs',
    '1e999',
    '-0',
    'NaN',
    '1m30s',
    '-1s',
    '999999999999h',
    '0x10',
    'null',
    'true',
    '[]',
    '{}',
  ],
  ...[
    '=1',
    '--',
    '-',
    '*',
    '&a *a',
    '!!js/function x',
    '? x',
    '- - -',
    '%TAG',
    'a: b: c',
    '\t',
    '\\',
    '"',
    "'",
    '`',
    '$(x)',
  ],
];

const NUMBERS: readonly number[] = [
  ...[
    0,
    -0,
    1,
    -1,
    0.5,
    1e300,
    5e-324,
    Number.MAX_SAFE_INTEGER,
    Number.MAX_SAFE_INTEGER + 1,
    -(2 ** 53),
    2 ** 31,
    2 ** 32,
  ],
  ...[2 ** 32 - 1, 65_535, 65_536, 8.64e15, 8.64e15 + 1, 253_402_300_800_000, 255, 256, 1_000_000],
];

export function hostileText(dice: Dice): string {
  return dice.chance(0.7)
    ? oneOf(dice, TEXTS)
    : randomBytes(dice, 40).toString(oneOf(dice, ['utf8', 'latin1'] as const));
}

function nested(dice: Dice): unknown {
  const list = dice.chance(0.5);
  let value: unknown = 1;
  for (let level = below(dice, dice.chance(0.1) ? 800 : 60); level > 0; level--) value = list ? [value] : { a: value };
  return value;
}

/** A value of JSON that is seldom where it belongs. */
export function hostileValue(dice: Dice): unknown {
  const kind = below(dice, 10);
  if (kind < 4) return hostileText(dice);
  if (kind < 7) return oneOf(dice, NUMBERS);
  if (kind === 7) return oneOf(dice, [null, true, false, [], {}, [null], { '': 0 }]);
  if (kind === 8) return nested(dice);
  return Array.from({ length: below(dice, dice.chance(0.05) ? 5_000 : 10) }, () => oneOf(dice, NUMBERS));
}

type Place = { readonly in: Record<string, unknown>; readonly key: string };
const MOST_PLACES = 2_000;

function placesOf(root: Record<string, unknown>): Place[] {
  const places: Place[] = [];
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null || node instanceof Uint8Array) return;
    for (const key of Object.keys(node)) {
      if (places.length === MOST_PLACES) return;
      places.push({ in: node as Record<string, unknown>, key });
      visit((node as Record<string, unknown>)[key]);
    }
  };
  visit(root);
  return places;
}

/** Also where the key is `__proto__`. */
function put(container: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(container, key, { value, enumerable: true, configurable: true, writable: true });
}

/** A list has no holes afterwards: they are nothing that JSON knows. */
function remove(place: Place): void {
  if (Array.isArray(place.in)) place.in.splice(Number(place.key), 1);
  else delete place.in[place.key];
}

/** A copy of a tree of plain data and bytes, with one to three changes anywhere. */
export function mutateValue(dice: Dice, value: unknown): unknown {
  const root = { value: structuredClone(value) };
  for (let left = 1 + below(dice, 3); left > 0; left--) {
    const places = placesOf(root);
    const place = oneOf(dice, places);
    const found = place.in[place.key];
    const how = below(dice, 6);
    if (found instanceof Uint8Array && how < 4) put(place.in, place.key, mutateBytes(dice, Buffer.from(found)));
    else if (how === 0 && place.in !== root) remove(place);
    else if (how === 1 && typeof found === 'object' && found !== null && !(found instanceof Uint8Array)) {
      if (Array.isArray(found)) found.push(hostileValue(dice));
      else put(found as Record<string, unknown>, hostileText(dice), hostileValue(dice));
    } else if (how === 2) {
      const other = oneOf(dice, places);
      put(place.in, place.key, structuredClone(other.in[other.key]));
    } else put(place.in, place.key, hostileValue(dice));
  }
  return root.value;
}
