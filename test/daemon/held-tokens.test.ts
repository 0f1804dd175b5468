import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HeldTokens, type HeldTokensOptions } from '../../src/daemon/held-tokens.js';
import { HostError } from '../../src/errors/index.js';
import { ManualClock } from '../../src/lib/clock.js';
import type { HeldToken } from '../../src/limits/grants/quota-owner.js';
import type { QuotaRequest } from '../../src/limits/types.js';
import { taskIdOf } from '../../src/model/attempt-key.js';
import { phaseState } from '../../src/model/phase-state.js';
import { TASK_STAGES } from '../../src/model/task-record.js';
import { rangeOfKind } from '../../src/state/facts/part-keys.js';
import { smallOf } from '../../src/state/facts/phase-fields.js';
import { encodeFact, type FactKey, type FactKind, type FactsByKind, factKey } from '../../src/state/index.js';
import { SAMPLE } from '../state/sample-facts.js';
import { identityOf } from '../support/identity.js';
import { makeHarness, settle } from '../tasks/harness.js';
import { SlowEngine } from './part-hosts.js';

const PARTS = 2;
const OWNERS = [
  { epoch: 'a', tenure: '4' },
  { epoch: 'b', tenure: '7' },
];

type Page = readonly (readonly [FactKey, Buffer])[];

/** A state in two parts, which may change between any two of its pages. */
class Facts {
  readonly clock = new ManualClock();
  readonly rows = new Map<FactKey, Buffer>();
  readonly asked: string[] = [];
  /** What a page takes. Milliseconds. */
  pageMs = 10;
  fails = false;
  beforePage: () => void = () => {};

  tokens(more: Partial<HeldTokensOptions> = {}): HeldTokens {
    return new HeldTokens({
      parts: PARTS,
      load: (part, kind) => this.load(part, kind),
      holderOf: (part) => OWNERS[part],
      clock: this.clock,
      ...more,
    });
  }

  put<K extends FactKind>(part: number, kind: K, name: string, fact: FactsByKind[K]): void {
    this.rows.set(`${PARTS}.${part}/${factKey(kind, name)}`, encodeFact(kind, name, fact));
  }

  drop(part: number, kind: FactKind, name: string): void {
    this.rows.delete(`${PARTS}.${part}/${factKey(kind, name)}`);
  }

  async *load(part: number, kind: FactKind): AsyncIterable<Page> {
    const { after = '', before = '' } = rangeOfKind(part, PARTS, kind);
    this.asked.push(after);
    for (let last = after; ; ) {
      await new Promise<void>((resolve) => this.clock.setTimer(this.pageMs, resolve));
      if (this.fails) throw new HostError('STATE_UNREACHABLE', 'as the test has it');
      this.beforePage();
      const keys = [...this.rows.keys()].filter((key) => key > last && key < before).sort();
      const page = keys.slice(0, 2).map((key) => [key, this.rows.get(key) as Buffer] as const);
      if (page.length === 0) return;
      last = page.at(-1)?.[0] as string;
      yield page;
    }
  }
}

function task(key: string, more: Partial<FactsByKind['task']> = {}): FactsByKind['task'] {
  const plain = { adopted: false, cancelling: undefined, sentBoundMs: undefined, requirements: undefined };
  return { ...SAMPLE.task, ...plain, identity: identityOf(key), state: smallOf(phaseState('RUNNING')), ...more };
}

function owed(key: string): FactsByKind['owed'] {
  return { ...SAMPLE.owed, identity: identityOf(key), fromHandle: false, readFirst: undefined };
}

const names = (held: readonly HeldToken[]) => held.map(({ request }) => request.taskId).sort();

test('tokens are told of all parts, with who has each, and for what', async () => {
  const facts = new Facts();
  facts.put(0, 'task', 'a-1', task('a', { requirements: { namespace: 'default', constraints: { project: 3 } } }));
  facts.put(1, 'owed', 'b-1', owed('b'));
  facts.put(1, 'task', 'c-1', task('c', { identity: identityOf('c', { plugin: 'other' }) }));
  const request = { quotaNamespace: 'default', project: 'p', namespace: 'n' };
  assert.deepEqual(await settle(facts.clock, facts.tokens().of('demo')), [
    { drawer: 'a', turn: 4, job: '{"job":1}', request: { taskId: 'a-1', ...request, constraints: { project: 3 } } },
    { drawer: 'b', turn: 7, job: '{}', request: { taskId: 'b-1', ...request } },
  ]);
});

test('a token of a part that nobody has is nobody’s, and is held', async () => {
  const facts = new Facts();
  facts.put(1, 'task', 'a-1', task('a'));
  const [token] = await settle(facts.clock, facts.tokens({ holderOf: () => undefined }).of('demo'));
  assert.deepEqual([token?.drawer, token?.turn, token?.request.taskId], ['', 0, 'a-1']);
});

