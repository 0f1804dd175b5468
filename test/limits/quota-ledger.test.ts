import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../src/lib/clock.js';
import { QuotaLedger } from '../../src/limits/quota-ledger.js';
import type { QuotaAnswer, QuotaRequest, QuotaScope } from '../../src/limits/types.js';

function request(taskId: string, parts: Partial<QuotaRequest> = {}): QuotaRequest {
  return { taskId, quotaNamespace: 'gpu', project: 'ml', namespace: 'ml-dev', ...parts };
}

function ledger(quotas: Record<string, number>, more: { maxWaiting?: number; capacity?: number } = {}) {
  const clock = new ManualClock();
  const waits: { waitMs: number; forced: boolean }[] = [];
  const jobs = new Map<string, string>();
  const subject = new QuotaLedger({
    quotas,
    clock,
    maxWaiting: more.maxWaiting ?? 100,
    capacity: more.capacity ?? Number.POSITIVE_INFINITY,
    jobOf: (id) => jobs.get(id),
    events: { granted: ({ waitMs, forced }) => waits.push({ waitMs, forced }) },
  });
  const identify = (id: string, job: string): void => {
    jobs.set(id, job);
    subject.identify(id);
  };
  return { clock, waits, subject, identify };
}

function promiseOf(answer: QuotaAnswer): Promise<boolean> {
  assert.equal(answer.status, 'waiting');
  return (answer as Extract<QuotaAnswer, { status: 'waiting' }>).granted;
}

const heldOf = (subject: QuotaLedger) => subject.snapshot().reduce((sum, { used }) => sum + used, 0);
const waitingOf = (subject: QuotaLedger) => subject.snapshot().reduce((sum, { waiting }) => sum + waiting, 0);

/** What a task in the line waits for, which it learns by asking again; undefined once it has its token. */
function lacksOf(subject: QuotaLedger, waiter: QuotaRequest): QuotaScope | undefined {
  const answer = subject.acquire(waiter);
  return answer.status === 'waiting' ? answer.lacks : undefined;
}

test('a first-try grant records a wait of 0, a later one the time in the line', async () => {
  const { clock, waits, subject } = ledger({ gpu: 1 });
  assert.equal(subject.acquire(request('a')).status, 'granted');
  const second = promiseOf(subject.acquire(request('b')));
  await clock.advance(7_000);
  assert.equal(subject.release('a'), true);
  assert.equal(await second, true);
  assert.deepEqual(waits, [
    { waitMs: 0, forced: false },
    { waitMs: 7_000, forced: false },
  ]);
});

test('a token is freed once; a second release, or one of a stranger, frees nothing', () => {
  const { subject } = ledger({ gpu: 1 });
  subject.acquire(request('a'));
  assert.equal(subject.release('a'), true);
  assert.equal(subject.acquire(request('b')).status, 'granted');
  assert.equal(subject.release('a'), false);
  assert.equal(subject.release('never seen'), false);
  assert.equal(subject.holds('b'), true);
  assert.equal(subject.acquire(request('c')).status, 'waiting');
});

test('a release credits the scopes of the grant, not those of a later request', () => {
  const { subject } = ledger({ gpu: 10, cpu: 10 });
  subject.acquire(request('a', { project: 'one' }));
  subject.acquire(request('a', { quotaNamespace: 'cpu', project: 'two' }));
  assert.deepEqual(
    subject.snapshot().map((n) => [n.quotaNamespace, n.used]),
    [
      ['cpu', 0],
      ['gpu', 1],
    ],
  );
  subject.release('a');
  assert.equal(heldOf(subject), 0);
});

test('a freed token makes room in its project and its namespace while others of both are held', () => {
  for (const scope of ['project', 'namespace'] as const) {
    const { subject } = ledger({ gpu: 10 });
    const constraints = { [scope]: 2 };
    for (const id of ['a', 'b']) subject.acquire(request(id, { constraints }));
    assert.equal(subject.acquire(request('c', { constraints })).status, 'waiting');
    subject.release('a');
    assert.equal(subject.holds('c'), true, scope);
  }
});

