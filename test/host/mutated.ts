import fc from 'fast-check';

/** Values that look like what a plugin answers and are not, changed at any place by anything. */

type Container = Record<string | number, unknown>;

const HALVES = ['\ud83d', '\udc00', 'a\ud800b', '\udc00\ud800', 'ends in \ud83d'];
const NAMES = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  'then',
  '',
  '$b',
  '$s',
  '$l',
  '$o',
  'uri',
  'phase',
];

function nested(levels: number, list: boolean): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = list ? [value] : { inner: value };
  return value;
}

const text = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...HALVES) },
  fc.constantFrom(...NAMES, '\0', 'a\0b', '\u202e', '\ufffe', '\ufffd', '😀', ' ', '\n'),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.integer({ min: 100, max: 20_000 }).map((length) => 'x'.repeat(length)),
  fc.constantFrom(128, 129, 1_024, 1_025, 4_200, 8_192, 8_300, 300_000).map((length) => '漢'.repeat(length)),
);

const number = fc.constantFrom(
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0, -1, 0.5, 1e300, 5e-324, 2 ** 31, 2 ** 32],
  ...[2 ** 32 - 1, 2 ** 53 - 1, 2 ** 53, 2 ** 53 + 2, -(2 ** 53), 253_402_300_799_999, 253_402_300_800_000, 0.1 + 0.2],
  ...[-62_135_596_800_000, -62_135_596_800_001, 8.64e15, 315_576_000_000_000, 315_576_000_000_001, 1_700_000_000_000.5],
);

const other = fc.constantFrom<(() => unknown)[]>(
  () => undefined,
  () => null,
  () => true,
  () => [],
  () => ({}),
  () => [undefined],
  () => Array(3),
  () => Array.from({ length: 1_001 }, () => ({ uri: 'u' })),
  () => Array.from({ length: 10_001 }, () => ({ externalId: 'x' })),
  () => nested(29, false),
  () => nested(35, false),
  () => nested(40, true),
  () => nested(3_000, true),
  () => JSON.parse('{"__proto__":{"phase":"RUNNING","uri":"u"}}'),
  () => Object.create({ uri: 'u', message: 'm', externalId: 'x', phase: 'RUNNING' }),
  () => Object.create(null),
  () => new Date(0),
  () => new Map([['a', 1]]),
  () => 10n,
  () => Symbol('s'),
  () => () => 1,
  () => Buffer.from([0xff, 0xfe, 0x80]),
  () => Buffer.alloc(16_385, 1),
  () => new Uint8Array(3),
  () => 'UNDEFINED',
  () => 'SUCCESS',
  () => 'ABORTED',
  () => 'USER',
);

const hostile: fc.Arbitrary<() => unknown> = fc.oneof(
  { weight: 4, arbitrary: text.map((value) => () => value) },
  { weight: 3, arbitrary: number.map((value) => () => value) },
  { weight: 2, arbitrary: other },
);

type Mutation = (root: { value: unknown }) => void;

/** Every place in a value, as its container and key. */
function placesOf(root: { value: unknown }): { in: Container; key: string | number }[] {
  const places: { in: Container; key: string | number }[] = [];
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null || node instanceof Uint8Array || places.length > 2_000) return;
    for (const key of Object.keys(node)) {
      places.push({ in: node as Container, key });
      visit((node as Container)[key]);
    }
  };
  visit(root);
  return places;
}

function put(container: Container, key: string | number, value: unknown): void {
  Object.defineProperty(container, key, { value, enumerable: true, configurable: true, writable: true });
}

function changedBytes(bytes: Buffer, at: number, byte: number, how: number): Buffer {
  const place = bytes.length === 0 ? 0 : at % bytes.length;
  if (how === 0) return bytes.subarray(0, place);
  if (how === 1) return Buffer.concat([bytes.subarray(0, place), Buffer.from([byte]), bytes.subarray(place)]);
  if (how === 2) return Buffer.concat([bytes, bytes]);
  const copy = Buffer.from(bytes);
  if (copy.length > 0) copy[place] = byte;
  return copy;
}

/** One change at one place; a byte sequence is changed within, as often as it is replaced. */
const mutation: fc.Arbitrary<Mutation> = fc
  .record({ place: fc.nat(), from: fc.nat(), how: fc.nat(8), value: hostile, name: text, byte: fc.nat(255) })
  .map(({ place, from, how, value, name, byte }) => (root) => {
    const places = placesOf(root);
    const { in: container, key } = places[place % places.length]!;
    const found = container[key];
    if (Buffer.isBuffer(found) && how > 2) put(container, key, changedBytes(found, from, byte, how % 4));
    else if (how === 0 && container !== root) delete container[key];
    else if (how === 1 && typeof found === 'object' && found !== null && !Buffer.isBuffer(found)) {
      if (Array.isArray(found)) found.push(value());
      else put(found as Container, name, value());
    } else if (how === 2) {
      const other = places[from % places.length]!;
      // A copy: what holds itself is no tree, and no parser makes it.
      put(container, key, copyOf(other.in[other.key]));
    } else put(container, key, value());
  });

/** Trees only; shares nothing with the original, and ends where it is very deep. */
function copyOf(node: unknown, depth = 0): unknown {
  if (depth > 500) return null;
  if (Buffer.isBuffer(node)) return Buffer.from(node);
  if (Array.isArray(node)) return node.map((item) => copyOf(item, depth + 1));
  if (typeof node !== 'object' || node === null || Object.getPrototypeOf(node) !== Object.prototype) return node;
  const copy = {};
  for (const [key, value] of Object.entries(node)) put(copy, key, copyOf(value, depth + 1));
  return copy;
}

/** What `makes` gives, with up to three changes. */
export function mutated<T>(makes: fc.Arbitrary<() => T>): fc.Arbitrary<unknown> {
  return fc.tuple(makes, fc.array(mutation, { maxLength: 3 })).map(([make, mutations]) => {
    const root: { value: unknown } = { value: make() };
    for (const mutate of mutations) mutate(root);
    return root.value;
  });
}
