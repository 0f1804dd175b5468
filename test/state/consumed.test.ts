import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../src/lib/clock.js';
import { type FactKey, StateWriter } from '../../src/state/index.js';
import { GuardedEngine } from './guarded-engine.js';

const ROWS = 6;
const PARTS = 2;

/** An owner that takes rows of the inbox in, of which each leads to two facts, beside tasks that take tokens under guards. */
class Owner {
  readonly clock = new ManualClock();
  readonly engine = new GuardedEngine();
  readonly #memory = new Map<FactKey, string>();
  readonly #taken = new Set<string>();
  /** Rows that were seen apart from what follows from them, in words. */
  readonly apart: string[] = [];
  /** A fact that cannot be encoded. */
  broken: FactKey | undefined;
  readonly writer = new StateWriter({
    engine: this.engine,
    source: {
      fact: (key) => {
        if (key === this.broken) throw new TypeError('it cannot be encoded');
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
    for (let row = 0; row < ROWS; row++) this.engine.rows.add(`${row}`);
    this.engine.onWritten = () => this.#look();
  }

  takeIn(row: string): void {
    if (this.#taken.has(row)) return;
    this.#taken.add(row);
    this.#set(`task/${row}`, 'accepted');
    this.#set(`payload/${row}`, 'inputs');
    this.writer.consumed(row);
  }

  /** A task's token, which lapses where the part's limits have moved since. */
  async create(part: number): Promise<void> {
    const tenure = String(this.engine.tenureOf(part));
    this.#set('task/other', 'holds');
    if (!(await this.writer.safeUnder({ part, tenure }))) this.#set('task/other', 'accepted');
  }

  #set(key: FactKey, text: string): void {
    this.#memory.set(key, text);
    this.writer.changed(key);
  }

  /** As who reads at any instant sees it. */
  #look(): void {
    const { rows, facts } = this.engine;
    for (let at = 0; at < ROWS; at++) {
      const row = `${at}`;
      const effects = [`task/${row}`, `payload/${row}`].filter((key) => facts.has(key)).length;
      if (rows.has(row) ? effects > 0 : effects < 2) this.apart.push(`row ${row} stands with ${effects} of 2 effects`);
    }
  }

  assertSettled(): void {
    assert.deepEqual(this.apart, []);
    for (const row of this.#taken) assert.ok(!this.engine.rows.has(row), `row ${row} was taken in`);
    assert.equal(this.engine.rows.size, ROWS - this.#taken.size);
  }
}

test('a row ends in the commit that its effect is in, within a tenth of a second where nobody waits', async () => {
  const owner = new Owner();
  owner.takeIn('0');
  await owner.clock.advance(99);
  assert.equal(owner.engine.rows.size, ROWS);
  await owner.clock.advance(1);
  owner.assertSettled();
  assert.equal(owner.engine.asked.length, 1);
});

test('a row stays where a fact that it may have led to could not be written, and ends once it is shown again and that can', async () => {
  const owner = new Owner();
  owner.broken = 'payload/0';
  owner.takeIn('0');
  await owner.clock.advance(100);
  assert.equal(owner.engine.asked.length, 1);
  assert.ok(owner.engine.rows.has('0'));
  owner.broken = undefined;
  owner.writer.changed('payload/0');
  owner.writer.consumed('0');
  await owner.clock.advance(100);
  assert.ok(!owner.engine.rows.has('0'));
});

test('a row that leads to nothing ends too, and who asks waits for it', async () => {
  const owner = new Owner();
  owner.writer.consumed('0');
  let safe = false;
  void owner.writer.safe().then(() => {
    safe = true;
  });
  await owner.clock.advance(1);
  assert.equal(safe, false);
  await owner.clock.advance(1);
  assert.equal(safe, true);
  assert.ok(!owner.engine.rows.has('0'));
});

test('a row stays with its effect through commits that fail, and takes along what joins them', async () => {
  const owner = new Owner();
  owner.engine.luck = 'fails';
  owner.takeIn('0');
  await owner.clock.advance(150);
  owner.takeIn('1');
  assert.equal(owner.engine.rows.size, ROWS);
  owner.engine.luck = 'good';
  await owner.clock.advance(10_000);
  owner.assertSettled();
});

test('a row stays with its effect where a guard of its group is not met, and ends with what is written then', async () => {
  const owner = new Owner();
  void owner.create(0);
  owner.takeIn('0');
  owner.engine.move(0);
  await owner.clock.advance(2);
  assert.deepEqual(owner.engine.asked, [['0/1'], []]);
  owner.assertSettled();
});

test('a close writes what rows led to, with them', async () => {
  const owner = new Owner();
  owner.engine.hold();
  owner.takeIn('0');
  await owner.clock.advance(100);
  owner.takeIn('1');
  const closing = owner.writer.close();
  owner.engine.release();
  await owner.clock.advance(0);
  await closing;
  owner.assertSettled();
});

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('takeIn' as const), row: fc.nat(ROWS - 1) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('create' as const), part: fc.nat(PARTS - 1) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('move' as const), part: fc.nat(PARTS - 1) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('time' as const), ms: fc.nat(120) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('hold' as const, 'release' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('luck' as const),
      luck: fc.constantFrom('good' as const, 'fails' as const, 'doubt' as const),
    }),
  },
);

test('no row stands beside its effect, nor ends before it, whatever becomes of commits; in the end all are taken in', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.boolean(), async (steps, closes) => {
      const owner = new Owner();
      for (const one of steps) {
        if (one.do === 'takeIn') owner.takeIn(`${one.row}`);
        else if (one.do === 'create') void owner.create(one.part);
        else if (one.do === 'move') owner.engine.move(one.part);
        else if (one.do === 'time') await owner.clock.advance(one.ms);
        else if (one.do === 'luck') owner.engine.luck = one.luck;
        else owner.engine[one.do]();
      }
      owner.engine.luck = 'good';
      owner.engine.release();
      const closed = closes ? owner.writer.close() : undefined;
      await owner.clock.advance(20_000);
      await closed;
      owner.assertSettled();
      assert.equal(owner.clock.pending, 0);
    }),
    { numRuns: 300 },
  );
});
