import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/lib/clock.js';
import {
  type NewInboxRow,
  type PartCommit,
  PostgresEngine,
  PostgresInbox,
  type PostgresMembers,
  type PostgresPlace,
} from '../../src/state/index.js';
import { engineOf, inTransaction, keysIn, membersIn, NOBODY } from './replica-rows.js';
import { sharedServer } from './server.js';

const shared = sharedServer('inbox');
const PARTS = 4;
const KEY = 'a'.repeat(32);
const OTHER = 'b'.repeat(32);

const create = (part: number, key = KEY, body = 'c'): NewInboxRow => ({
  part,
  kind: 'create',
  key,
  name: `${key}-1`,
  body: Buffer.from(body),
});
const claim = (part: number, key = KEY): NewInboxRow => ({ part, kind: 'do', key, name: '', body: undefined });

async function inboxOf(t: TestContext, place: PostgresPlace, epoch: string, parts = PARTS): Promise<PostgresInbox> {
  const inbox = new PostgresInbox({ place, epoch, parts });
  await inbox.open();
  t.after(() => inbox.close());
  return inbox;
}

/** Part 0 and 1 are `a`'s; `b` and `c` stand in. */
async function divided(t: TestContext) {
  const { place, members } = await membersIn(shared, t, ['a', 'b', 'c'], PARTS);
  for (const part of [0, 1]) await members.take('a', part, NOBODY);
  const [b, c] = [await inboxOf(t, place, 'b'), await inboxOf(t, place, 'c')];
  return { place, members, b, c };
}

/** Its owner dies, and another one takes it. */
async function takenOver(members: PostgresMembers, part: number): Promise<void> {
  assert.equal(await members.give({ epoch: 'a', part, tenure: '1' }), true);
  assert.equal(await members.take('b', part, { ...NOBODY, tenure: '1' }), '2');
}

function commitOf(part: number, name: string, consumed: readonly string[], tenure = '1'): PartCommit {
  return { part, tenure, puts: new Map([[`4.${part}/do/${name}`, Buffer.from(name)]]), drops: [], consumed };
}

it('takes the first that is put under a name, whoever else puts it at the same time, and tells the others so', async (t) => {
  const { b, c } = await divided(t);
  const all = Array.from({ length: 40 }, (_, index) => {
    const who = index % 2 === 0 ? b : c;
    return who.put(create(0, KEY, `${index}`), '1');
  });
  const ends = await Promise.all(all);
  assert.equal(ends.filter((end) => end === 'put').length, 1);
  assert.equal(ends.filter((end) => end === 'stands').length, 39);
  const rows = await c.look([0]);
  assert.equal(rows.length, 1);
  const winner = ends.indexOf('put');
  assert.equal(rows[0]?.body?.toString(), `${winner}`, 'what stands is what was told to be put');
  assert.equal(rows[0]?.epoch, winner % 2 === 0 ? 'b' : 'c');
  assert.equal(await b.put(create(1), '1'), 'put', 'of another part');
  assert.equal(await b.put({ ...create(0), kind: 'delete' }, '1'), 'put', 'of another kind');
  assert.equal(await b.put(create(0, OTHER), '1'), 'put', 'of another key');
});

it('puts nothing under a tenure that is over, also where the part is just being taken', async (t) => {
  const { place, members, b } = await divided(t);
  assert.equal(await b.put(create(0), '0'), 'moved');
  assert.equal(await b.put(create(2), '1'), 'moved', 'nobody ever had it');
  assert.equal(await b.put(create(2), '0'), 'put', 'and so it is known');
  await members.give({ epoch: 'a', part: 0, tenure: '1' });
  assert.equal(await b.put(create(0), '1'), 'put', 'given back, and not taken yet');
  const taken = await inTransaction(shared, t, `UPDATE ${place.schema}.owner SET tenure = 7 WHERE part = 1`);
  assert.equal(await b.put(create(1), '1'), 'moved');
  taken();
  assert.deepEqual(await b.look([1]), []);
});

