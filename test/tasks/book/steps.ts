import fc from 'fast-check';
import type { Phase } from '../../../src/plugin-api/phase.js';
import type { Delivery } from './engine.js';
import type { Blind, Doing, Weather } from './remote.js';

/** Two more than there are tokens, so that a token which is freed twice lets two in that wait. */
export const NODES = ['a', 'b', 'c', 'd', 'e', 'f'];
const node = fc.constantFrom(...NODES);

/** What may happen in the world. */
export const step = fc.oneof(
  {
    weight: 7,
    arbitrary: fc.record({
      kind: fc.constant('create' as const),
      node,
      delivery: fc.constantFrom<Delivery>('arrives', 'arrives', 'arrives', 'lost, it repeats', 'lost, it goes on'),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), node }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('get' as const, 'tryAgain' as const), node }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('poll' as const, 'lookBack' as const) }) },
  { weight: 7, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 25_000 }) }) },
  // Longer than NotFound must last, and shorter than an outage may.
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 45_000, max: 110_000 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('weather' as const),
      of: fc.constantFrom<readonly Doing[]>(['read'], ['create'], ['delete'], ['create', 'read', 'delete']),
      weather: fc.constantFrom<Weather>('fine', 'fine', 'down', 'throttled', 'lost', 'silent', 'slow'),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('blind' as const),
      blind: fc.constantFrom<Blind>('no', 'no', 'all', 'all', 'some', 'list empty', 'list half'),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('moves' as const),
      nth: fc.nat(20),
      to: fc.constantFrom<Phase | 'purged' | 'poisoned'>(
        'QUEUED',
        'RUNNING',
        'RUNNING',
        'SUCCESS',
        'RETRYABLE_FAILURE',
        'PERMANENT_FAILURE',
        'purged',
        'poisoned',
      ),
    }),
  },
  // What it takes for a wave and for an outage, which single steps bring together too rarely: many jobs that were seen, and
  // a fault that is over before the grace is.
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crowd' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('spell' as const),
      of: fc.constantFrom<'down' | Blind>('down', 'all', 'all', 'list empty'),
      ms: fc.integer({ min: 45_000, max: 110_000 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), clean: fc.boolean() }) },
);
export type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
