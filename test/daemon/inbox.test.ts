import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deadReplicas, InboxLooks } from '../../src/daemon/inbox.js';
import { HostError } from '../../src/errors/index.js';
import { ManualClock } from '../../src/lib/clock.js';
import type { InboxRow } from '../../src/state/index.js';
import type { TasksControl } from '../../src/tasks/tasks.js';

/** Rows of one page. */
const PAGE = 3;
const KEY = 'a'.repeat(32);

/** An inbox of small pages, and the owner of its parts, which takes in all but the rows named in `unreadable`. */
class Inbox {
  readonly clock = new ManualClock();
  rows: InboxRow[] = [];
  readonly unreadable = new Set<string>();
  readonly dead = new Set<string>();
  anyStandsIn = true;
  parts: number[] = [0];
  /** What was asked, and what was shown since: `waiting`, `look` with where it began, the id of a row. */
  asked: string[] = [];
  shown: string[] = [];
  /** Rows that are safe to drop. */
  #taken: string[] = [];
  /** Awaited in each statement. */
  before: () => Promise<void> | void = () => {};
  readonly tasks = {
    takeIn: (row: InboxRow, putterIsGone = false) => {
      this.shown.push(row.id);
      if (this.unreadable.has(row.id) || (row.kind === 'do' && row.body === undefined && !putterIsGone)) return false;
      this.#taken.push(row.id);
      return true;
    },
  } as unknown as TasksControl;
  readonly looks = new InboxLooks({
    inbox: {
      waiting: async (parts) => {
        this.asked.push('waiting');
        await this.before();
        const of = (part: number) => this.rows.filter((row) => row.part === part).length;
        return parts
          .filter((part) => of(part) > 0)
          .map((part) => ({ part, waiting: of(part), running: part, oldestMs: part * 10_000 }));
      },
      look: async (parts, behind = '0') => {
        this.asked.push(`look ${behind}`);
        await this.before();
        const are = this.rows.filter(({ part, id }) => parts.includes(part) && Number(id) > Number(behind));
        return are.slice(0, PAGE);
      },
    },
    clock: this.clock,
    isDead: (epoch) => this.dead.has(epoch),
    here: () => this.parts,
    anyStandsIn: () => this.anyStandsIn,
    // A part that is being given up is no more here, and has its tasks still.
    tasksOf: () => this.tasks,
  });

  put(id: number, more: Partial<InboxRow> = {}): void {
    const kind = 'create';
    this.rows.push({
      part: 0,
      kind,
      key: KEY,
      name: `${id}`,
      body: Buffer.from('c'),
      epoch: 'b',
      id: `${id}`,
      ...more,
    });
  }

