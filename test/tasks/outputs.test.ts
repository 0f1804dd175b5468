import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { readNamedLiterals } from '../../src/idl/literal-map.js';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import type { TasksOptions } from '../../src/tasks/deps.js';
import { type CheckedOutputs, checkOutputs, writeLargeOutputs } from '../../src/tasks/read/outputs.js';
import { literals } from './harness.js';

const success = (...names: string[]) => phaseState('SUCCESS', { outputs: literals(...names) });
const names = (count: number) => Array.from({ length: count }, (_, i) => `o${i}`);

function check(read: PhaseState, outputNames: readonly string[] | undefined, maxBytes = 1e6) {
  const dropped: string[][] = [];
  const checked = checkOutputs({ outputNames, outputPrefix: '' }, read, maxBytes, (left) => dropped.push([...left]));
  return { checked, dropped };
}

/** What a success becomes: the names it answers, where they are, or the words of its failure. */
function told(checked: CheckedOutputs): unknown {
  if (checked.kind === 'write') return ['write', readNamedLiterals(checked.literalMap).map(({ name }) => name)];
  const { phase, outputs, reason } = checked.state;
  if (checked.unusable) return [phase, reason, checked.state.error];
  return outputs.kind === 'inline' ? [outputs.names, readNamedLiterals(outputs.literalMap).length] : outputs.kind;
}

const unusable = (message: string) => [
  'PERMANENT_FAILURE',
  message,
  { code: 'OUTPUTS_UNUSABLE', message, kind: 'SYSTEM' },
];

const CHECKED: readonly [what: string, read: PhaseState, declared: readonly string[] | undefined, told: unknown][] = [
  ['a phase that is no success', phaseState('RUNNING', { outputs: literals('a') }), ['b'], [['a'], 1]],
  ['outputs at the prefix', phaseState('SUCCESS', { outputs: { kind: 'prefix' } }), ['b'], 'prefix'],
  ['none, where none are known to be declared', phaseState('SUCCESS'), undefined, 'none'],
  ['none, where none are declared', phaseState('SUCCESS'), [], 'none'],
  ['an empty map, where none are known to be declared', success(), undefined, 'none'],
  [
    'none, where one is declared',
    phaseState('SUCCESS'),
    ['a'],
    unusable('the task declares the outputs "a", the plugin reported success with none'),
  ],
  ['those that are declared, in that order', success('b', 'a'), ['a', 'b'], [['a', 'b'], 2]],
  ['any, where nothing is known to be declared', success('b', 'a'), undefined, [['b', 'a'], 2]],
  ['some, where none are declared', success('a'), [], 'none'],
  [
    'too few',
    success('a'),
    ['a', 'b', 'c'],
    unusable('the outputs "b", "c" are declared and missing; the plugin gave "a"'),
  ],
  ['an empty map', success(), ['a'], unusable('the outputs "a" are declared and missing; the plugin gave nothing')],
  [
    'ten names too few',
    success(),
    names(10),
    unusable(
      `the outputs ${names(10)
        .map((name) => `"${name}"`)
        .join(', ')} are declared and missing; the plugin gave nothing`,
    ),
  ],
  [
    'eleven names too few',
    success(),
    names(11),
    unusable(
      `the outputs ${names(10)
        .map((name) => `"${name}"`)
        .join(', ')} and 1 more are declared and missing; the plugin gave nothing`,
    ),
  ],
];

for (const [what, read, declared, expected] of CHECKED) {
  test(`a plugin that answers ${what} is told: ${JSON.stringify(expected).slice(0, 60)}`, () => {
    const { checked, dropped } = check(read, declared);
    assert.deepEqual(told(checked), expected);
    assert.deepEqual(dropped, declared?.length === 0 && read.outputs.kind === 'inline' ? [['a']] : []);
  });
}

test('further outputs are left out and said to be', () => {
  const { checked, dropped } = check(success('a', 'x', 'b', 'y'), ['a', 'b']);
  assert.deepEqual([told(checked), dropped], [[['a', 'b'], 2], [['x', 'y']]]);
});

