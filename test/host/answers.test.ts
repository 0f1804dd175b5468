import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeFrame, FrameDecoder } from '../../src/channel/frame.js';
import { CHILD_BOUNDS } from '../../src/channel/frame-bounds.js';
import { type DefinitionFacts, parseChildMessage } from '../../src/channel/messages.js';
import { makeLiteralCodec } from '../../src/data/literal-codec.js';
import { checkAnswer } from '../../src/host/process/answers.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';
import { phaseState } from '../../src/model/phase-state.js';
import { FAILURE_KINDS, type PluginMethod, type PluginMethods } from '../../src/model/plugin-call.js';
import { failureOf } from '../../src/model/plugin-failure.js';
import { literals } from '../../src/plugin-api/literals.js';
import { PHASES } from '../../src/plugin-api/phase.js';
import { mutated } from './mutated.js';
import {
  report,
  showCreate,
  showFailure,
  showIdentity,
  showLogs,
  showMeta,
  showMetrics,
  showReport,
  showState,
} from './shown-everywhere.js';

/** More for a longer look: `ANSWER_RUNS=100000 node scripts/test.mjs host/answers`. */
const RUNS = Number(process.env.ANSWER_RUNS ?? 3_000);
/** The failing value is neither made smaller nor printed: it may hold megabytes. Its seed and path find it again. */
const looks = <T>(share: number): fc.Parameters<T> => ({
  numRuns: Math.ceil(RUNS * share),
  endOnFailure: true,
  reporter: ({ failed, errorInstance, seed, counterexamplePath }) => {
    if (failed) throw new Error(`seed ${seed}, path ${counterexamplePath}`, { cause: errorInstance });
  },
});
const MAX = 16 * 1024 * 1024;

const codec = makeLiteralCodec(loadFlyteidlCore());
const VALUES = { a: 1, b: ['x', null, 2.5], c: { d: new Date(0), 'ö😀': literals.struct({ e: [1, {}] }) } };
const LITERALS = codec.writeMap(VALUES);

const log = () => ({ uri: 'https://l', name: 'n', messageFormat: 'JSON', ttlMs: 1_000, showWhilePending: true });
const customInfo = () => ({ a: 1, b: ['x', { c: null }], d: true });
const state = (phase: (typeof PHASES)[number]) => ({
  ...phaseState(phase, { reason: 'why', remotePhase: 'R', version: 3, nextPollAfterMs: 50 }),
  ...(['RETRYABLE_FAILURE', 'PERMANENT_FAILURE', 'ABORTED'].includes(phase)
    ? { error: { code: 'E', message: 'm', kind: 'USER' } }
    : {}),
  logs: [log(), { uri: 'u' }],
  customInfo: customInfo(),
  externalResources: [
    { externalId: 'x', index: 1, retryAttempt: 2, phase: 'RUNNING', logs: [log()], customInfo: customInfo() },
  ],
  outputs:
    phase === 'SUCCESS'
      ? { kind: 'inline', literalMap: Buffer.from(LITERALS), names: Object.keys(VALUES) }
      : { kind: 'none' },
});
const failure = (kind: string) => ({ kind, message: 'm', code: 'C', faultKind: 'SYSTEM', retryAfterMs: 5 });

const states = fc.constantFrom(...PHASES.slice(1)).map((phase) => () => state(phase));
const failures = fc.constantFrom(...FAILURE_KINDS).map((kind) => () => failure(kind));

const ANSWERS: { readonly [M in PluginMethod]: fc.Arbitrary<() => unknown> } = {
  get: states,
  do: states,
  create: states.map((make) => () => ({ meta: Buffer.from('{"job":1}'), state: make(), existing: false })),
  getMany: fc.tuple(states, failures).map(([make, fail]) => () => [
    { ok: true, value: make() },
    { ok: false, failure: fail() },
  ]),
  delete: fc.constant(() => ({})),
  getLogs: fc.constant(() => ({
    lines: [{ message: 'm', timestampMs: 1_500, originator: 'USER' }, { message: 'n' }],
    token: 'next',
  })),
  getMetrics: fc.constant(() => ({ series: [{ metric: 'cpu', points: [{ timestampMs: 1_500, value: 0.5 }] }] })),
  resourceRequirements: fc.constant(() => ({ namespace: 'default', constraints: { project: 3, namespace: 2 } })),
  adoptMeta: fc.constant(() => ({ meta: Buffer.from('{}') })),
  batchKeys: fc.constant(() => ({ keys: ['a', 'b'] })),
};
const ARGS = { items: [{}, {}], metas: [{}, {}] };

