import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../../src/lib/clock.js';
import { OrderedLink } from '../../../src/limits/grants/ordered-link.js';
import { QuotaDrawer } from '../../../src/limits/grants/quota-drawer.js';
import { QuotaOwner } from '../../../src/limits/grants/quota-owner.js';
import { QuotaLedger } from '../../../src/limits/quota-ledger.js';
import type { QuotaRequest } from '../../../src/limits/types.js';

const TOTAL = 3;
const RESEND_MS = 300;

function request(taskId: string, changes: Partial<QuotaRequest> = {}): QuotaRequest {
  return { taskId, quotaNamespace: 'q', project: 'p', namespace: 'n', ...changes };
}

/** When messages come, none where one is lost. Milliseconds. */
type Arrivals = () => readonly number[];

/** Replicas whose tasks share a quota, the facts of their tasks, and whose tenancy counts. */
class QuotaWorld {
  readonly clock = new ManualClock();
  readonly facts = new Map<string, { drawer: string; request: QuotaRequest }>();
  readonly drawers = new Map<string, QuotaDrawer>();
  readonly #arrivals: Arrivals;
  owner: QuotaOwner | undefined;
  ledger: QuotaLedger | undefined;
  epoch = '';
  mostHeld = 0;

  constructor(names: readonly string[], arrivals: Arrivals = () => [2]) {
    this.#arrivals = arrivals;
    for (const name of names) this.add(name);
  }

  add(name: string): QuotaDrawer {
    const drawer: QuotaDrawer = new QuotaDrawer({
      drawer: name,
      clock: this.clock,
      resendMs: RESEND_MS,
      retryMs: 1_000,
      maxWaiting: 1_000,
      send: (message) => this.#carry(() => this.owner?.receive(message)),
    });
    this.drawers.set(name, drawer);
    return drawer;
  }

  /** Another tenancy begins; who it is told to, and when, is for the caller. */
  takeOver(epoch: string, maxWaiting = 1_000): void {
    this.owner?.close();
    this.epoch = epoch;
    const limits = { quotas: { q: TOTAL }, capacity: 1_000 };
    this.ledger = new QuotaLedger({ clock: this.clock, ...limits, maxWaiting, jobOf: () => undefined });
    const send = (message: Parameters<QuotaDrawer['receive']>[0]) =>
      this.#carry(() => this.drawers.get(message.drawer)?.receive(message));
    this.owner = new QuotaOwner({ epoch, ledger: this.ledger, clock: this.clock, resendMs: RESEND_MS, send });
    this.owner.rebuild(this.facts.values());
  }

  /** The commit that marks the use of a token, which compares the tenancy. */
  commit(drawer: QuotaDrawer, name: string, taskId: string): boolean {
    const epoch = drawer.epochOf(taskId);
    if (!drawer.holds(taskId) || (epoch !== undefined && epoch !== this.epoch)) {
      drawer.lapse(taskId);
      return false;
    }
    this.facts.set(taskId, { drawer: name, request: request(taskId) });
    this.mostHeld = Math.max(this.mostHeld, this.facts.size);
    drawer.kept(taskId);
    return true;
  }

  get used(): number {
    return this.ledger?.snapshot().find(({ quotaNamespace }) => quotaNamespace === 'q')?.used ?? 0;
  }

  #carry(come: () => void): void {
    for (const ms of this.#arrivals()) this.clock.setTimer(ms, come);
  }
}

function one(): { world: QuotaWorld; a: QuotaDrawer; b: QuotaDrawer } {
  const world = new QuotaWorld(['a', 'b']);
  world.takeOver('e1');
  const [a, b] = [...world.drawers.values()] as [QuotaDrawer, QuotaDrawer];
  a.follow('e1');
  b.follow('e1');
  return { world, a, b };
}

async function granted(drawer: QuotaDrawer, world: QuotaWorld, ...tasks: string[]): Promise<boolean[]> {
  for (const task of tasks) drawer.acquire(request(task));
  await world.clock.advance(50);
  return tasks.map((task) => drawer.holds(task));
}

test('tokens are granted over all replicas first come, first served, and one that is given back goes to who waits', async () => {
  const { world, a, b } = one();
  assert.deepEqual(await granted(a, world, 'a1', 'a2'), [true, true]);
  assert.deepEqual(await granted(b, world, 'b1', 'b2'), [true, false]);
  assert.deepEqual(await granted(a, world, 'a3'), [false]);
  assert.deepEqual([a.hasWaiters('q'), a.hasWaiters('other')], [true, false]);
  assert.equal(a.release('a1'), true);
  assert.equal(a.release('a1'), false, 'and not twice');
  await world.clock.advance(50);
  assert.deepEqual([b.holds('b2'), a.holds('a3'), world.used], [true, false, TOTAL]);
  assert.equal(a.acquire(request('a2')).status, 'granted');
});