it('holds up no put into other parts, nor a read, while one part is being taken', async (t) => {
  const { place, b } = await divided(t);
  const taken = await inTransaction(shared, t, `UPDATE ${place.schema}.owner SET tenure = 7 WHERE part = 1`);
  const startMs = performance.now();
  const ends = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      b.put(create(index % 3, `${index}`.padStart(32, '0')), index % 3 === 2 ? '0' : '1'),
    ),
  );
  assert.deepEqual(
    ends,
    ends.map((_, index) => (index % 3 === 1 ? 'moved' : 'put')),
  );
  const { tenure, owner } = await b.read(1, KEY);
  assert.deepEqual([tenure, owner], ['1', 'a']);
  assert.ok(performance.now() - startMs < 1_000);
  taken();
});

it('lets two that put the same in other orders not wait for each other', async (t) => {
  const { b, c } = await divided(t);
  for (let round = 0; round < 20; round++) {
    const rows = Array.from({ length: 200 }, (_, index) => create(index % 2, `${round}-${index}`.padStart(32, '0')));
    const both = [rows.map((row) => b.put(row, '1')), [...rows].reverse().map((row) => c.put(row, '1'))];
    const ends = (await Promise.all(both.flat())).filter((end) => end === 'put');
    assert.equal(ends.length, rows.length);
  }
});

it('is in what a takeover reads, or is not put: no put is between the two', async (t) => {
  const { members, b, c } = await divided(t);
  const keys = Array.from({ length: 400 }, (_, index) => index.toString(16).padStart(32, '0'));
  const puts = keys.map(async (key, index) => {
    await sleep(index);
    return [key, await (index % 2 === 0 ? b : c).put(create(0, key), '1')] as const;
  });
  await sleep(150);
  await takenOver(members, 0);
  const read = new Set((await b.look([0])).map(({ key }) => key));
  const ends = await Promise.all(puts);
  for (const [key, end] of ends) {
    if (end === 'put') assert.ok(read.has(key), `${key} was put, and not read by who took the part`);
    else assert.equal(end, 'moved');
  }
  assert.ok(read.size > 0 && read.size < keys.length, `${read.size} were before it`);
});

it('ends rows in the commit that writes what follows from them, of parts that are held, and of no others', async (t) => {
  const { place, members, b } = await divided(t);
  const a = await engineOf(t, place, 'a', ['1', '1', '0', '0']);
  for (const part of [0, 1]) assert.equal(await b.put(create(part), '1'), 'put');
  const [row0, row1] = (await b.look([0, 1])).map(({ id }) => id) as [string, string];
  await a.fences?.commit([commitOf(0, 'none', [])]);
  assert.equal((await b.look([0, 1])).length, 2, 'nothing is consumed by a commit that does not say so');
  await takenOver(members, 0);
  const not = await a.fences?.commit([commitOf(0, 'lost', [row0]), commitOf(1, 'kept', [row1])]);
  assert.deepEqual([...(not?.keys() ?? [])], [0]);
  assert.deepEqual(await keysIn(a), ['4.0/do/none', '4.1/do/kept']);
  assert.deepEqual(
    (await b.look([0, 1])).map(({ id }) => id),
    [row0],
    'the row of the part that was lost is its next owner’s',
  );
  const anew = await engineOf(t, place, 'b', ['2', '0', '0', '0']);
  assert.deepEqual(await anew.fences?.commit([commitOf(0, 'mine', [row0, row1], '2')]), new Map());
  assert.deepEqual(await b.look([0, 1]), []);
  const unmet = [{ part: 1, tenure: '9' }];
  assert.equal(await b.put(create(0, OTHER), '2'), 'put');
  const [row] = (await b.look([0])).map(({ id }) => id) as [string];
  await anew.fences?.commit([{ ...commitOf(0, 'guarded', [row], '2'), guards: unmet }]);
  assert.equal((await b.look([0])).length, 1, 'a guard that is not met keeps it');
  await anew.fences?.commit([{ ...commitOf(0, 'guarded', [row], '2'), guards: [{ part: 1, tenure: '1' }] }]);
  assert.deepEqual(await b.look([0]), []);
});