test('one reading serves all that ask before it begins, and who asks later gets the next', async () => {
  const facts = new Facts();
  facts.put(0, 'task', 'a-1', task('a'));
  const tokens = facts.tokens();
  const first = Promise.all(['demo', 'other', 'demo'].map((plugin) => tokens.of(plugin)));
  await facts.clock.advance(1);
  assert.equal(facts.asked.length, 1);
  const later = Promise.all([tokens.of('demo'), tokens.of('demo')]);
  facts.drop(0, 'task', 'a-1');
  facts.put(0, 'task', 'b-1', task('b'));
  await facts.clock.advance(5);
  assert.equal(facts.asked.length, 1, 'which does not begin before this one ends');
  const [demo, other, again] = await settle(facts.clock, first);
  assert.deepEqual([names(demo ?? []), other], [names(again ?? []), []]);
  const [next, same] = await settle(facts.clock, later);
  assert.deepEqual([names(next ?? []), names(same ?? [])], [['b-1'], ['b-1']]);
  assert.equal(facts.asked.length, 2 * 3 * PARTS, 'and there were two');
});

test('between two readings at least as much time passes as one took, also where it failed', async () => {
  const facts = new Facts();
  const told: unknown[] = [];
  const tokens = facts.tokens({ events: { tokensUnread: (error) => told.push(error) } });
  const isReading = async (passMs: number) => {
    const before = facts.asked.length;
    await facts.clock.advance(passMs);
    return facts.asked.length > before;
  };
  const first = tokens.of('demo');
  await facts.clock.advance(6 * facts.pageMs);
  await first;
  const second = tokens.of('demo');
  assert.deepEqual([await isReading(6 * facts.pageMs - 1), await isReading(1)], [false, true]);
  facts.fails = true;
  facts.pageMs = 1_000;
  second.catch(() => undefined);
  await facts.clock.advance(5_000);
  await assert.rejects(second, { code: 'STATE_UNREACHABLE' });
  const third = tokens.of('demo');
  third.catch(() => undefined);
  await facts.clock.advance(5_000);
  await assert.rejects(third, { code: 'STATE_UNREACHABLE' });
  assert.equal(told.length, 1, 'it is told once, until a reading succeeds');
  facts.fails = false;
  assert.deepEqual(await settle(facts.clock, tokens.of('demo')), []);
  facts.fails = true;
  await assert.rejects(settle(facts.clock, tokens.of('demo')));
  assert.equal(told.length, 2);
});

test('where a fact cannot be read nothing is said of any token', async () => {
  const facts = new Facts();
  facts.put(0, 'task', 'a-1', task('a'));
  const tokens = facts.tokens();
  for (const [spoil, code] of [
    [(value: Buffer) => value.fill(0, 20, 24), 'STATE_DAMAGED'],
    [(value: Buffer) => value.subarray(0, 3), 'STATE_DAMAGED'],
  ] as const) {
    facts.put(1, 'owed', 'b-1', owed('b'));
    const key = `${PARTS}.1/owed/b-1`;
    facts.rows.set(key, spoil(facts.rows.get(key) as Buffer));
    await assert.rejects(settle(facts.clock, tokens.of('demo')), { code });
  }
  facts.put(1, 'owed', 'b-1', owed('b'));
  assert.deepEqual(names(await settle(facts.clock, tokens.of('demo'))), ['a-1', 'b-1']);
});

test('kinds that hold no tokens are not read, whatever is in them', async () => {
  const facts = new Facts();
  for (const kind of ['payload', 'outputs', 'mark', 'do', 'bucket'] as const) {
    facts.rows.set(`${PARTS}.0/${factKey(kind, 'x')}`, Buffer.from('nothing'));
  }
  facts.rows.set(`${PARTS}.0/routes`, Buffer.from('nothing'));
  assert.deepEqual(await settle(facts.clock, facts.tokens().of('demo')), []);
});

test('who waits as it is closed is told so, and so is who asks later', async () => {
  const facts = new Facts();
  facts.put(0, 'task', 'a-1', task('a'));
  const tokens = facts.tokens();
  const under = tokens.of('demo');
  under.catch(() => undefined);
  await facts.clock.advance(1);
  const next = tokens.of('demo');
  next.catch(() => undefined);
  tokens.close();
  for (const asked of [next, tokens.of('demo'), settle(facts.clock, under)]) {
    await assert.rejects(asked, { code: 'OWNER_AWAY' });
  }
  assert.equal(facts.clock.pending, 0);
});

const MOVES = ['task', 'unclear', 'owed'] as const;