test('ml is not charged for ml-prod, nor a name for any other way to cut the joined text', () => {
  const { subject } = ledger({ gpu: 10 });
  const constraints = { project: 1, namespace: 1 };
  assert.equal(subject.acquire(request('a', { project: 'ml-prod', namespace: 'x', constraints })).status, 'granted');
  assert.equal(subject.acquire(request('b', { project: 'ml', namespace: 'prod-x', constraints })).status, 'granted');
  assert.equal(subject.acquire(request('c', { project: 'ml-', namespace: 'prod', constraints })).status, 'granted');
  assert.equal(
    subject.acquire(request('d', { project: '__proto__', namespace: 'constructor', constraints })).status,
    'granted',
  );
  const fifth = subject.acquire(request('e', { project: 'ml', namespace: 'y', constraints }));
  assert.equal(fifth.status === 'waiting' && fifth.lacks, 'project');
});

test('a waiter blocked by its own project alone holds up neither other projects nor is it overtaken in its own', async () => {
  const { subject } = ledger({ gpu: 3 });
  const constraints = { project: 1 };
  subject.acquire(request('a', { constraints }));
  const blocked = promiseOf(subject.acquire(request('b', { constraints })));
  assert.equal(subject.acquire(request('other', { project: 'bio' })).status, 'granted');
  // Without a constraint of its own it would fit, but it competes for the project's room with an earlier waiter.
  const later = promiseOf(subject.acquire(request('c')));
  assert.equal(lacksOf(subject, request('c')), 'project');
  subject.release('a');
  assert.equal(await blocked, true);
  assert.equal(await later, true);
  assert.equal(waitingOf(subject), 0);
});

test('a waiter for the total holds up everybody behind it, in the order of arrival', async () => {
  const { subject } = ledger({ gpu: 1 });
  subject.acquire(request('a'));
  const order: string[] = [];
  for (const id of ['b', 'c', 'd']) {
    void promiseOf(subject.acquire(request(id, { project: id }))).then(() => order.push(id));
  }
  for (const id of ['a', 'b', 'c']) {
    subject.release(id);
    await Promise.resolve();
  }
  assert.deepEqual(order, ['b', 'c', 'd']);
});

test('leaving the line lets the next one through and tells the leaver', async () => {
  const { subject } = ledger({ gpu: 2 });
  const constraints = { project: 1 };
  subject.acquire(request('a', { constraints }));
  const leaver = promiseOf(subject.acquire(request('b', { constraints })));
  const next = promiseOf(subject.acquire(request('c')));
  assert.equal(subject.release('b'), false);
  assert.equal(await leaver, false);
  assert.equal(await next, true);
  assert.equal(subject.cancel('b'), false);
});

test('an adopted task takes its token over quota, once, also out of the line', async () => {
  const { subject, waits } = ledger({ gpu: 1 });
  subject.acquire(request('a'));
  const waiting = promiseOf(subject.acquire(request('b')));
  assert.deepEqual([subject.adopt(request('b'), 'job-b'), subject.adopt(request('b'), 'job-b')], [true, true]);
  assert.equal(await waiting, true);
  assert.equal(subject.snapshot()[0]?.used, 2);
  subject.release('a');
  assert.equal(subject.acquire(request('c')).status, 'waiting');
  assert.deepEqual(waits.at(-1), { waitMs: 0, forced: true });
});

test('a token that was held before a restart is none that a handle brought: its release makes no room for one', () => {
  const { subject } = ledger({ gpu: 2 });
  subject.hold(request('a'));
  assert.deepEqual([subject.adopt(request('x'), 'x'), subject.adopt(request('y'), 'y')], [true, true]);
  assert.equal(subject.release('a'), true);
  assert.equal(subject.adopt(request('z'), 'z'), false);
  assert.equal(subject.handOver('a', request('b')), false);
});