it('shows at no instant a row beside what follows from it, nor neither of them', async (t) => {
  const { place, b } = await divided(t);
  const a = await engineOf(t, place, 'a', ['1', '1', '0', '0']);
  let done = false;
  const both = `SELECT (SELECT count(*) FROM ${place.schema}.inbox WHERE key = '${KEY}') + (SELECT count(*) FROM ${place.schema}.facts WHERE key = '4.0/do/x')`;
  assert.equal(await b.put(create(0), '1'), 'put');
  const [row] = await b.look([0]);
  const watching = (async () => {
    const seen = new Set<string>();
    while (!done) {
      seen.add(shared.server.sql(both));
      await sleep(1);
    }
    return seen;
  })();
  await sleep(50);
  try {
    await a.fences?.commit([commitOf(0, 'x', [row?.id ?? ''])]);
    await sleep(50);
  } finally {
    done = true;
  }
  assert.deepEqual([...(await watching)], ['1']);
});

it('ends the row of a state of one part with what its only commit writes', async (t) => {
  const { place, members } = await membersIn(shared, t, ['a', 'b']);
  await members.take('a', 0, NOBODY);
  const b = await inboxOf(t, place, 'b', 1);
  const a = await engineOf(t, place, 'a');
  assert.equal(await b.put(create(0), '1'), 'put');
  const [row] = await b.look([0]);
  await a.commit(new Map([[`do/${KEY}`, Buffer.from('x')]]), [], [row?.id ?? '']);
  assert.deepEqual(await b.look([0]), []);
  assert.deepEqual((await b.read(0, KEY)).facts, [[`do/${KEY}`, Buffer.from('x')]]);
});

it('reads all that is kept of a key at one instant, and nothing of another; what is asked at once is told apart', async (t) => {
  const { place, b, c } = await divided(t);
  const a = await engineOf(t, place, 'a', ['1', '1', '0', '0']);
  const fact = (key: string) => [key, Buffer.from(key)] as const;
  const of = (key: string) => [
    ...['task', 'owed', 'unclear', 'outputs'].flatMap((kind) => [`${kind}/${key}-1`, `${kind}/${key}-2~0123`]),
    ...[`mark/${key}`, `do/${key}`],
  ];
  const ofPart = ['handleKey', 'birth', 'routes', `payload/${KEY}-1`, 'bucket/x/read'];
  for (const part of [0, 1]) {
    const puts = new Map(
      [...of(KEY), ...of(OTHER), ...of(`${KEY.slice(1)}b`), ...ofPart].map((key) => fact(`4.${part}/${key}`)),
    );
    await a.fences?.commit([{ part, tenure: '1', puts, drops: [] }]);
  }
  assert.equal(await b.put(create(0), '1'), 'put');
  assert.equal(await c.put(claim(0), '1'), 'put');
  assert.equal(await c.put(create(0, OTHER), '1'), 'put');
  const asked = [0, 1, 2].flatMap((part) => [KEY, OTHER].map((key) => ({ part, key })));
  const kept = await Promise.all(asked.map(({ part, key }) => b.read(part, key)));
  for (const [index, { part, key }] of asked.entries()) {
    const { facts, rows, tenure } = kept[index]!;
    assert.equal(tenure, part === 2 ? '0' : '1');
    const names = part === 2 ? [] : [...of(key), 'handleKey', 'birth'];
    assert.deepEqual(facts.map(([name]) => name).sort(), names.sort());
    for (const [name, value] of facts) assert.equal(value.toString(), `4.${part}/${name}`);
    const expected = part !== 0 ? [] : key === KEY ? ['create/b', 'do/c'] : ['create/c'];
    assert.deepEqual(
      rows.map((row) => `${row.kind}/${row.epoch}`),
      expected,
    );
  }
});

