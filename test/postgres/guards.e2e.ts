import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/lib/clock.js';
import {
  type Guard,
  type NotWritten,
  type PartCommit,
  PartedEngine,
  type PostgresEngine,
  type PostgresMembers,
  StateWriter,
} from '../../src/state/index.js';
import { engineOf, heldUp, inTransaction, joining, keysIn, membersIn, NOBODY, SAYS } from './replica-rows.js';
import { sharedServer } from './server.js';

const shared = sharedServer('guards');
const PARTS = 4;

const guard = (part: number, tenure = '1'): Guard => ({ part, tenure });

function commitOf(part: number, name: string, guards: readonly Guard[], tenure = '1'): PartCommit {
  return { part, tenure, puts: new Map([[`4.${part}/do/${name}`, Buffer.from(name)]]), drops: [], guards };
}

/** What became of each part: written (and not among these), lost, or the guards that are not met. */
async function endsOf(engine: PostgresEngine, ...commits: readonly PartCommit[]): Promise<Record<number, unknown>> {
  const not = (await engine.fences?.commit(commits)) ?? new Map<number, NotWritten>();
  const said = [...not].map(([part, why]) => [
    part,
    'lost' in why ? why.lost.code : why.unmet.map(({ part, tenure }) => `${part}/${tenure}`),
  ]);
  return Object.fromEntries(said);
}

/** Parts 0 and 1 are `a`'s, 2 and 3 are `b`'s. */
async function divided(t: TestContext) {
  const { place, members } = await membersIn(shared, t, ['a', 'b'], PARTS);
  for (const part of [0, 1, 2, 3]) await members.take(part < 2 ? 'a' : 'b', part, NOBODY);
  return { place, members, a: await engineOf(t, place, 'a', ['1', '1', '1', '1']) };
}

it('writes what is under a guard while nobody took the part since, and also once it was given back', async (t) => {
  const { members, a } = await divided(t);
  assert.deepEqual(await endsOf(a, commitOf(0, 'others', [guard(3)])), {});
  assert.deepEqual(await endsOf(a, commitOf(0, 'own', [guard(1), guard(0)])), {});
  assert.deepEqual(await endsOf(a, commitOf(0, 'x', [guard(3)]), commitOf(1, 'y', [guard(2), guard(3)])), {});
  await members.give({ epoch: 'b', part: 3, tenure: '1' });
  assert.deepEqual(await endsOf(a, commitOf(0, 'given', [guard(3)])), {}, 'nobody has it, and nobody grants anew');
  await members.take('a', 3, { ...NOBODY, tenure: '1' });
  assert.deepEqual(
    await endsOf(a, commitOf(0, 'late', [guard(3)])),
    { 0: ['3/1'] },
    'not even where it is its own now',
  );
  assert.deepEqual(await endsOf(a, commitOf(0, 'anew', [guard(3, '2')])), {});
  const names = ['0/do/anew', '0/do/given', '0/do/others', '0/do/own', '0/do/x', '1/do/y'];
  assert.deepEqual(
    await keysIn(a),
    names.map((name) => `4.${name}`),
  );
});

it('writes nothing of a part one of whose guards is not met, all of the others, and says which; a part that is lost is lost', async (t) => {
  const { place, members, a } = await divided(t);
  await endsOf(a, { ...commitOf(0, 'old', []), puts: new Map([['4.0/payload/old', Buffer.from('x')]]) });
  await endsOf(a, commitOf(0, 'old', []));
  await members.give({ epoch: 'b', part: 3, tenure: '1' });
  await members.take('b', 3, { ...NOBODY, tenure: '1' });
  const kept = { ...commitOf(0, 'new', [guard(2), guard(3)]), drops: ['4.0/do/old', '4.0/payload/old'] };
  assert.deepEqual(await endsOf(a, kept, commitOf(1, 'beside', [guard(2)])), { 0: ['3/1'] });
  assert.deepEqual(await keysIn(a), ['4.0/do/old', '4.0/payload/old', '4.1/do/beside']);
  assert.deepEqual(await endsOf(a, kept), { 0: ['3/1'] }, 'alone as well');
  assert.deepEqual(await endsOf(a, commitOf(2, 'anothers', [guard(3)]), commitOf(1, 'mine', [guard(3, '2')])), {
    2: 'STATE_LOCKED',
  });
  assert.deepEqual(await endsOf(a, commitOf(0, 'no such', [guard(9), guard(2, '7')])), { 0: ['9/1', '2/7'] });
  assert.deepEqual(await endsOf(a, { ...kept, guards: [guard(2)] }), {});
  const b = await engineOf(t, place, 'b', ['0', '0', '1', '2']);
  assert.deepEqual(await keysIn(b), ['4.0/do/new', '4.1/do/beside', '4.1/do/mine']);
});

