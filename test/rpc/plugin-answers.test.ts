import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkAnswer } from '../../src/host/process/answers.js';
import { loadFlyteidl2, loadPluginHost } from '../../src/idl/load.js';
import { compactState, type PhaseState, phaseState } from '../../src/model/phase-state.js';
import { flyte1, flyte2 } from '../../src/rpc/flyte/dialect.js';
import { ResourceEncoder } from '../../src/rpc/flyte/resource.js';
import { StatusEncoder } from '../../src/rpc/native/status-bytes.js';
import { nextState } from '../../src/store/transition.js';
import { idl } from './support.js';

/** `ANSWERS_RUNS=100000` for a long run. */
const RUNS = Number(process.env.ANSWERS_RUNS ?? 3_000);

const flyteidl = loadPluginHost();
const flyteidl2 = loadFlyteidl2();
const struct = flyteidl.codec('google.protobuf.Struct');
const native = new StatusEncoder(idl);
const dialects = [flyte1(flyteidl, struct), flyte2(flyteidl2, struct)].map((dialect) => new ResourceEncoder(dialect));

/** Texts that came over the channel: well formed, since the frame is decoded so, and otherwise anything. */
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom('', '\0', 'constructor', '__proto__', 'toString', '\u{1F600}', '\u2028', 'x'.repeat(5_000)),
);
const number = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(0, -0, 1e300, -1e300, 2 ** 31, 2 ** 32, 2 ** 53, 0.1, Number.MAX_SAFE_INTEGER),
);
/** Mostly in range. */
const count = fc.oneof({ arbitrary: fc.nat(), weight: 6 }, { arbitrary: number, weight: 1 });
const anything = fc.oneof(
  text,
  number,
  fc.boolean(),
  fc.constant(null),
  fc.constant(undefined),
  fc.constant(Buffer.from('b')),
  fc.jsonValue() as fc.Arbitrary<unknown>,
);

/** A field as it should be, or now and then anything at all. */
const near = (good: fc.Arbitrary<unknown>) =>
  fc.oneof({ arbitrary: good, weight: 60 }, { arbitrary: anything, weight: 1 });
const sometimes = (good: fc.Arbitrary<unknown>) =>
  fc.oneof({ arbitrary: near(good), weight: 2 }, { arbitrary: fc.constant(undefined), weight: 1 });

const log = fc.record({
  uri: near(text),
  name: sometimes(text),
  ttlMs: sometimes(count),
  messageFormat: sometimes(fc.constantFrom('UNKNOWN', 'CSV', 'JSON', 'toString')),
  showWhilePending: sometimes(fc.boolean()),
  hideOnceFinished: sometimes(fc.boolean()),
});
const json = fc.dictionary(text, fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<unknown>, { maxKeys: 4 });
const phase = fc.constantFrom(
  'NOT_READY',
  'WAITING_FOR_RESOURCES',
  'QUEUED',
  'INITIALIZING',
  'RUNNING',
  'SUCCESS',
  'RETRYABLE_FAILURE',
  'PERMANENT_FAILURE',
  'WAITING_FOR_CACHE',
  'ABORTED',
  'UNDEFINED',
  'constructor',
);
const external = fc.record({
  externalId: near(text),
  index: sometimes(count),
  retryAttempt: sometimes(count),
  phase: sometimes(phase),
  logs: sometimes(fc.array(log, { maxLength: 2 })),
  customInfo: sometimes(json),
});
const state = fc.record({
  phase: near(phase),
  reason: near(text),
  error: sometimes(fc.record({ code: near(text), message: near(text), kind: near(fc.constantFrom('USER', 'SYSTEM')) })),
  logs: near(fc.array(log, { maxLength: 3 })),
  customInfo: sometimes(json),
  externalResources: near(fc.array(external, { maxLength: 2 })),
  outputs: near(
    fc.constantFrom({ kind: 'none' }, { kind: 'prefix' }, { kind: 'inline', literalMap: Buffer.alloc(0), names: [] }),
  ),
  remotePhase: near(text),
  version: near(fc.nat()),
  nextPollAfterMs: sometimes(count),
});

test('what passes the checks of a plugin answer can be encoded in every dialect, and shown as JSON', () => {
  let passed = 0;
  fc.assert(
    fc.property(state, (answer) => {
      let checked: PhaseState;
      try {
        checked = checkAnswer('get', answer, {});
      } catch (error) {
        assert.ok(error instanceof Error);
        return;
      }
      passed += 1;
      const shown = compactState(nextState(phaseState('QUEUED'), checked).state);
      native.phaseInfo(shown, 1);
      for (const encoder of dialects) encoder.resource(shown);
      JSON.stringify(shown);
    }),
    { numRuns: RUNS },
  );
  assert.ok(passed > RUNS / 40, `only ${passed} of ${RUNS} answers passed the checks`);
});