test('what handles alone say takes one token a job, and no more of them than a quota has', () => {
  const { subject } = ledger({ gpu: 2 });
  const names = ['a', 'b', 'c', 'd'];
  assert.deepEqual(
    names.map((name) => subject.adopt(request(name), 'one job')),
    [true, false, false, false],
  );
  assert.deepEqual(
    names.map((name) => subject.adopt(request(name), `job ${name}`)),
    [true, true, false, false],
  );
  assert.equal(heldOf(subject), 2);
  subject.release('a');
  assert.equal(subject.adopt(request('c'), 'one job'), true, 'a job that was let go of may be taken again');
});

test('a job that a create made takes no second token for a handle that names it, and none from whoever waits', () => {
  const { subject, identify } = ledger({ gpu: 2 });
  subject.acquire(request('made'));
  identify('made', 'its job');
  assert.equal(subject.adopt(request('made-up'), 'its job'), false);
  assert.equal(subject.acquire(request('next')).status, 'granted');
  subject.release('made');
  assert.equal(subject.adopt(request('made-up'), 'its job'), true);
});

test('a handle takes no token before the jobs of all tokens were looked at, which are many after a start', () => {
  const { subject, identify } = ledger({});
  for (let i = 0; i < 25_000; i++) {
    subject.hold(request(`t${i}`));
    identify(`t${i}`, `job ${i}`);
  }
  assert.equal(subject.adopt(request('early'), 'job of nobody'), false);
  // What happens while it is looked through counts as well, before and behind the place where it is.
  subject.release('t0');
  subject.release('t24999');
  subject.hold(request('late'));
  identify('late', 'job 0');
  const tries = ['job 0', 'job 1', 'job 20000', 'job 24999'];
  assert.deepEqual(
    tries.map((job) => subject.adopt(request(`by ${job}`), job)),
    [false, false, false, true],
  );
  const { subject: whole } = ledger({});
  for (let i = 0; i < 25_000; i++) whole.hold(request(`t${i}`));
  whole.seeAllJobs();
  assert.equal(whole.adopt(request('handle'), 'job'), true);
});

test('namespaces that only handles name are bounded in number, and handles fill no more than the capacity', () => {
  const { subject } = ledger({});
  let taken = 0;
  for (let i = 0; i < 3_000; i++) {
    if (subject.adopt({ ...request(`t${i}`), quotaNamespace: `made-up-${i}` }, `job ${i}`)) taken += 1;
  }
  assert.equal(taken, 1_000);
  assert.equal(subject.acquire({ ...request('own'), quotaNamespace: 'new' }).status, 'granted');
  const small = new QuotaLedger({
    quotas: {},
    capacity: 2,
    clock: new ManualClock(),
    maxWaiting: 10,
    jobOf: () => undefined,
  });
  assert.deepEqual(
    [1, 2, 3].map((i) => small.adopt(request(`t${i}`), `job ${i}`)),
    [true, true, false],
  );
});

test('the token of an adopted task goes over to the create of the same attempt, past the line, and is freed once', () => {
  const { subject, waits } = ledger({ gpu: 1 });
  assert.equal(subject.handOver('handle', request('made')), false, 'there is nothing to hand over');
  subject.adopt(request('handle'), 'job');
  subject.acquire(request('other'));
  assert.equal(subject.handOver('handle', { ...request('made'), quotaNamespace: 'else' }), false);
  assert.equal(subject.handOver('handle', request('made')), true);
  assert.equal(subject.handOver('handle', request('again')), false);
  assert.deepEqual([subject.holds('made'), subject.holds('handle'), subject.holds('other')], [true, false, false]);
  assert.deepEqual(waits, [
    { waitMs: 0, forced: true },
    { waitMs: 0, forced: false },
  ]);
  assert.equal(subject.adopt(request('handle'), 'job'), false, 'the job has its token');
  assert.deepEqual([subject.release('handle'), subject.release('made'), subject.holds('other')], [false, true, true]);
});