const SHOWN: { readonly [M in PluginMethod]: (answer: PluginMethods[M]['answer']) => void | Promise<void> } = {
  get: (answer) => showState(answer),
  do: (answer) => showState(answer),
  create: showCreate,
  getMany: (outcomes) => {
    for (const outcome of outcomes) {
      if (outcome.ok) showState(outcome.value);
      else showFailure(outcome.failure);
    }
  },
  delete: () => undefined,
  getLogs: showLogs,
  getMetrics: ({ series }) => showMetrics(series),
  resourceRequirements: async ({ namespace, constraints }) => {
    showIdentity({ quotaNamespace: namespace });
    await showReport(report({ quotas: [{ namespace, total: 1, used: 1, waiting: 0 }] }));
    for (const tokens of Object.values(constraints ?? {})) assert.ok(Number.isSafeInteger(tokens) && tokens >= 0);
  },
  adoptMeta: ({ meta }) => showMeta(meta),
  batchKeys: ({ keys }) => assert.ok(keys.every((key) => Buffer.from(key).toString() === key)),
};

function passing<T>(check: () => T): { readonly value: T } | undefined {
  try {
    return { value: check() };
  } catch (thrown) {
    assert.ok(thrown instanceof Error);
    // A fault of the check itself, such as a stack that is used up, is no refusal.
    assert.ok(!(thrown instanceof TypeError || thrown instanceof RangeError), thrown.stack);
    return undefined;
  }
}

/** The value as the daemon has it after the channel; undefined where it cannot be sent at all. */
function sent(message: object): { readonly value: unknown } | undefined {
  try {
    const decoder = new FrameDecoder(MAX, CHILD_BOUNDS);
    decoder.push(Buffer.concat(encodeFrame(message, MAX, CHILD_BOUNDS).parts));
    return { value: decoder.next()!.message };
  } catch (thrown) {
    assert.equal((thrown as Error).name, 'ChannelError', (thrown as Error).stack);
    return undefined;
  }
}

const METHODS = Object.keys(ANSWERS) as PluginMethod[];
for (const method of METHODS.filter((name) => name !== 'delete')) {
  // States cost most, and say the same whichever method answers them.
  const share = { get: 0.15, do: 0.05, create: 0.05, getMany: 0.1 }[method as string] ?? 0.2;
  test(`whatever passes as an answer of ${method} can be shown to everybody`, async () => {
    let taken = 0;
    const look = async (value: unknown) => {
      const answer = passing(() => checkAnswer(method, value, ARGS));
      if (answer === undefined) return;
      taken++;
      await (SHOWN[method] as (answer: unknown) => unknown)(answer.value);
    };
    const property = fc.asyncProperty(mutated(ANSWERS[method]), async (value) => {
      await look(value);
      const message = sent({ t: 'answer', id: 1, v: value });
      if (message !== undefined) await look((message.value as { v: unknown }).v);
    });
    await fc.assert(property, looks(share));
    // Else the checks refuse everything, and nothing was looked at.
    assert.ok(taken > RUNS * share * 0.2, `${taken} answers passed`);
  });
}

test('whatever passes as a failure of a call can be shown to everybody', () => {
  let taken = 0;
  const property = fc.property(mutated(failures), (value) => {
    const direct = passing(() => failureOf(value));
    if (direct !== undefined) showFailure(direct.value);
    const message = sent({ t: 'error', id: 1, f: value });
    const parsed = message && passing(() => parseChildMessage(message.value));
    if (parsed?.value.t !== 'error') return;
    taken++;
    showFailure(failureOf(parsed.value.f));
  });
  fc.assert(property, looks(0.3));
  assert.ok(taken > RUNS * 0.06);
});

const FACTS = (): DefinitionFacts => ({
  id: 'demo',
  version: '1.0.0',
  taskTypes: [
    { name: 'spark', versions: [0, 1] },
    { name: 'ray', versions: undefined },
  ],
  isDefault: false,
  config: {},
  environment: ['HOME', 'AWS_*'],
});

