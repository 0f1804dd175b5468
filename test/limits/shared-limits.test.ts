import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CallLane } from '../../src/calls/lane.js';
import { LimitsLinks } from '../../src/cluster/limits-link.js';
import { systemClock } from '../../src/lib/clock.js';
import { encodeEnvelope, MalformedEnvelope } from '../../src/limits/grants/envelope.js';
import type { HeldToken } from '../../src/limits/grants/quota-owner.js';
import { SharedLimits } from '../../src/limits/shared-limits.js';
import type { QuotaRequest, Quotas } from '../../src/limits/types.js';
import { type LimitsTenancy, tenancyText } from '../../src/model/limits-tenancy.js';
import type { PluginOutcome } from '../../src/model/plugin-call.js';
import { failedCall } from '../../src/model/plugin-failure.js';
import { createReplicaLinkService } from '../../src/rpc/replica-link.js';
import type { MemberRow } from '../../src/state/index.js';
import { callOf } from '../calls/lane-support.js';
import { startServer } from '../rpc/support.js';

const BOUND = { timeout: 120_000 };
const PLUGIN = 'slurm';
const GRANT_MS = 400;
const RATE = { qps: 200, burst: 40 };
const CONCURRENCY = 12;
const TOTAL = 3;

async function until(what: () => boolean): Promise<void> {
  while (!what()) await sleep(5);
}

/** What all members see in one table, and the facts of tasks. */
class Table {
  readonly members = new Map<string, MemberRow>();
  readonly facts = new Map<string, HeldToken>();
  readonly turns = new Map<string, number>();
  tenancy: LimitsTenancy | undefined;
  mostHeld = 0;
  /** What members told of owners. */
  readonly moved: string[] = [];
  readonly #listeners = new Set<() => void>();