test("a token that a create was granted is nobody else's to take over", () => {
  const { subject, identify } = ledger({ gpu: 2 });
  subject.acquire(request('made'));
  identify('made', 'job');
  assert.equal(subject.handOver('made', request('again')), false);
  assert.deepEqual([subject.holds('made'), subject.holds('again')], [true, false]);
});

test('a job that is said of a task without a token is claimed by nobody', () => {
  const { subject, identify } = ledger({ gpu: 2 });
  identify('stranger', 'job');
  assert.equal(subject.adopt(request('handle'), 'job'), true);
});

test('an adopted task that waited says how long, and whoever stood behind it goes on', async () => {
  const { clock, subject, waits } = ledger({ gpu: 3 });
  subject.acquire(request('a', { constraints: { project: 1 } }));
  subject.acquire(request('b', { constraints: { project: 1 } }));
  subject.acquire(request('c'));
  await clock.advance(3_000);
  assert.equal(subject.adopt(request('b'), 'job'), true);
  assert.equal(subject.holds('c'), true);
  assert.deepEqual(waits.slice(1), [
    { waitMs: 3_000, forced: true },
    { waitMs: 3_000, forced: false },
  ]);
});

test('a quota namespace that is configured or in use takes adopted tasks, however many others handles made up', () => {
  const { subject } = ledger({ gpu: 5 });
  subject.acquire(request('own', { quotaNamespace: 'in use' }));
  for (let i = 0; i < 1_000; i++) subject.adopt(request(`t${i}`, { quotaNamespace: `made-up-${i}` }), `job ${i}`);
  const adopts = (id: string, quotaNamespace: string) => subject.adopt(request(id, { quotaNamespace }), id);
  assert.deepEqual([adopts('x', 'new'), adopts('y', 'gpu'), adopts('z', 'in use')], [false, true, true]);
});

test('the line is bounded, and a full one records nothing', () => {
  const { subject } = ledger({ gpu: 0 }, { maxWaiting: 1 });
  assert.equal(subject.acquire(request('a')).status, 'waiting');
  assert.equal(subject.acquire(request('a')).status, 'waiting');
  assert.equal(subject.acquire(request('b')).status, 'full');
  assert.equal(waitingOf(subject), 1);
});

test('the capacity bounds all namespaces together, also those without a total', async () => {
  const { subject } = ledger({}, { capacity: 1 });
  subject.acquire(request('a'));
  const answer = subject.acquire(request('b', { quotaNamespace: 'cpu' }));
  assert.equal(answer.status === 'waiting' && answer.lacks, 'capacity');
  subject.release('a');
  assert.equal(await promiseOf(answer), true);
});

test('a reload with more room grants to the line; with less it takes nothing back', async () => {
  const { subject } = ledger({ gpu: 1 });
  subject.acquire(request('a'));
  const waiting = promiseOf(subject.acquire(request('b')));
  assert.equal(subject.hasWaiters('gpu'), true);
  subject.reconfigure({ quotas: { gpu: 2 }, capacity: 10 });
  assert.equal(await waiting, true);
  subject.reconfigure({ quotas: { gpu: 0 }, capacity: 10 });
  assert.equal(heldOf(subject), 2);
  assert.equal(subject.hasWaiters('gpu'), false);
});

test('a reload with more capacity grants to the line, and whoever still waits says for what', async () => {
  const { subject } = ledger({ gpu: 5 }, { capacity: 1 });
  const constraints = { project: 1 };
  subject.acquire(request('a', { constraints }));
  subject.acquire(request('b', { constraints }));
  subject.acquire(request('c', { project: 'bio' }));
  assert.deepEqual([lacksOf(subject, request('b')), lacksOf(subject, request('c'))], ['capacity', 'capacity']);
  subject.reconfigure({ quotas: { gpu: 5 }, capacity: 3 });
  assert.deepEqual([lacksOf(subject, request('b')), subject.holds('c')], ['project', true]);
});