test('whatever passes as a definition can be listed, and its tasks have handles', async () => {
  let taken = 0;
  const property = fc.asyncProperty(mutated(fc.constant(FACTS)), async (facts) => {
    const message = { t: 'imported', p: 0, facts };
    for (const seen of [{ value: message }, sent(message)]) {
      const parsed = seen && passing(() => parseChildMessage(seen.value));
      if (parsed?.value.t !== 'imported') continue;
      taken++;
      const { id, version, environment, taskTypes, isDefault } = parsed.value.facts;
      const listed = taskTypes.map(({ name, versions }) => ({ name, versions: versions ?? [] }));
      await showReport(report({ id, version, environment, isDefault, taskTypes: listed }));
      for (const { name, versions } of taskTypes) {
        for (const taskTypeVersion of versions ?? [0]) showIdentity({ plugin: id, taskType: name, taskTypeVersion });
      }
    }
  });
  await fc.assert(property, looks(0.3));
  assert.ok(taken > RUNS * 0.06);
});

test('outputs that are no literals of their names are none, however they are broken', () => {
  const success = (literalMap: Buffer, names: readonly string[]) => () =>
    checkAnswer('get', { ...state('SUCCESS'), outputs: { kind: 'inline', literalMap, names } }, {});
  const deep = (levels: number) => {
    let value: object = {};
    for (let level = 0; level < levels; level++) value = { a: value };
    return codec.writeMap({ a: value as never });
  };
  assert.doesNotThrow(success(LITERALS, Object.keys(VALUES)));
  assert.doesNotThrow(success(Buffer.alloc(0), []));
  assert.doesNotThrow(success(deep(30), ['a']));
  const one = codec.writeMap({ a: 'text' });
  const broken: Record<string, [Buffer, string[]]> = {
    'cut off': [LITERALS.subarray(0, -1), Object.keys(VALUES)],
    'a name more': [LITERALS, [...Object.keys(VALUES), 'z']],
    'a name less': [LITERALS, ['a', 'b']],
    'another name': [one, ['b']],
    'one name twice': [Buffer.concat([one, one]), ['a', 'a']],
    'names of half pairs': [one, ['\ud83d']],
    'a text within that is not UTF-8': [
      Buffer.from(one.toString('latin1').replace('text', 'te\xff\xfe'), 'latin1'),
      ['a'],
    ],
    'deeper than decoders go': [deep(45), ['a']],
    'no message at all': [Buffer.from([0xff, 0xff]), ['a']],
  };
  for (const [what, [bytes, names]] of Object.entries(broken)) assert.throws(success(bytes, names), what);
});

test('an answer is kept as its known fields alone, each within the bounds of an honest one', () => {
  const kept = checkAnswer('get', { ...state('RUNNING'), extra: 'x'.repeat(1e6), logs: [{ uri: 'u', more: 1 }] }, {});
  assert.deepEqual(kept.logs, [{ uri: 'u' }]);
  assert.ok(!('extra' in kept));
  const large: Record<string, object> = {
    reason: { reason: 'x'.repeat(9_000) },
    logs: { logs: [{ uri: 'x'.repeat(2 ** 20 + 1) }] },
    'custom info': { customInfo: { a: 'x'.repeat(400_000) } },
    'many small values': { customInfo: { a: Array(400_000).fill(0) } },
    'external resources': { externalResources: Array(200).fill({ externalId: 'x'.repeat(20_000) }) },
  };
  for (const [what, parts] of Object.entries(large)) {
    assert.throws(() => checkAnswer('get', { ...state('RUNNING'), ...parts }, {}), /large|at most/, what);
  }
  const tooLong = [{ uri: 'u', ttlMs: 2 ** 53 - 1 }];
  assert.throws(() => checkAnswer('get', { ...state('RUNNING'), logs: tooLong }, {}), /out of range/);
  assert.throws(() => checkAnswer('create', { meta: Buffer.alloc(16_385) }, {}), /at most/);
  assert.throws(() => checkAnswer('getLogs', { lines: [], token: 'x'.repeat(1_025) }, {}), /at most/);
  assert.throws(() => failureOf({ ...failure('throttled'), retryAfterMs: -1 }));
});