  /** Their commit. */
  readonly safe = async (): Promise<void> => {
    const gone = new Set(this.#taken);
    this.rows = this.rows.filter(({ id }) => !gone.has(id));
  };

  /** A second, after which all is written; answers what was shown. */
  async second(): Promise<readonly string[]> {
    this.shown = [];
    await this.clock.advance(1_000);
    await this.safe();
    return this.shown;
  }
}

const upTo = (n: number) => Array.from({ length: n }, (_, at) => at + 1);

test('all that waits in a part that is taken is shown once, each page safe before the next one', async () => {
  const inbox = new Inbox();
  for (const id of upTo(7)) inbox.put(id);
  const left: number[] = [];
  await inbox.looks.takeAll(0, inbox.tasks, async () => {
    await inbox.safe();
    left.push(inbox.rows.length);
  });
  assert.deepEqual([inbox.shown, left], [upTo(7).map(String), [4, 1, 0]]);
});

test('rows that cannot be read do not hide those behind them from who takes the part', async () => {
  const inbox = new Inbox();
  for (const id of upTo(10)) inbox.put(id);
  for (const id of upTo(7)) inbox.unreadable.add(`${id}`);
  await inbox.looks.takeAll(0, inbox.tasks, inbox.safe);
  assert.deepEqual(
    inbox.rows.map(({ id }) => Number(id)),
    upTo(7),
  );
});

test('rows that cannot be read do not hide those behind them from a look a second, of one page of them each', async () => {
  const inbox = new Inbox();
  for (const id of upTo(8)) inbox.put(id);
  for (const id of upTo(7)) inbox.unreadable.add(`${id}`);
  inbox.looks.start();
  const seconds: (readonly string[])[] = [];
  for (let at = 0; at < 4; at++) seconds.push(await inbox.second());
  // Who finds something goes on to the end, and from the first one on.
  assert.deepEqual(seconds, [
    ['1', '2', '3'],
    ['4', '5', '6'],
    ['7', '8', '1', '2', '3'],
    ['4', '5', '6'],
  ]);
  assert.equal(inbox.rows.length, 7);
  inbox.looks.stop();
});

test('a run that goes on elsewhere is looked at every second, and is over once its replica is dead', async () => {
  const inbox = new Inbox();
  inbox.put(1, { kind: 'do', body: undefined, epoch: 'b' });
  inbox.put(2, { kind: 'do', body: undefined, epoch: 'c' });
  inbox.looks.start();
  for (let at = 0; at < 3; at++) assert.deepEqual(await inbox.second(), ['1', '2']);
  inbox.dead.add('b');
  await inbox.second();
  assert.deepEqual(
    inbox.rows.map(({ epoch }) => epoch),
    ['c'],
  );
  inbox.dead.add('c');
  await inbox.looks.takeAll(0, inbox.tasks, inbox.safe);
  assert.deepEqual(inbox.rows, [], 'who takes the part drops it as well');
  inbox.looks.stop();
});

test('where nobody stands in rows are looked for every ten seconds, and every second while there are any', async () => {
  const inbox = new Inbox();
  inbox.anyStandsIn = false;
  inbox.looks.start();
  await inbox.clock.advance(30_000);
  assert.deepEqual(inbox.asked, ['waiting', 'waiting', 'waiting']);
  inbox.put(1, { kind: 'do', body: undefined });
  await inbox.clock.advance(10_000);
  inbox.asked = [];
  for (let at = 0; at < 3; at++) assert.deepEqual(await inbox.second(), ['1']);
  inbox.dead.add('b');
  await inbox.second();
  assert.deepEqual(inbox.rows, [], 'what an earlier run put is taken in');
  await inbox.second();
  inbox.put(2, { kind: 'do', body: undefined, epoch: 'c' });
  inbox.anyStandsIn = true;
  assert.deepEqual(await inbox.second(), ['2'], 'at once where somebody does');
  inbox.anyStandsIn = false;
  assert.deepEqual(await inbox.second(), ['2'], 'and as long as something is there');
  inbox.looks.stop();
});

test('what stays of a part that was just taken is looked at a second later, though nobody stands in', async () => {
  const inbox = new Inbox();
  inbox.anyStandsIn = false;
  inbox.looks.start();
  await inbox.second();
  inbox.put(1, { kind: 'do', body: undefined });
  await inbox.looks.takeAll(0, inbox.tasks, inbox.safe);
  assert.deepEqual(await inbox.second(), ['1']);
  inbox.looks.stop();
});

test('a look is not begun while one is under way, and one that fails is made again a second later', async () => {
  const inbox = new Inbox();
  inbox.anyStandsIn = false;
  inbox.put(1);
  let fail: (() => void) | undefined;
  inbox.before = () =>
    new Promise((_, reject) => {
      fail = () => reject(new HostError('STATE_UNREACHABLE', 'no answer'));
    });
  inbox.looks.start();
  await inbox.clock.advance(60_000);
  assert.deepEqual(inbox.asked, ['waiting']);
  fail?.();
  await inbox.clock.advance(1_000);
  assert.deepEqual(inbox.asked, ['waiting', 'waiting']);
  inbox.before = () => {};
  fail?.();
  await inbox.second();
  assert.deepEqual(inbox.rows, []);
  inbox.looks.stop();
  assert.equal(inbox.clock.pending, 0);
});

test('nothing is shown of a part that was given up while the look was under way, nor after the end', async () => {
  const inbox = new Inbox();
  inbox.parts = [0, 1];
  inbox.put(1);
  inbox.put(2, { part: 1 });
  inbox.before = () => {
    inbox.parts = [1];
  };
  inbox.looks.start();
  assert.deepEqual(await inbox.second(), ['2']);
  inbox.parts = [];
  inbox.asked = [];
  await inbox.second();
  assert.deepEqual(inbox.asked, [], 'who has no part asks nothing');
  inbox.parts = [0];
  inbox.before = () => inbox.looks.stop();
  assert.deepEqual(await inbox.second(), []);
  await inbox.clock.advance(5_000);
  assert.deepEqual(inbox.asked, ['waiting', 'look 0']);
});

test('what a look found is told, and is older the longer it is ago, of parts that are here alone', async () => {
  const inbox = new Inbox();
  inbox.parts = [0, 1, 2];
  const nothing = { waiting: 0, running: 0, oldestMs: 0 };
  assert.deepEqual([inbox.looks.figures(), inbox.looks.of(1)], [nothing, undefined]);
  for (const [id, part] of [1, 2, 2].entries()) {
    inbox.put(id + 1, { part });
    inbox.unreadable.add(`${id + 1}`);
  }
  inbox.looks.start();
  await inbox.second();
  assert.deepEqual(inbox.looks.figures(), { waiting: 3, running: 3, oldestMs: 20_000 });
  assert.deepEqual(inbox.looks.of(1), { waiting: 1, running: 1, oldestMs: 10_000 });
  assert.equal(inbox.looks.of(0), undefined);
  inbox.before = () => new Promise(() => {});
  await inbox.clock.advance(5_000);
  assert.equal(inbox.looks.figures().oldestMs, 25_000, 'also where no look comes back');
  inbox.parts = [0, 1];
  assert.deepEqual(inbox.looks.figures(), { waiting: 1, running: 1, oldestMs: 15_000 });
  inbox.looks.stop();
});

test('a replica is dead after a lease without a sign of life, or without a row since it was first asked about', async () => {
  const clock = new ManualClock();
  const silent = new Set<string>();
  const gone = new Set<string>(['z']);
  const seat = { isDead: (epoch: string) => silent.has(epoch), isGone: (epoch: string) => gone.has(epoch) };
  const isDead = deadReplicas(seat, clock, 10_000);
  assert.deepEqual([isDead('y'), isDead('z')], [false, false]);
  await clock.advance(9_999);
  assert.equal(isDead('z'), false);
  await clock.advance(1);
  assert.equal(isDead('z'), true);
  gone.delete('z');
  assert.equal(isDead('z'), false, 'it has come');
  gone.add('z');
  assert.equal(isDead('z'), false, 'the lease begins anew');
  silent.add('y');
  assert.equal(isDead('y'), true);
});