test('the load report counts used and waiting by whole names', () => {
  const { subject } = ledger({ gpu: 1, idle: 4 });
  subject.acquire(request('a'));
  subject.acquire(request('b', { project: 'bio', namespace: 'bio-dev' }));
  assert.deepEqual(subject.snapshot(), [
    {
      quotaNamespace: 'gpu',
      total: 1,
      used: 1,
      waiting: 1,
      byProject: [
        { name: 'bio', used: 0, waiting: 1 },
        { name: 'ml', used: 1, waiting: 0 },
      ],
      byNamespace: [
        { name: 'bio-dev', used: 0, waiting: 1 },
        { name: 'ml-dev', used: 1, waiting: 0 },
      ],
    },
    { quotaNamespace: 'idle', total: 4, used: 0, waiting: 0, byProject: [], byNamespace: [] },
  ]);
});

const name = fc.constantFrom('ml', 'ml-prod', 'ml-');
const ids = fc.integer({ min: 0, max: 25 });
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('acquire' as const),
      id: ids,
      quotaNamespace: fc.constantFrom('q', 'q-2', 'free'),
      project: name,
      namespace: name,
      byProject: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
      byNamespace: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('release' as const), id: ids }) },
  fc.record({ do: fc.constant('adopt' as const), id: ids, project: name }),
  fc.record({ do: fc.constant('cancel' as const), id: ids }),
  fc.record({ do: fc.constant('reload' as const), total: fc.integer({ min: 0, max: 5 }) }),
);

/** Whether `later` may not be served while `earlier` waits, told from first principles. */
function competes(earlier: QuotaRequest, later: QuotaRequest, earlierLacks: string): boolean {
  if (earlierLacks === 'capacity') return true;
  if (earlier.quotaNamespace !== later.quotaNamespace) return false;
  if (earlierLacks === 'quota') return true;
  const sameProject = earlier.project === later.project && earlier.constraints?.project !== undefined;
  const sameNamespace = earlier.namespace === later.namespace && earlier.constraints?.namespace !== undefined;
  return sameProject || sameNamespace;
}

test('a waiter keeps its own constrained scope, also behind another one of its group', async () => {
  const subject = new QuotaLedger({
    quotas: {},
    capacity: 10,
    clock: new ManualClock(),
    maxWaiting: 10,
    jobOf: () => undefined,
  });
  const request = { quotaNamespace: 'q', project: 'ml', namespace: 'ml-' };
  subject.acquire({ ...request, taskId: 'a', constraints: { namespace: 0 } });
  subject.acquire({ ...request, taskId: 'b', constraints: { project: 0 } });
  const later = subject.acquire({ ...request, namespace: 'other', taskId: 'c' });
  assert.equal(later.status === 'waiting' && later.lacks, 'project');
  subject.cancel('b');
  assert.equal(subject.holds('c'), true);
  assert.equal(subject.holds('a'), false);
});

test('who waits behind another one of its group is told of what that one lacks by now', () => {
  const { subject } = ledger({ gpu: 0 });
  const none = { project: 'ml', constraints: { project: 0 } };
  for (const id of ['a', 'b']) assert.equal(lacksOf(subject, request(id, none)), 'quota');
  subject.acquire(request('c', { project: 'bio' }));
  subject.reconfigure({ quotas: { gpu: 1 }, capacity: 100 });
  assert.equal(subject.holds('c'), true);
  assert.deepEqual(
    [lacksOf(subject, request('a', none)), lacksOf(subject, request('b', none))],
    ['project', 'project'],
  );
});