it('who takes the part of a guard waits for the commit that is under way, and reads what that wrote', async (t) => {
  const { place, members, a } = await divided(t);
  await endsOf(a, commitOf(0, 'slow', []));
  await members.give({ epoch: 'b', part: 3, tenure: '1' });
  const unlock = await inTransaction(shared, t, `SELECT FROM ${place.schema}.facts FOR UPDATE`);
  const order: string[] = [];
  const slow = { ...commitOf(0, 'slow', [guard(3)]), puts: new Map([['4.0/do/slow', Buffer.from('new')]]) };
  const committing = endsOf(a, slow).then((ends) => order.push(`committed ${JSON.stringify(ends)}`));
  await heldUp(shared);
  assert.equal(await members.describe({ epoch: 'b', part: 2, tenure: '1' }, NEEDS), true, 'no other part is held up');
  const taking = members.take('b', 3, { ...NOBODY, tenure: '1' }).then((tenure) => order.push(`taken ${tenure}`));
  await sleep(300);
  assert.deepEqual(order, []);
  unlock();
  await Promise.all([committing, taking]);
  assert.deepEqual(order.sort(), ['committed {}', 'taken 2']);
});

it('a commit under a guard waits for the take that is under way, and compares what that made of it', async (t) => {
  const { place, a } = await divided(t);
  const take = `UPDATE ${place.schema}.owner SET tenure = tenure + 1 WHERE part = 3`;
  const commit = await inTransaction(shared, t, take);
  const committing = endsOf(a, commitOf(0, 'late', [guard(3)]), commitOf(1, 'beside', []));
  await heldUp(shared);
  commit();
  assert.deepEqual(await committing, { 0: ['3/1'] });
  assert.deepEqual(await keysIn(a), ['4.1/do/beside']);
});

const NEEDS = { plugins: [], leastVersion: undefined, hasLimits: true };

/** Parts that go from hand to hand: whoever takes one counts what was written under the tenancy before. */
class Moving {
  readonly #members: PostgresMembers;
  readonly #engine: PostgresEngine;
  /** As the last take has it. */
  readonly tenures = ['1', '1', '1', '1'];
  readonly counts = new Map<string, number>();
  over = false;

  constructor(members: PostgresMembers, engine: PostgresEngine) {
    this.#members = members;
    this.#engine = engine;
  }

  /** `m` has parts 1 and 3, one after the other or both, and leaves with them. */
  async run(): Promise<void> {
    for (let turn = 0; !this.over; turn++) {
      for (const part of [1, 3]) {
        const before = this.tenures[part] as string;
        const taken = await this.#members.take('m', part, { ...NOBODY, tenure: before });
        assert.ok(taken !== undefined, `part ${part} was free`);
        this.counts.set(`${part}/${before}`, await this.written(part, before));
        this.tenures[part] = taken;
      }
      await this.#members.describe({ epoch: 'm', part: 3, tenure: this.tenures[3] as string }, NEEDS);
      if (turn % 2 === 0) {
        for (const part of [3, 1]) {
          await this.#members.give({ epoch: 'm', part, tenure: this.tenures[part] as string });
        }
      } else {
        await this.#members.leave('m');
        await this.#members.join(joining('m'));
      }
      await sleep(3);
    }
  }