test('a wish that is given up leaves nothing behind, also where it was granted on the way', async () => {
  const { world, a } = one();
  const answer = a.acquire(request('a1'));
  await world.clock.advance(3);
  assert.equal(world.used, 1, 'the answer is on its way');
  assert.equal(a.cancel('a1'), true);
  assert.deepEqual([a.cancel('a1'), answer.status === 'waiting' && (await answer.granted)], [false, false]);
  await world.clock.advance(50);
  assert.deepEqual([world.used, a.holds('a1')], [0, false]);
});

test('the answer to a wish that was given up is none to the next one of the same task', async () => {
  const { world, a, b } = one();
  await granted(b, world, 'b1', 'b2');
  a.acquire(request('a1'));
  await world.clock.advance(3);
  a.cancel('a1');
  b.acquire(request('b3'));
  await world.clock.advance(0);
  a.acquire(request('a1'));
  await world.clock.advance(50);
  assert.ok(world.used <= TOTAL);
  assert.equal([a.holds('a1'), b.holds('b3')].filter(Boolean).length, 1);
});

test('a new owner goes by the facts, and by what replicas tell of what the facts do not', async () => {
  const { world, a, b } = one();
  await granted(a, world, 'a1', 'a2', 'a3');
  for (const task of ['a1', 'a2']) assert.ok(world.commit(a, 'a', task));
  world.takeOver('e2');
  assert.equal(world.used, 2);
  assert.equal(world.commit(a, 'a', 'a3'), false, 'another one granted that');
  b.follow('e2');
  assert.deepEqual(await granted(b, world, 'b1', 'b2'), [true, false]);
  // Its end was told to nobody.
  world.facts.delete('a1');
  a.release('a1');
  a.follow('e2');
  await world.clock.advance(50);
  assert.deepEqual([world.used, b.holds('b2')], [TOTAL, true]);
});

test('what an owner of before says late is not believed', async () => {
  const world = new QuotaWorld(['a', 'b'], () => [100]);
  world.takeOver('e1');
  const [a, b] = [...world.drawers.values()] as [QuotaDrawer, QuotaDrawer];
  a.follow('e1');
  for (const task of ['a1', 'a2', 'a3']) a.acquire(request(task));
  await world.clock.advance(150);
  world.takeOver('e2');
  a.follow('e2');
  b.follow('e2');
  for (const task of ['b1', 'b2', 'b3']) b.acquire(request(task));
  await world.clock.advance(70);
  assert.deepEqual(
    ['a1', 'a2', 'a3'].map((task) => a.holds(task)),
    [false, false, false],
  );
  await world.clock.advance(500);
  assert.deepEqual(
    ['a1', 'a2', 'a3'].map((task) => a.holds(task)),
    [true, true, true],
    'and what the next one says is',
  );
});

test('tokens of a replica that is gone are free once others have told of those whose tasks they took', async () => {
  const { world, a, b } = one();
  await granted(a, world, 'a1', 'a2', 'a3');
  world.commit(a, 'a', 'a1');
  a.close();
  b.hold(request('a1'));
  await world.clock.advance(50);
  world.owner?.forget('a');
  assert.equal(world.used, 1);
  assert.deepEqual(await granted(b, world, 'b1', 'b2'), [true, true]);
  b.release('a1');
  await world.clock.advance(50);
  assert.equal(world.used, 2);
});

test('an adopted task takes a token past who waits, and hands it on without another one getting it in between', async () => {
  const { world, a, b } = one();
  await granted(b, world, 'b1', 'b2', 'b3', 'b4');
  assert.equal(a.adopt(request('old'), 'job'), false);
  await world.clock.advance(50);
  assert.deepEqual([a.adopt(request('old'), 'job'), world.used], [true, TOTAL + 1]);
  assert.equal(a.handOver('old', request('new')), true);
  assert.equal(a.handOver('new', request('other')), false, 'it is no adopted one');
  await world.clock.advance(50);
  assert.deepEqual([a.holds('old'), a.holds('new'), b.holds('b4'), world.used], [false, true, false, TOTAL + 1]);
});

test('a task that another replica has now speaks through that one alone', async () => {
  const { world, a, b } = one();
  await granted(a, world, 'a1', 'a2');
  world.commit(a, 'a', 'a1');
  a.handAway('a1');
  a.handAway('a2');
  b.hold(request('a1'));
  await world.clock.advance(50);
  assert.deepEqual([world.used, b.holds('a1'), a.holds('a1')], [1, true, false]);
});