test('outputs are written as a file from the first byte on that an answer cannot carry with what comes with them', () => {
  const bytesOf = (parts: Partial<PhaseState>) => {
    const read = phaseState('SUCCESS', { outputs: literals('a', 'b'), ...parts });
    let low = 0;
    for (let high = 100_000; low < high; ) {
      const middle = (low + high) >> 1;
      if (check(read, ['a', 'b'], middle).checked.kind === 'ready') high = middle;
      else low = middle + 1;
    }
    return low;
  };
  const literalBytes = (literals('a', 'b') as { literalMap: Buffer }).literalMap.length;
  const empty = bytesOf({});
  assert.equal(empty, literalBytes + JSON.stringify(['', null, [], []]).length);
  const more = (parts: Partial<PhaseState>) => bytesOf(parts) - empty;
  assert.equal(more({ reason: 'ä'.repeat(10) }), 20, 'bytes, and not characters');
  assert.equal(more({ logs: [{ uri: 'u' }] }), '{"uri":"u"}'.length);
  assert.equal(more({ customInfo: { a: 1 } }), 6 * '[{"a":1}]'.length);
  const external = [{ externalId: 'e', customInfo: { a: 1 } }] as unknown as PhaseState['externalResources'];
  assert.equal(more({ externalResources: external }), JSON.stringify(external).length - 2 + 6 * '[{"a":1}]'.length);
});

const checked = { literalMap: Buffer.alloc(50), state: success('a') };
const SIZE = 'the outputs are 50 bytes, an answer may carry 10 with all that comes with them';

function write(outputPrefix: string, writeOutputs: ((prefix: string, bytes: Buffer) => Promise<void>) | undefined) {
  const options = { maxInlineOutputBytes: 10 } as TasksOptions;
  return writeLargeOutputs({ options, writeOutputs }, { outputNames: ['a'], outputPrefix }, checked);
}

test('large outputs are at the prefix once they are written, and the state says so', async () => {
  const written: unknown[] = [];
  const outcome = await write('s3://b', async (prefix, bytes) => void written.push([prefix, bytes]));
  assert.deepEqual(outcome, {
    kind: 'ready',
    state: { ...checked.state, outputs: { kind: 'prefix' } },
    unusable: false,
  });
  assert.deepEqual(written, [['s3://b', checked.literalMap]]);
});

test('large outputs that cannot be written say what is lacking, and may be written later only where the store says so', async () => {
  const fails = (error: unknown) => () => Promise.reject(error);
  const outcomes = [
    await write('', async () => {}),
    await write('s3://b', undefined),
    await write('', undefined),
    await write('s3://b', fails(new Error('disk full'))),
    await write('s3://b', fails(new HostError('DATA_UNAVAILABLE', 'the store failed'))),
  ];
  const cannot = `${SIZE}, and they cannot be written as a file: `;
  const failed = `${SIZE}, and writing them under s3://b failed: `;
  assert.deepEqual(
    outcomes.map(({ kind, state }) => [kind, state.phase, state.reason]),
    [
      ['ready', 'PERMANENT_FAILURE', `${cannot}the engine gave no output prefix`],
      ['ready', 'PERMANENT_FAILURE', `${cannot}no data store is configured`],
      ['ready', 'PERMANENT_FAILURE', `${cannot}the engine gave no output prefix`],
      ['ready', 'PERMANENT_FAILURE', `${failed}disk full`],
      ['later', 'RETRYABLE_FAILURE', `${failed}the store failed`],
    ],
  );
  assert.deepEqual(
    outcomes.map((outcome) => outcome.kind === 'ready' && outcome.unusable),
    [true, true, true, true, false],
  );
  const [later] = outcomes.slice(-1);
  assert.ok(later?.kind === 'later');
  assert.deepEqual([later.code, later.message], ['DATA_UNAVAILABLE', later.state.reason]);
});