  ownerOf(): LimitsTenancy | undefined {
    return this.tenancy;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  takes(owner: string): void {
    const tenure = (this.tenancy?.tenure ?? 0) + 1;
    this.tenancy = { owner, part: 0, tenure, first: tenure === 1 };
    for (const listener of this.#listeners) listener();
  }

  /** The commit that makes a token count, which compares the tenancy. */
  commit(drawer: string, request: QuotaRequest, epoch: string | undefined): boolean {
    if (epoch !== undefined && epoch !== tenancyText(this.tenancy as LimitsTenancy)) return false;
    this.facts.set(request.taskId, { drawer, turn: this.turns.get(request.taskId) ?? 0, request });
    this.mostHeld = Math.max(this.mostHeld, this.facts.size);
    return true;
  }
}

/** The remote, which counts what it sees as strictly as it may. */
class Remote {
  calls = 0;
  underWay = 0;
  mostUnderWay = 0;
  /** Least that its bucket ever held. */
  least = Number.POSITIVE_INFINITY;
  throttles = 0;
  #level = RATE.burst;
  #atMs = systemClock.now();

  async call(): Promise<PluginOutcome<unknown>> {
    const now = systemClock.now();
    this.#level = Math.min(RATE.burst, this.#level + ((now - this.#atMs) / 1_000) * RATE.qps) - 1;
    this.#atMs = now;
    this.least = Math.min(this.least, this.#level);
    this.calls += 1;
    this.underWay += 1;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay);
    await sleep(5 + Math.random() * 25);
    this.underWay -= 1;
    if (this.throttles === 0) return { ok: true, value: undefined };
    this.throttles -= 1;
    return failedCall('throttled', 'RATE_LIMIT_THROTTLED', 'calm', 1_000);
  }
}

async function startMember(t: TestContext, name: string, table: Table, remote: Remote) {
  const links: LimitsLinks = new LimitsLinks({
    epoch: name,
    clock: systemClock,
    random: Math.random,
    receive: (from, message) => limits.receive(from, message),
  });
  const limits: SharedLimits = new SharedLimits({
    self: name,
    clock: systemClock,
    bootMs: () => systemClock.now(),
    grantMs: GRANT_MS,
    resendMs: 100,
    retryMs: 200,
    owners: table,
    mayGrant: () => true,
    held: async () => [...table.facts.values()],
    turnOf: (taskId) => table.turns.get(taskId) ?? 0,
    moved: (plugin, owner) => table.moved.push(`${name}: ${plugin} ${owner}`),
    send: (to, message) => void links.send(to, message),
  });
  const { server, address } = await startServer(t, { services: [createReplicaLinkService(links)] });
  table.members.set(name, { epoch: name, name, address, version: '1', counter: '1', joinedAtMs: 0, ownsSinceMs: 0 });
  const lane = { rate: RATE, concurrency: CONCURRENCY, callMs: 1_000 };
  const quotas = { quotas: { q: TOTAL }, capacity: 1_000 };
  const shared = limits.plugin(PLUGIN, { bounds: () => ({ read: lane, write: lane, quotas }), maxWaiting: 1_000 });
  let dead = false;
  const write = new CallLane({
    limits: { rate: RATE, concurrency: CONCURRENCY, maxQueue: 10_000 },
    limiter: (_, changed) => shared.limiter('write', changed),
    clock: systemClock,
    random: Math.random,
    blocked: () => (dead ? { code: 'PLUGIN_PAUSED', message: 'dead', failFast: false } : undefined),
    throttled: () => {},
    changed: () => {},
  });
  const done = { calls: 0 };
  const make = (): void =>
    write.submit(
      callOf({
        send: () => ({ outcome: remote.call(), boundMs: systemClock.now() + 60_000 }),
        ended: ({ ok }) => {
          if (ok) done.calls += 1;
          else make();
        },
      }),
    );
  const kill = async () => {
    dead = true;
    limits.close();
    links.close();
    table.members.delete(name);
    await server.forceStop();
  };
  t.after(kill);
  const tokens = shared.quotas({ clock: systemClock, ...quotas, maxWaiting: 1_000, jobOf: () => undefined });
  return { name, links, limits, write, tokens, done, kill, calls: (count: number) => repeat(count, make) };
}

type Member = Awaited<ReturnType<typeof startMember>>;

function repeat(count: number, what: () => void): void {
  for (let i = 0; i < count; i++) what();
}

async function startThree(t: TestContext) {
  const [table, remote] = [new Table(), new Remote()];
  const started: Member[] = [];
  for (const name of ['a', 'b', 'c']) started.push(await startMember(t, name, table, remote));
  const [a, b, c] = started as [Member, Member, Member];
  const see = () => {
    for (const { links, name } of started) if (table.members.has(name)) links.members([...table.members.values()]);
  };
  see();
  return { table, remote, a, b, c, see };
}

test(
  'three members keep one rate and one bound of calls under way over their sockets, and over the death of who grants',
  BOUND,
  async (t) => {
    const { table, remote, a, b, c, see } = await startThree(t);
    table.takes('a');
    for (const member of [a, b, c]) member.calls(250);
    await until(() => [a, b, c].every(({ done }) => done.calls > 30));
    await a.kill();
    see();
    const before = remote.calls;
    table.takes('b');
    await until(() => b.done.calls === 250 && c.done.calls === 250);
    assert.ok(remote.calls > before);
    assert.ok(remote.least > -1e-6, `${-remote.least} calls above the limit`);
    // Those that a dead one made may run on for a moment, and nobody knows of them.
    assert.ok(remote.mostUnderWay <= CONCURRENCY, `${remote.mostUnderWay} under way`);
    assert.deepEqual([b.write.queued, b.write.inFlight, c.write.queued, c.write.inFlight], [0, 0, 0, 0]);
  },
);

test('who owns the limits, what it granted and what was drawn of it is told by each member', BOUND, async (t) => {
  const { table, remote, a, b, c } = await startThree(t);
  const members = [a, b, c];
  const figures = ({ limits }: Member) => limits.figures(PLUGIN)!;
  const owners = () => members.map((member) => figures(member).owner);
  assert.deepEqual(owners(), ['none', 'none', 'none']);
  table.takes('b');
  assert.deepEqual(owners(), ['other', 'here', 'other']);
  assert.deepEqual(table.moved, ['a: slurm b', 'b: slurm b', 'c: slurm b']);
  for (const member of members) member.calls(60);
  await until(() => members.every(({ done }) => done.calls === 60));
  const of = (kind: 'drawn' | 'lapsed' | 'granted') => members.map((member) => figures(member).write[kind]);
  for (const [index, drawn] of of('drawn').entries()) assert.ok(drawn - of('lapsed')[index]! >= 60, `${drawn} drawn`);
  const [ofA, ofB, ofC] = of('granted');
  assert.deepEqual([ofA, ofC], [0, 0]);
  assert.ok(ofB! >= of('drawn').reduce((sum, drawn) => sum + drawn, 0));
  assert.equal(remote.calls, 180);
  assert.deepEqual(figures(b).read, { drawn: 0, lapsed: 0, granted: 0 });
  assert.equal(b.limits.figures('unknown'), undefined);
});

test('a throttle that one member met rests all of them, whoever grants', BOUND, async (t) => {
  const { table, remote, a, b, c } = await startThree(t);
  table.takes('c');
  for (const member of [a, b, c]) member.calls(200);
  await until(() => [a, b, c].every(({ done }) => done.calls > 10));
  const resting = ({ write }: Member) => write.capacity().pausedUntilMs !== undefined;
  remote.throttles = 1;
  await until(() => [a, b, c].every(resting));
  const calls = remote.calls;
  await sleep(300);
  if ([a, b, c].every(resting)) assert.equal(remote.calls, calls);
  await until(() => [a, b, c].every(({ done }) => done.calls === 200));
  assert.ok(remote.least > -1e-6);
});

test(
  'what is no message, or is said for another member, is refused, and what concerns nothing here changes nothing',
  BOUND,
  async (t) => {
    const { table, b } = await startThree(t);
    table.takes('b');
    const draw = { epoch: 'b/0/1', drawer: 'a', draw: 1, seen: 0, left: 0, busy: 0, wanted: 3, throttledMs: 60_000 };
    const of = (changes: object, plugin = PLUGIN) =>
      encodeEnvelope({ plugin, kind: 'draw', lane: 'write', message: { ...draw, ...changes } });
    assert.throws(() => b.limits.receive('a', of({ drawer: 'c' })), MalformedEnvelope);
    assert.throws(() => b.limits.receive('a', of({ wanted: -1 })), MalformedEnvelope);
    assert.throws(() => b.limits.receive('a', Buffer.from([0xff, 1, 2])), MalformedEnvelope);
    b.limits.receive('a', of({ epoch: 'b/0/2' }));
    b.limits.receive('a', of({}, 'unknown'));
    const grant = { epoch: 'b/0/1', drawer: 'b', draw: 1, number: 9, calls: 5, waitMs: 0, reportAfter: 1 };
    const message = { ...grant, pausedMs: 60_000 };
    b.limits.receive('a', encodeEnvelope({ plugin: PLUGIN, kind: 'grant', lane: 'write', message }));
    await sleep(50);
    assert.equal(b.write.capacity().pausedUntilMs, undefined, 'who grants is another one');
    b.limits.receive('a', of({}));
    b.calls(1);
    await until(() => b.write.capacity().pausedUntilMs !== undefined);
  },
);

/** Takes a token, uses it for a moment and gives it back, as a create and its task do. */
async function runTask({ name, tokens }: Member, table: Table, taskId: string, alive: () => boolean): Promise<void> {
  const request = { taskId, quotaNamespace: 'q', project: 'p', namespace: 'n' };
  for (;;) {
    const answer = tokens.acquire(request);
    if (answer.status === 'waiting' && !(await answer.granted)) continue;
    if (!alive()) return;
    if (table.commit(name, request, tokens.epochOf(taskId))) break;
    tokens.lapse(taskId);
  }
  tokens.kept(taskId);
  await sleep(10 + Math.random() * 30);
  if (alive()) giveBack(tokens, table, taskId);
}

function giveBack(tokens: Quotas, table: Table, taskId: string): void {
  table.facts.delete(taskId);
  tokens.release(taskId);
}

test(
  'three members keep one quota over their sockets, and over the death of who grants and of who holds tokens',
  BOUND,
  async (t) => {
    const { table, a, b, c, see } = await startThree(t);
    table.takes('a');
    let dead = false;
    const tasks = (member: Member, count: number, alive = () => true) =>
      Array.from({ length: count }, (_, task) => runTask(member, table, `${member.name}${task}`, alive));
    const ofA = tasks(a, 20, () => !dead);
    const others = [...tasks(b, 20), ...tasks(c, 20)];
    await Promise.race(ofA);
    await until(() => [...table.facts.keys()].some((task) => task.startsWith('a')));
    dead = true;
    await a.kill();
    see();
    table.takes('b');
    // Who takes its part has its tasks, and ends them some time later.
    const taken = [...table.facts].filter(([, { drawer }]) => drawer === 'a');
    assert.ok(taken.length > 0);
    for (const [taskId, { request }] of taken) {
      table.turns.set(taskId, 1);
      table.facts.set(taskId, { drawer: 'c', turn: 1, request });
      c.tokens.hold(request);
    }
    await sleep(200);
    b.limits.forget('a');
    for (const [taskId] of taken) giveBack(c.tokens, table, taskId);
    await Promise.all(others);
    assert.ok(table.mostHeld <= TOTAL, `${table.mostHeld} held`);
    assert.equal(table.facts.size, 0);
  },
);