test('grants never exceed a bound unless adopted, come in order, and each token is freed exactly once', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
      let total = 2;
      const capacity = 9;
      const subject = new QuotaLedger({
        quotas: { q: total, 'q-2': 3 },
        capacity,
        jobOf: () => undefined,
        clock: new ManualClock(),
        maxWaiting: 15,
      });
      const held = new Map<string, QuotaRequest>();
      const adopted = new Set<string>();
      const line: QuotaRequest[] = [];
      const settled = new Map<string, boolean[]>();
      const lacksRoom = (r: QuotaRequest) => {
        const same = [...held.values()].filter((h) => h.quotaNamespace === r.quotaNamespace);
        const { project = 100, namespace = 100 } = r.constraints ?? {};
        return (
          held.size >= capacity ||
          same.length >= ({ q: total, 'q-2': 3 }[r.quotaNamespace] ?? 100) ||
          same.filter((h) => h.project === r.project).length >= project ||
          same.filter((h) => h.namespace === r.namespace).length >= namespace
        );
      };
      const checkGrant = (r: QuotaRequest, before: readonly QuotaRequest[]) => {
        const same = [...held.values()].filter((h) => h.quotaNamespace === r.quotaNamespace);
        const bound = { q: total, 'q-2': 3 }[r.quotaNamespace] ?? Number.POSITIVE_INFINITY;
        assert.ok(held.size < capacity, 'capacity');
        assert.ok(same.length < bound, 'total');
        const { project, namespace } = r.constraints ?? {};
        if (project !== undefined) assert.ok(same.filter((h) => h.project === r.project).length < project, 'project');
        if (namespace !== undefined)
          assert.ok(same.filter((h) => h.namespace === r.namespace).length < namespace, 'namespace');
        for (const earlier of before) {
          const lacks = lacksOf(subject, earlier);
          if (lacks !== undefined) assert.ok(!competes(earlier, r, lacks), `${r.taskId} overtook ${earlier.taskId}`);
        }
        held.set(r.taskId, r);
      };
      const absorbGrants = () => {
        for (const r of [...line]) {
          if (!subject.holds(r.taskId)) continue;
          const at = line.indexOf(r);
          checkGrant(r, line.slice(0, at));
          line.splice(at, 1);
        }
      };
      const leave = (id: string) => {
        const at = line.findIndex((r) => r.taskId === id);
        if (at >= 0) line.splice(at, 1);
      };
      for (const s of steps) {
        if (s.do === 'reload') {
          total = s.total;
          subject.reconfigure({ quotas: { q: total, 'q-2': 3 }, capacity });
        } else if (s.do === 'acquire') {
          const taskId = `t${s.id}`;
          const constraints = {
            ...(s.byProject === undefined ? {} : { project: s.byProject }),
            ...(s.byNamespace === undefined ? {} : { namespace: s.byNamespace }),
          };
          const r: QuotaRequest = {
            taskId,
            quotaNamespace: s.quotaNamespace,
            project: s.project,
            namespace: s.namespace,
            constraints,
          };
          const known = held.has(taskId) || line.some((w) => w.taskId === taskId);
          const answer = subject.acquire(r);
          if (!known && answer.status === 'granted') checkGrant(r, line);
          if (!known && answer.status === 'waiting') {
            line.push(r);
            const log: boolean[] = [];
            settled.set(taskId, log);
            void answer.granted.then((granted) => log.push(granted));
          }
          if (!known && answer.status === 'full') assert.equal(line.length, 15);
        } else if (s.do === 'adopt') {
          const r = { taskId: `t${s.id}`, quotaNamespace: 'q', project: s.project, namespace: 'ml' };
          const fits =
            held.has(r.taskId) || [...adopted].filter((id) => held.has(id)).length < Math.min(total, capacity);
          assert.equal(subject.adopt(r, `job ${s.id}`), fits);
          if (fits) {
            leave(r.taskId);
            if (!held.has(r.taskId)) {
              held.set(r.taskId, r);
              adopted.add(r.taskId);
            }
          }
        } else if (s.do === 'release') {
          assert.equal(subject.release(`t${s.id}`), held.delete(`t${s.id}`));
          adopted.delete(`t${s.id}`);
          leave(`t${s.id}`);
        } else {
          const waits = line.some((r) => r.taskId === `t${s.id}`);
          assert.equal(subject.cancel(`t${s.id}`), waits);
          leave(`t${s.id}`);
        }
        absorbGrants();
        line.forEach((r, i) => {
          const stands = line.slice(0, i).some((earlier) => {
            const lacks = lacksOf(subject, earlier) ?? assert.fail();
            return competes(earlier, r, lacks);
          });
          assert.ok(stands || lacksRoom(r), `${r.taskId} waits for nothing`);
        });
        assert.equal(heldOf(subject), held.size);
        assert.equal(waitingOf(subject), line.length);
        const used = subject.snapshot().reduce((sum, n) => sum + n.used, 0);
        assert.equal(used, held.size, 'a token leaked or was counted twice');
        await Promise.resolve();
        for (const [id, log] of settled) assert.ok(log.length <= 1, `${id} was told twice`);
      }
      for (const id of [...held.keys()]) subject.release(id);
      for (let round = 0; round < 30; round++) for (let id = 0; id < 26; id++) subject.release(`t${id}`);
      for (const r of line) subject.cancel(r.taskId);
      assert.equal(heldOf(subject), 0);
      assert.deepEqual(
        subject.snapshot().map((n) => n.used + n.byProject.length + n.byNamespace.length),
        [0, 0],
      );
    }),
    { numRuns: 400 },
  );
});