test('where the line is full a wish is repeated, and too many of one replica are told so at once', async () => {
  const world = new QuotaWorld(['a']);
  world.takeOver('e1', 1);
  const a = world.drawers.get('a') as QuotaDrawer;
  a.follow('e1');
  await granted(a, world, 'a1', 'a2', 'a3', 'a4', 'a5');
  for (const task of ['a1', 'a2', 'a3']) a.release(task);
  await world.clock.advance(2_000);
  assert.deepEqual([a.holds('a4'), a.holds('a5')], [true, true]);
});

test('a link gives what was pushed once and in order, whatever becomes of its messages', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.infiniteStream(fc.array(fc.nat({ max: 900 }), { maxLength: 2 })),
      fc.nat({ max: 40 }),
      async (fates, count) => {
        const clock = new ManualClock();
        const came: number[] = [];
        const back: number[] = [];
        const carry = (come: () => void) => {
          for (const ms of fates.next().value ?? []) clock.setTimer(ms, come);
        };
        const a: OrderedLink<number, number> = new OrderedLink({
          clock,
          resendMs: RESEND_MS,
          send: (message) => carry(() => came.push(...b.receive(message))),
        });
        const b: OrderedLink<number, number> = new OrderedLink({
          clock,
          resendMs: RESEND_MS,
          send: (message) => carry(() => back.push(...a.receive(message))),
        });
        for (let item = 0; item < count; item++) {
          a.push(item);
          if (item % 3 === 0) b.push(item);
          await clock.advance((item * 37) % 200);
        }
        for (let round = 0; round < 400 && clock.pending > 0; round++) await clock.advance(RESEND_MS);
        assert.deepEqual(
          came,
          Array.from({ length: count }, (_, item) => item),
        );
        assert.deepEqual(
          back,
          came.filter((item) => item % 3 === 0),
        );
        assert.equal(clock.pending, 0, 'and is quiet then');
      },
    ),
    { numRuns: 40 },
  );
});

const step = fc.record({
  afterMs: fc.nat({ max: 400 }),
  drawer: fc.nat({ max: 2 }),
  task: fc.nat({ max: 5 }),
  what: fc.constantFrom(
    'acquire',
    'acquire',
    'acquire',
    'commit',
    'commit',
    'release',
    'cancel',
    'takeOver',
    'follow',
    'follow',
  ),
});

test('over losses, repeats, delays and owners that change no more tasks hold tokens than there are, and none is lost', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer(), async (steps, seed) => {
      let state = seed;
      const random = () => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
        return (state >>> 0) / 2 ** 32;
      };
      let fair = false;
      const world = new QuotaWorld(['a', 'b', 'c'], () => {
        if (fair) return [5];
        const luck = random();
        if (luck < 0.15) return [];
        return luck < 0.3 ? [random() * 300, random() * 2_000] : [random() * 300];
      });
      world.takeOver('e0');
      const names = [...world.drawers.keys()];
      let epochs = 0;
      for (const { afterMs, drawer: index, task, what } of steps) {
        await world.clock.advance(afterMs);
        const name = names[index] as string;
        const drawer = world.drawers.get(name) as QuotaDrawer;
        const taskId = `${name}${task}`;
        if (what === 'acquire') drawer.acquire(request(taskId));
        else if (what === 'commit') world.commit(drawer, name, taskId);
        else if (what === 'cancel') drawer.cancel(taskId);
        else if (what === 'follow') drawer.follow(world.epoch);
        else if (what === 'release') {
          world.facts.delete(taskId);
          drawer.release(taskId);
        } else world.takeOver(`e${++epochs}`);
      }
      fair = true;
      for (const drawer of world.drawers.values()) drawer.follow(world.epoch);
      // Everybody comes to use what is granted, and gives it back.
      for (let round = 0; round < 60; round++) {
        await world.clock.advance(400);
        for (const [name, drawer] of world.drawers) {
          for (let task = 0; task <= 5; task++) {
            const taskId = `${name}${task}`;
            if (!drawer.holds(taskId)) continue;
            if (drawer.epochOf(taskId) === undefined || !world.commit(drawer, name, taskId)) {
              world.facts.delete(taskId);
              drawer.release(taskId);
            }
          }
        }
      }
      await world.clock.advance(3_000);
      assert.ok(world.mostHeld <= TOTAL, `${world.mostHeld} held a token`);
      assert.equal(world.used, 0, 'no token is left with nobody');
      for (const drawer of world.drawers.values()) assert.equal(drawer.hasWaiters('q'), false, 'nobody waits for ever');
    }),
    { numRuns: 60 },
  );
});
