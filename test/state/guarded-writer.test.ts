import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../src/lib/clock.js';
import { type FactKey, StateWriter } from '../../src/state/index.js';
import { CrashEngine } from './engines.js';
import { GuardedEngine } from './guarded-engine.js';

const PARTS = 3;

/**
 * Tasks that take tokens as creates do: each is granted by a tenancy, is in the task's fact from then on, and counts once it was written while
 * that tenancy counted. A transition is two facts that are never apart.
 */
class Tasks {
  readonly clock = new ManualClock();
  readonly engine = new GuardedEngine();
  readonly #memory = new Map<FactKey, string>();
  readonly #waiting = new Set<number>();
  readonly kept: string[] = [];
  readonly lapsed: string[] = [];
  /** Those whose commit was written, whoever heard of it. */
  readonly #written = new Set<string>();
  #tokens = 0;
  #touches = 0;
  safe = 0;
  asked = 0;
  readonly writer = new StateWriter({
    engine: this.engine,
    source: {
      fact: (key) => {
        const text = this.#memory.get(key);
        return text === undefined ? undefined : Buffer.from(text);
      },
      keys: () => this.#memory.keys(),
    },
    clock: this.clock,
    random: () => 0.5,
    maxBytes: 0,
  });

  constructor() {
    this.engine.onWrite = (puts) => this.#look(puts);
  }

  /** Of a token that was granted so many tenancies ago. */
  create(task: number, part: number, late = 0): void {
    if (this.#waiting.has(task)) return;
    const tenure = String(Math.max(1, this.engine.tenureOf(part) - late));
    const token = `${part}/${tenure}/${++this.#tokens}`;
    this.#waiting.add(task);
    this.#set(task, `holds ${token}`);
    void this.#keep(task, token, { part, tenure });
  }

  /** As far from the writer as creates are. */
  async #keep(task: number, token: string, guard: { part: number; tenure: string }): Promise<void> {
    const under = async () => this.writer.safeUnder(guard);
    const isKept = await (async () => under())();
    this.#waiting.delete(task);
    (isKept ? this.kept : this.lapsed).push(token);
    if (!isKept) this.#set(task, 'accepted');
  }

  /** Something else of the task changes. */
  touch(task: number): void {
    const [text = 'accepted'] = this.#memory.get(`task/${task}`)?.split(' #') ?? [];
    this.#set(task, `${text} #${++this.#touches}`);
  }

  awaitSafe(): void {
    this.asked += 1;
    void this.writer.safe().then(() => {
      this.safe += 1;
    });
  }