test('a larger total goes to those who wait in the order they came, whatever constrains them', () => {
  const { subject } = ledger({ gpu: 1 });
  subject.acquire(request('holder'));
  const waiters = ['a', 'b', 'c', 'd'].map((taskId) => request(taskId));
  waiters[2] = request('c', { constraints: { project: 9 } });
  for (const waiter of waiters) subject.acquire(waiter);
  subject.reconfigure({ quotas: { gpu: 3 }, capacity: 100 });
  assert.deepEqual(
    waiters.map(({ taskId }) => subject.holds(taskId)),
    [true, true, false, false],
  );
  subject.reconfigure({ quotas: { gpu: 5 }, capacity: 100 });
  assert.ok(waiters.every(({ taskId }) => subject.holds(taskId)));
});

test('a release makes room for one in project and namespace, and for no second', () => {
  for (const constraints of [{ project: 3 }, { namespace: 3 }]) {
    const { subject } = ledger({ gpu: 100 });
    for (const taskId of ['a', 'b', 'c']) subject.acquire(request(taskId, { constraints }));
    subject.release('a');
    assert.equal(subject.acquire(request('d', { constraints })).status, 'granted');
    assert.equal(subject.acquire(request('e', { constraints })).status, 'waiting', JSON.stringify(constraints));
  }
});

test('who waits for the capacity waits for every namespace that takes of it, and for no other than its own once there is room', () => {
  const { subject } = ledger({ cpu: 1 }, { capacity: 1 });
  subject.acquire(request('a'));
  assert.equal(subject.hasWaiters('gpu'), false);
  subject.acquire(request('b', { quotaNamespace: 'cpu' }));
  assert.deepEqual([subject.hasWaiters('gpu'), subject.hasWaiters('cpu')], [true, true]);
  subject.reconfigure({ quotas: { cpu: 0 }, capacity: 2 });
  assert.deepEqual([subject.hasWaiters('gpu'), subject.hasWaiters('cpu')], [false, true]);
});

test('a ledger that is closed grants nothing of a namespace with a total until then, and lets in who waited at that time', async () => {
  const { clock, subject } = ledger({ gpu: 2 });
  const atMs = clock.now();
  subject.closeUntil(atMs);
  assert.equal(subject.acquire(request('before')).status, 'granted', 'a time that is over closes nothing');
  subject.closeUntil(atMs + 5_000);
  subject.closeUntil(atMs + 2_000);
  const granted: number[] = [];
  void promiseOf(subject.acquire(request('a'))).then(() => granted.push(clock.now() - atMs));
  assert.equal(subject.acquire(request('free', { quotaNamespace: 'no total' })).status, 'granted');
  await clock.advance(4_999);
  assert.deepEqual(granted, [], 'an earlier end does not open it');
  await clock.advance(1);
  assert.deepEqual(granted, [5_000]);
  subject.release('a');
  assert.equal(subject.acquire(request('b')).status, 'granted');
  assert.equal(clock.pending, 0);
});