  async written(part: number, tenure: string): Promise<number> {
    return (await keysIn(this.#engine)).filter((key) => key.endsWith(`-${part}-${tenure}`)).length;
  }
}

it('commits of several parts under guards that cross, and parts that move meanwhile, never wait for each other in a ring; nothing is written under a tenancy that is over', {
  timeout: 120_000,
}, async (t) => {
  const { place, members } = await membersIn(shared, t, ['a', 'b', 'm'], PARTS);
  await members.say('m', SAYS);
  for (const part of [0, 2]) await members.take(part === 0 ? 'a' : 'b', part, NOBODY);
  for (const part of [1, 3]) {
    await members.take('m', part, NOBODY);
    await members.give({ epoch: 'm', part, tenure: '1' });
  }
  const engines = [
    await engineOf(t, place, 'a', ['1', '1', '1', '1']),
    await engineOf(t, place, 'b', ['1', '1', '1', '1']),
  ];
  const moving = new Moving(members, engines[0] as PostgresEngine);
  const acknowledged = new Map<string, number>();
  let unmet = 0;
  const work = async (own: number, engine: PostgresEngine) => {
    for (let at = 0; at < 400; at++) {
      const [one, other] = at % 2 === 0 ? [1, 3] : [3, 1];
      const [first, second] = [moving.tenures[one] as string, moving.tenures[other] as string];
      const guards = [guard(one, first), guard(other, second), guard(2 - own)];
      const puts = new Map(
        [`${one}-${first}`, `${other}-${second}`].map((of) => [`4.${own}/do/${at}-${of}`, Buffer.from('x')] as const),
      );
      const ends = await endsOf(engine, { part: own, tenure: '1', puts, drops: [], guards });
      assert.ok(!('STATE_LOCKED' in Object.values(ends)));
      if (Object.keys(ends).length > 0) unmet += 1;
      else
        for (const key of [`${one}/${first}`, `${other}/${second}`])
          acknowledged.set(key, (acknowledged.get(key) ?? 0) + 1);
    }
  };
  const moves = moving.run();
  await Promise.all([work(0, engines[0] as PostgresEngine), work(2, engines[1] as PostgresEngine)]);
  moving.over = true;
  await moves;
  for (const [key, count] of moving.counts) assert.equal(count, acknowledged.get(key) ?? 0, `under ${key}`);
  assert.ok(moving.counts.size > 10 && unmet > 0, `${moving.counts.size} tenancies, ${unmet} commits were too late`);
  assert.equal(shared.server.sql(`SELECT sum(deadlocks) FROM pg_stat_database`), '0');
});

/** Tasks of one part that take a token each, granted by the tenancy that this replica knows of. */
class Holders {
  readonly #facts = new Map<string, string>();
  readonly #writer: StateWriter;
  readonly #part: number;
  /** By the tenure that granted it. */
  readonly kept = new Map<string, string[]>();
  lapsed = 0;

  constructor(part: number, whole: PartedEngine) {
    this.#part = part;
    const source = { fact: (key: string) => Buffer.from(this.#facts.get(key) ?? ''), keys: () => this.#facts.keys() };
    const options = { engine: whole.part(part), clock: systemClock, random: Math.random, maxBytes: 0 };
    this.#writer = new StateWriter({ ...options, source });
  }

  async run(name: string, tenure: string): Promise<void> {
    const key = `task/${name}`;
    this.#set(key, `holds ${tenure}`);
    if (await this.#writer.safeUnder(guard(3, tenure))) {
      this.kept.set(tenure, [...(this.kept.get(tenure) ?? []), `4.${this.#part}/${key}`]);
      return;
    }
    this.lapsed += 1;
    this.#set(key, 'waits');
  }

  #set(key: string, text: string): void {
    this.#facts.set(key, text);
    this.#writer.changed(key);
  }

  close(): Promise<void> {
    return this.#writer.close();
  }
}

/** The keys of the facts that say so. */
async function holding(engine: PostgresEngine, text: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of engine.load()) for (const [key, value] of page) if (String(value) === text) keys.push(key);
  return keys.sort();
}

it('whoever comes to own limits reads each token that was kept under the tenancy before, and none is kept under that one any more', {
  timeout: 120_000,
}, async (t) => {
  const { place, members } = await membersIn(shared, t, ['a', 'b', 'm'], PARTS);
  const replicas: Holders[] = [];
  for (const [part, epoch] of ['a', 'b'].entries()) {
    await members.take(epoch, part, NOBODY);
    const whole = new PartedEngine(await engineOf(t, place, epoch, ['1', '1', '1', '1']), PARTS);
    await whole.part(part).open();
    replicas.push(new Holders(part, whole));
  }
  const reader = await engineOf(t, place, 'm', ['0', '0', '0', '0']);
  let tenure = await members.take('m', 3, NOBODY);
  const read = new Map<string, string[]>();
  const until = Date.now() + 4_000;
  let names = 0;
  const work = replicas.flatMap((replica) =>
    Array.from({ length: 8 }, async () => {
      while (Date.now() < until) await replica.run(String(++names), tenure as string);
    }),
  );
  while (Date.now() < until) {
    await sleep(20 * Math.random());
    const before = tenure as string;
    await members.give({ epoch: 'm', part: 3, tenure: before });
    tenure = await members.take('m', 3, { ...NOBODY, tenure: before });
    read.set(before, await holding(reader, `holds ${before}`));
  }
  await Promise.all(work);
  await Promise.all(replicas.map((replica) => replica.close()));
  const lapsed = replicas.reduce((sum, one) => sum + one.lapsed, 0);
  assert.ok(read.size > 10 && lapsed > 0, `${read.size} tenancies, ${lapsed} tokens lapsed of ${names}`);
  for (const [under, keys] of read) {
    const kept = replicas.flatMap((one) => one.kept.get(under) ?? []).sort();
    assert.deepEqual(keys, kept, `as the next owner read them under ${under}`);
    assert.deepEqual(await holding(reader, `holds ${under}`), kept, `as they stand in the end under ${under}`);
  }
});