  #set(task: number, text: string): void {
    for (const kind of ['task', 'outputs']) {
      this.#memory.set(`${kind}/${task}`, text);
      this.writer.changed(`${kind}/${task}`);
    }
  }

  /** No token comes to be written while another tenancy counts. */
  #look(puts: ReadonlyMap<FactKey, string>): void {
    for (const [key, text] of puts) {
      const [, part, tenure, number] = /^holds (\d+)\/(\d+)\/(\d+)/.exec(text) ?? [];
      if (number === undefined || this.#written.has(number)) continue;
      assert.equal(Number(tenure), this.engine.tenureOf(Number(part)), `${key} is written as "${text}"`);
    }
    for (const text of puts.values()) {
      const number = /^holds \d+\/\d+\/(\d+)/.exec(text)?.[1];
      if (number !== undefined) this.#written.add(number);
    }
  }

  /** What holds at any time, of what is written. */
  assertWhole(): void {
    for (const [key, text] of this.engine.facts) {
      const other = key.startsWith('task/') ? key.replace('task/', 'outputs/') : key.replace('outputs/', 'task/');
      assert.equal(this.engine.facts.get(other), text, `${key} and ${other} are of one transition`);
    }
  }

  /** What holds once all is written. */
  assertSettled(): void {
    this.assertWhole();
    assert.deepEqual([...this.engine.facts].sort(), [...this.#memory].sort());
    assert.equal(this.kept.length + this.lapsed.length, this.#tokens, 'each token is kept or lapsed');
    assert.equal(this.safe, this.asked, 'each one hears that it is safe');
    for (const token of this.kept) assert.ok(this.#written.has(token.split('/')[2] as string), token);
    for (const text of this.engine.facts.values()) {
      const [, token] = /^holds (\S+)/.exec(text) ?? [];
      assert.ok(token === undefined || this.kept.includes(token), `"${text}" is of a token that lapsed`);
    }
  }
}

test('what is guarded is safe while its guard is met, each guard named once for all who wait under it', async () => {
  const tasks = new Tasks();
  for (const task of [0, 1, 2]) tasks.create(task, task % 2);
  await tasks.clock.advance(2);
  assert.deepEqual(tasks.kept, ['0/1/1', '1/1/2', '0/1/3']);
  assert.deepEqual(tasks.engine.asked, [['0/1', '1/1']]);
  tasks.touch(0);
  await tasks.clock.advance(100);
  assert.deepEqual(tasks.engine.asked[1], [], 'what was written under a guard is written without it from then on');
  tasks.assertSettled();
});

test('where a guard is not met nothing of its group is written until who waits under it has taken back its change, and all else is then', async () => {
  const tasks = new Tasks();
  tasks.create(0, 0, 0);
  tasks.create(1, 1, 0);
  tasks.touch(2);
  tasks.awaitSafe();
  tasks.engine.move(0);
  await tasks.clock.advance(2);
  assert.deepEqual(tasks.lapsed, ['0/1/1']);
  assert.deepEqual(tasks.kept, ['1/1/2']);
  assert.deepEqual(tasks.engine.asked, [['0/1', '1/1'], ['1/1']], 'at once, and with the guard that is met');
  assert.equal(tasks.engine.facts.get('task/0'), 'accepted');
  tasks.assertSettled();
});

test('what changes while a guard is found unmet comes with the same commit, and who waits under it as well is told at once', async () => {
  const tasks = new Tasks();
  tasks.engine.hold();
  tasks.create(0, 0);
  await tasks.clock.advance(2);
  tasks.create(1, 0);
  tasks.create(2, 1);
  tasks.touch(0);
  tasks.engine.move(0);
  tasks.engine.release();
  await tasks.clock.advance(0);
  assert.deepEqual(tasks.lapsed, ['0/1/1', '0/1/2']);
  assert.deepEqual(tasks.kept, ['1/1/3']);
  assert.deepEqual(tasks.engine.asked, [['0/1'], ['1/1']]);
  tasks.assertSettled();
});

test('a guarded commit that failed is repeated with its guards, whatever joined it, and is not written once they are unmet', async () => {
  const tasks = new Tasks();
  tasks.engine.luck = 'fails';
  tasks.create(0, 0);
  await tasks.clock.advance(50);
  tasks.touch(0);
  tasks.create(1, 1);
  tasks.engine.move(0);
  tasks.engine.luck = 'good';
  await tasks.clock.advance(10_000);
  assert.deepEqual([tasks.kept, tasks.lapsed], [['1/1/2'], ['0/1/1']]);
  assert.ok(tasks.engine.asked.every((guards) => guards.includes('1/1') || guards.includes('0/1')));
  tasks.assertSettled();
});

test('who waits under a guard and changed nothing hears whether it is met', async () => {
  const tasks = new Tasks();
  const met = tasks.writer.safeUnder({ part: 0, tenure: '1' });
  const unmet = tasks.writer.safeUnder({ part: 1, tenure: '2' });
  await tasks.clock.advance(2);
  assert.deepEqual([await met, await unmet], [true, false]);
  assert.equal(tasks.writer.lagMs, 0);
});

test('a close waits for what is guarded, and for what is taken back', async () => {
  const tasks = new Tasks();
  tasks.create(0, 0);
  tasks.create(1, 1, 0);
  tasks.engine.move(0);
  const closing = tasks.writer.close();
  await tasks.clock.advance(0);
  await closing;
  assert.deepEqual([tasks.kept, tasks.lapsed], [['1/1/2'], ['0/1/1']]);
  assert.equal(tasks.clock.pending, 0);
  tasks.assertSettled();

  const held = new Tasks();
  held.engine.hold();
  held.create(0, 0);
  await held.clock.advance(2);
  held.create(1, 0);
  const closingToo = held.writer.close();
  held.engine.move(0);
  held.engine.release();
  await held.clock.advance(0);
  await closingToo;
  assert.deepEqual(held.lapsed, ['0/1/1', '0/1/2']);
  held.assertSettled();
});

test('a close that cannot write says so to who waits under a guard, and to who comes later', async () => {
  const tasks = new Tasks();
  tasks.engine.luck = 'fails';
  const waits = tasks.writer.safeUnder({ part: 0, tenure: '1' });
  const closing = tasks.writer.close();
  const settled = Promise.allSettled([waits, closing]);
  await tasks.clock.advance(10_000);
  const late = tasks.writer.safeUnder({ part: 0, tenure: '1' });
  const ends = [...(await settled), ...(await Promise.allSettled([late]))];
  assert.deepEqual(
    ends.map(({ status }) => status),
    ['rejected', 'rejected', 'rejected'],
  );
  assert.equal(tasks.clock.pending, 0);
});

test('only an engine with guards has any', async () => {
  const source = { fact: () => undefined, keys: () => [] };
  const of = (engine: CrashEngine | GuardedEngine) =>
    new StateWriter({ engine, source, clock: new ManualClock(), random: () => 0, maxBytes: 0 });
  assert.deepEqual([of(new CrashEngine()).hasGuards, of(new GuardedEngine()).hasGuards], [false, true]);
});

const task = fc.nat(4);
const part = fc.nat(PARTS - 1);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('create' as const), task, part, late: fc.nat(1) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('touch' as const), task }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('awaitSafe' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('move' as const), part }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('time' as const), ms: fc.nat(120) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('hold' as const, 'release' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('luck' as const), luck: fc.constantFrom('good', 'fails', 'doubt') }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('changedAll' as const) }) },
);

test('no token is written while another tenancy counts than granted it, none that lapsed is left, and everybody hears how it ended', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 50 }), fc.boolean(), async (steps, closes) => {
      const tasks = new Tasks();
      for (const one of steps) {
        if (one.do === 'create') tasks.create(one.task, one.part, one.late);
        else if (one.do === 'touch') tasks.touch(one.task);
        else if (one.do === 'awaitSafe') tasks.awaitSafe();
        else if (one.do === 'move') tasks.engine.move(one.part);
        else if (one.do === 'time') await tasks.clock.advance(one.ms);
        else if (one.do === 'luck') tasks.engine.luck = one.luck as GuardedEngine['luck'];
        else if (one.do === 'changedAll') tasks.writer.changedAll();
        else tasks.engine[one.do]();
        tasks.assertWhole();
      }
      tasks.engine.luck = 'good';
      tasks.engine.release();
      const closed = closes ? tasks.writer.close() : undefined;
      await tasks.clock.advance(20_000);
      await closed;
      tasks.assertSettled();
      assert.equal(tasks.writer.trouble, undefined);
      assert.equal(tasks.clock.pending, 0);
    }),
    { numRuns: 500 },
  );
});
