import fc from 'fast-check';
import { HostError } from '../../src/errors/index.js';
import { PermanentError, ThrottledError, TransientError } from '../../src/plugin-api/errors.js';

const trap = (): never => {
  throw new Error('a trap of what was thrown threw');
};

/** A proxy that throws whatever is asked of it. */
function hostile(target: object): object {
  const traps = ['get', 'has', 'ownKeys', 'getPrototypeOf', 'getOwnPropertyDescriptor'] as const;
  return new Proxy(target, Object.fromEntries(traps.map((name) => [name, trap])));
}

function revoked(target: object): object {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

function cyclic(): Error {
  const error = new Error('in a circle');
  error.cause = { error };
  return error;
}

/** An error of ours whose fields are not what the types say. */
const broken = (fields: Record<string, unknown>): Error =>
  Object.defineProperties(
    new HostError('INTERNAL', 'x'),
    Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, { value }])),
  );

const names = ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf'];

const oddities: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => Symbol('s'),
  () => 10n,
  () => hostile({}),
  () => hostile(new Error('x')),
  () => hostile(new HostError('INTERNAL', 'x')),
  () => revoked(new Error('x')),
  () => revoked(() => undefined),
  () => Object.defineProperty(new Error('x'), 'message', { get: trap }),
  () => Object.defineProperty(new TransientError('x'), 'code', { get: trap }),
  () => Object.defineProperty(new HostError('INTERNAL', 'x'), 'details', { get: trap }),
  () => Object.defineProperty(new Error('x'), 'stack', { get: trap }),
  () => Object.assign(new Error(), { message: 5, name: {}, stack: 7n }),
  () => Object.freeze(new Error('frozen')),
  () => Object.create(null),
  () => ({ toJSON: trap, toString: trap }),
  () => ({ [Symbol.toPrimitive]: trap, toJSON: () => 1n }),
  () => new Error('m'.repeat(3_000_000)),
  () => new TransientError('cut \ud83d', { code: '\udc00'.repeat(500) }),
  cyclic,
  () => new AggregateError([cyclic(), undefined], ''),
  ...names.map((code) => () => new TransientError('x', { code })),
  ...names.map((code) => () => new PermanentError('x', { code })),
  ...names.map((kind) => () => Object.assign(new TransientError('x'), { kind })),
  ...names.map((code) => () => new HostError(code as 'INTERNAL', 'x')),
  ...[Number.NaN, -1, Number.POSITIVE_INFINITY, 1e300, 2 ** 53].map(
    (retryAfterMs) => () => new ThrottledError('x', { retryAfterMs }),
  ),
  ...[Number.NaN, -1, Number.POSITIVE_INFINITY, 1e300, 2 ** 53].map(
    (retryAfterMs) => () => new HostError('STORE_FULL', 'x', { retryAfterMs }),
  ),
  () => broken({ kind: 'toString' }),
  () => broken({ kind: undefined, code: Symbol('c') }),
  () => broken({ message: undefined }),
  () => broken({ details: null }),
  () => broken({ details: { field: 5, other: 7n } }),
  () => broken({ details: hostile({}) }),
  () => new HostError('REQUEST_FIELD_INVALID', '\ud800', { details: { field: '\udfff', '\ud800': '\ud800' } }),
];

/** Makes whatever can be thrown, and what is thrown to break who looks at it; made late, for fast-check looks as well. */
export const thrown: fc.Arbitrary<() => unknown> = fc.oneof(
  fc.constantFrom(...oddities),
  fc
    .anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true, withSparseArray: true })
    .map((value) => () => value),
  fc
    .record({ message: fc.anything(), code: fc.string({ unit: 'binary' }), kind: fc.string() })
    .map((fields) => () => Object.assign(new TransientError('x'), fields)),
);