test('a token whose task goes from one kind of fact to the next while they are read is missed at no instant', async () => {
  const facts = new Facts();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ part: fc.nat({ max: 1 }), at: fc.nat({ max: 2 }) }), { minLength: 1, maxLength: 6 }),
      fc.infiniteStream(fc.nat({ max: 12 })),
      async (begun, moves) => {
        facts.rows.clear();
        const state = begun.map(({ part, at }, index) => ({ name: `k${index}-1`, key: `k${index}`, part, at }));
        const put = ({ part, name, key, at }: (typeof state)[number]) => {
          const kind = MOVES[at];
          if (kind === 'task') facts.put(part, kind, name, task(key));
          else if (kind === 'owed') facts.put(part, kind, name, owed(key));
          else if (kind === 'unclear') {
            const fact = { identity: identityOf(key), leftBecause: undefined, sentBoundMs: 5 };
            facts.put(part, kind, name, { ...SAMPLE.unclear, ...fact });
          }
        };
        for (const one of state) put(one);
        facts.beforePage = () => {
          const one = state[moves.next().value as number];
          const kind = one && MOVES[one.at];
          if (one === undefined || kind === undefined || one.at === 2) return;
          facts.drop(one.part, kind, one.name);
          one.at += 1;
          put(one);
        };
        const found = await settle(facts.clock, facts.tokens().of('demo'));
        facts.beforePage = () => {};
        assert.deepEqual([...new Set(names(found))], state.map(({ name }) => name).sort());
      },
    ),
    { numRuns: 60 },
  );
});

const some = fc.record({
  kind: fc.constantFrom('task', 'task', 'task', 'owed', 'unclear'),
  part: fc.nat({ max: PARTS - 1 }),
  stage: fc.constantFrom(...TASK_STAGES),
  plugin: fc.constantFrom('fake', 'fake', 'fake', 'other'),
  quotaNamespace: fc.constantFrom('', 'default', 'gpu'),
  sentBoundMs: fc.option(fc.constant(30_000), { nil: undefined }),
  one: fc.boolean(),
  other: fc.boolean(),
});

type Some = typeof some extends fc.Arbitrary<infer T> ? T : never;

function factOf({ kind, stage, plugin, quotaNamespace, sentBoundMs, one, other }: Some, key: string) {
  const identity = identityOf(key, { plugin, quotaNamespace });
  if (kind === 'owed') {
    const readFirst = one ? undefined : Buffer.from('handle');
    return { kind, fact: { ...SAMPLE.owed, identity, holdsToken: one, fromHandle: other, readFirst } } as const;
  }
  if (kind === 'unclear') {
    const leftBecause = one ? undefined : 'nobody found it';
    return { kind, fact: { ...SAMPLE.unclear, identity, leftBecause, sentBoundMs } } as const;
  }
  const isDeleted = stage === 'creating' && one && other;
  const over = phaseState('RETRYABLE_FAILURE', { error: { code: 'E', message: 'm', kind: 'SYSTEM' } });
  const fact = task(key, {
    identity,
    stage,
    sentBoundMs,
    order: Number(key.slice(1)),
    node: undefined,
    hadConnection: false,
    deleted: false,
    adopted: stage === 'live' && one,
    cancelling: isDeleted ? 'deleted' : undefined,
    requirements: other ? { namespace: quotaNamespace, constraints: { namespace: 2 } } : undefined,
    meta: stage === 'live' ? Buffer.from(`job of ${key}`) : undefined,
    answeredHandle: undefined,
    state: smallOf(stage === 'over' ? over : phaseState(stage === 'live' ? 'RUNNING' : 'QUEUED')),
  });
  return { kind: 'task', fact } as const;
}

test('what is said to be held is what a start takes tokens for, of any state', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(some, { maxLength: 12 }), async (all) => {
      const facts = new Facts();
      const engine = new SlowEngine(facts.clock);
      for (const [index, each] of all.entries()) {
        const name = taskIdOf(`k${index}`, 1);
        const { kind, fact } = factOf(each, `k${index}`);
        facts.put(each.part, kind, name, fact as never);
        engine.facts.set(factKey(kind, name), encodeFact(kind, name, fact as never));
        engine.facts.set(factKey('payload', name), encodeFact('payload', name, SAMPLE.payload));
      }
      const before = await settle(facts.clock, facts.tokens().of('fake'));
      const world = { manual: facts.clock, clock: facts.clock };
      const daemon = await makeHarness({ engine, world, starts: true });
      // As the start wrote it anew.
      facts.rows.clear();
      for (const [key, value] of engine.facts) facts.rows.set(`${PARTS}.1/${key}`, value);
      const after = await settle(facts.clock, facts.tokens().of('fake'));
      const taken: QuotaRequest[] = [];
      daemon.runtime.quotas.hold = (request) => void taken.push(request);
      daemon.load();
      await daemon.stop();
      const byTask = (requests: readonly QuotaRequest[]) =>
        [...requests].sort((one, other) => (one.taskId < other.taskId ? -1 : 1));
      assert.deepEqual(byTask(before.map(({ request }) => request)), byTask(taken));
      assert.deepEqual(byTask(after.map(({ request }) => request)), byTask(taken));
    }),
    { numRuns: 60 },
  );
});