test('a namespace with a total of none takes no adopted task, and one with a constraint of none grants nothing', () => {
  const { subject } = ledger({ gpu: 0, cpu: 5 });
  assert.equal(subject.adopt(request('a'), 'job'), false);
  for (const constraints of [{ project: 0 }, { namespace: 0 }]) {
    const answer = subject.acquire(request(Object.keys(constraints)[0]!, { quotaNamespace: 'cpu', constraints }));
    assert.equal(answer.status === 'waiting' && answer.lacks, Object.keys(constraints)[0]);
  }
});

test('a task that waits and turns out to hold a token leaves the line, and is told of it as one that waited for nothing', async () => {
  const { waits, subject } = ledger({ gpu: 0 });
  const granted = promiseOf(subject.acquire(request('a')));
  subject.hold(request('a'));
  assert.equal(await granted, false);
  assert.deepEqual([waits, waitingOf(subject), subject.holds('a')], [[{ waitMs: 0, forced: true }], 0, true]);
  assert.equal(subject.cancel('a'), false);
});

test('who leaves the line is told from who was not in it', () => {
  const { subject } = ledger({ gpu: 0 });
  subject.acquire(request('a'));
  assert.deepEqual([subject.cancel('a'), subject.cancel('a')], [true, false]);
});

test('tokens that differ in one scope alone are counted apart', () => {
  const { subject } = ledger({ gpu: 10 });
  const grants: Partial<QuotaRequest>[] = [
    {},
    { project: 'other' },
    { namespace: 'other' },
    { quotaNamespace: 'none' },
  ];
  for (const [i, scope] of grants.entries()) subject.acquire(request(`t${i}`, scope));
  const used = () => {
    const [row] = subject.snapshot();
    return [row?.byProject, row?.byNamespace].map((rows) => rows?.map(({ name, used: n }) => `${name} ${n}`));
  };
  assert.deepEqual(used(), [
    ['ml 2', 'other 1'],
    ['ml-dev 2', 'other 1'],
  ]);
  subject.release('t1');
  assert.deepEqual(used(), [['ml 2'], ['ml-dev 1', 'other 1']]);
  subject.release('t2');
  assert.deepEqual(used(), [['ml 1'], ['ml-dev 1']]);
  for (let i = 0; i < grants.length; i++) subject.release(`t${i}`);
  assert.deepEqual(subject.snapshot(), [
    { quotaNamespace: 'gpu', total: 10, used: 0, waiting: 0, byProject: [], byNamespace: [] },
  ]);
});

test('the capacity that a release makes free is one token', () => {
  const { subject } = ledger({}, { capacity: 2 });
  for (const id of ['a', 'b']) assert.equal(subject.acquire(request(id)).status, 'granted');
  subject.release('a');
  assert.equal(subject.acquire(request('c')).status, 'granted');
  assert.equal(subject.acquire(request('d')).status, 'waiting');
});

test('a waiter keeps its namespace and its project from those behind it where it lacks them or is constrained in them', () => {
  for (const [scope, other] of [
    ['project', { namespace: 'other' }],
    ['namespace', { project: 'other' }],
  ] as const) {
    const { subject } = ledger({ gpu: 10 });
    subject.acquire(request('holds'));
    subject.acquire(request('waits', { constraints: { [scope]: 1 } }));
    const behind = subject.acquire(request('behind', other));
    assert.equal(behind.status === 'waiting' && behind.lacks, scope);
    assert.equal(subject.acquire(request('free', { project: 'x', namespace: 'x' })).status, 'granted');
  }
});