it('settles a run by who claims it, once, and takes over the claim of a dead one', async (t) => {
  const { b, c } = await divided(t);
  assert.equal(await b.put(claim(0), '1'), 'put');
  assert.equal(await c.put(claim(0), '1'), 'stands');
  assert.equal(await c.settle(0, KEY, Buffer.from('c')), false, 'another one has claimed it');
  assert.equal(await c.settle(0, KEY, undefined), false);
  assert.equal(await c.reclaim(0, KEY, 'z'), false, 'not of whom it took for dead');
  assert.equal(await c.reclaim(0, KEY, 'b'), true);
  assert.equal(await b.settle(0, KEY, Buffer.from('b')), false, 'it was taken for dead');
  assert.equal(await c.settle(0, KEY, Buffer.from('c')), true);
  assert.equal(await c.settle(0, KEY, Buffer.from('c')), true, 'once more, as the answer was lost');
  assert.equal(await c.settle(0, KEY, Buffer.from('d')), false);
  assert.equal(await c.settle(0, KEY, undefined), false, 'what is settled is not given back');
  assert.equal(await b.reclaim(0, KEY, 'c'), false, 'nor taken over');
  assert.equal((await b.look([0]))[0]?.body?.toString(), 'c');
  assert.equal(await b.put(claim(0, OTHER), '1'), 'put');
  assert.equal(await b.settle(0, OTHER, undefined), true);
  assert.equal(await c.put(claim(0, OTHER), '1'), 'put', 'given back, it may be claimed anew');
});

it('takes nothing above its bound of rows, nor of bytes, in that part alone', async (t) => {
  const { place, b } = await divided(t);
  const fill = (part: number, rows: number, bytes: number) =>
    shared.server.sql(
      `INSERT INTO ${place.schema}.inbox (part, kind, key, name, epoch, body)
        SELECT ${part}, 'delete', n::text, '', 'z', decode(repeat('00', ${bytes}), 'hex') FROM generate_series(1, ${rows}) AS n`,
    );
  fill(0, 10_000, 1);
  fill(1, 64, 1024 * 1024);
  assert.equal(await b.put(create(0), '1'), 'full');
  assert.equal(await b.put(create(1), '1'), 'full');
  assert.equal(await b.put(create(2), '0'), 'put');
  assert.equal((await b.look([0])).length, 1_000, 'a page of rows');
  const page = await b.look([1]);
  assert.equal(page.length, 16, 'a page of bytes');
  assert.deepEqual(
    (await b.look([1], page.at(-1)?.id)).map(({ key }) => Number(key)),
    page.map((_, index) => index + 17),
    'and those behind them',
  );
  assert.deepEqual(
    page.map(({ key }) => Number(key)),
    page.map((_, index) => index + 1),
    'the oldest first',
  );
});

it('tells how much waits in which parts, and for how long, and how much is run elsewhere', async (t) => {
  const { place, b } = await divided(t);
  assert.deepEqual(await b.waiting([0, 1, 2]), []);
  for (const row of [create(0), create(0, OTHER), claim(0), claim(1)]) assert.equal(await b.put(row, '1'), 'put');
  assert.equal(await b.put(create(2), '0'), 'put');
  shared.server.sql(
    `UPDATE ${place.schema}.inbox SET at = now() - interval '1 minute' WHERE part = 0 AND key = '${KEY}'`,
  );
  const found = [...(await b.waiting([0, 1]))].sort((one, other) => one.part - other.part);
  const [first] = found;
  assert.ok(first !== undefined && first.oldestMs >= 60_000 && first.oldestMs < 90_000, `${first?.oldestMs} ms`);
  assert.deepEqual(found, [
    { part: 0, waiting: 2, running: 1, oldestMs: first.oldestMs },
    { part: 1, waiting: 0, running: 1, oldestMs: 0 },
  ]);
});

it('is left behind by no daemon that is no replica: that one does not start while promises wait', async (t) => {
  const { place, members, b } = await divided(t);
  assert.equal(await b.put(create(2), '0'), 'put');
  assert.equal(await b.put(claim(1), '1'), 'put');
  for (const part of [0, 1]) await members.give({ epoch: 'a', part, tenure: '1' });
  const alone = () => new PostgresEngine({ place, clock: systemClock, random: Math.random, parts: PARTS });
  await assert.rejects(alone().open(), { code: 'STATE_PROMISED' });
  shared.server.sql(`DELETE FROM ${place.schema}.inbox WHERE kind = 'create'`);
  // What it had claimed is given back; a run without an end was promised to nobody.
  const engine = alone();
  await engine.open();
  await engine.close();
});
