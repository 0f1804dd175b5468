import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Garden, type Plant } from '../chaos/plants.js';
import { type DaemonProcess, spawnServe, statusWhere, until } from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { repoRoot } from '../support/paths.js';
import { tempFolder } from '../support/temp.js';
import { everPutIn, heldBy } from './away.js';
import { Scene } from './scene.js';
import { rowsOf } from './shares.js';
import { clusterOf, LEASE_MS } from './support.js';

/** Each starts several daemons of two releases. */
const BOUND = { timeout: 290_000 };

const shared = sharedServer('upgrade');

/** The release after this one, whose schema has one step more. `readableBy`: the oldest step whose release may go on beside it. */
function laterSchema(readableBy: number): Plant {
  const step = "({ members }) => ['ALTER TABLE ' + members + ' ADD COLUMN later text']";
  return {
    name: 'later-schema',
    what: 'the schema of the next release',
    file: 'state/postgres/schema.js',
    find: "const LOCK = 'webapi-plugin-host migration';",
    put: `const LOCK = 'webapi-plugin-host migration';\nMIGRATIONS.push({ readableBy: ${readableBy}, statements: ${step} });`,
    tests: [],
  };
}

/** The same one writes tasks in a format of its own, and reads that of before. */
const LATER_TASKS: Plant = {
  name: 'later-tasks',
  what: 'the format of tasks of the next release',
  file: 'state/facts/facts.js',
  find: 'task: { version: 2, field: taskRow, before: [taskFact] },',
  put: 'task: { version: 3, field: taskRow, before: [taskFact, taskRow] },',
  tests: [],
};

/** The release before this one, which knows of no parts. */
const BEFORE_PARTS: Plant = {
  name: 'before-parts',
  what: 'the schema of the release before',
  file: 'state/postgres/schema.js',
  find: "const LOCK = 'webapi-plugin-host migration';",
  put: "const LOCK = 'webapi-plugin-host migration';\nMIGRATIONS.length = 2;",
  tests: [],
};

/** The release before this one knows of no inbox: it makes no table for one, and does not say that it takes anything in. */
const BEFORE_INBOX: Plant = {
  name: 'before-inbox',
  what: 'the schema of the release before',
  file: 'state/postgres/schema.js',
  find: "const LOCK = 'webapi-plugin-host migration';",
  put: "const LOCK = 'webapi-plugin-host migration';\nMIGRATIONS.length = 3;",
  tests: [],
};
const SAYS_NO_INBOX: Plant = {
  name: 'says-no-inbox',
  what: 'what a replica of the release before says',
  file: 'cluster/seat.js',
  find: 'inbox: true,',
  put: '',
  tests: [],
};

/** A build that has one change. */
function planted(t: TestContext, plant: Plant): Garden {
  const garden = new Garden(repoRoot);
  t.after(() => garden.remove());
  garden.plant(plant);
  return garden;
}

/** Two replicas of this release under load, and a build of the next one, which none runs yet. */
async function besideALaterBuild(t: TestContext, plant: Plant) {
  const garden = planted(t, plant);
  const scene = await Scene.open(t, shared);
  const first = await scene.add();
  const second = await scene.add();
  const engines = scene.engines();
  await engines.progress();
  return { garden, later: { build: garden.root }, scene, first, second, engines };
}

test(
  'a release with a later schema comes, works, and goes again beside replicas of this one, where it says that they may go on',
  BOUND,
  async (t) => {
    const { later, scene, first, second, engines } = await besideALaterBuild(t, laterSchema(1));

    const next = await scene.add(later);
    await engines.progress();
    assert.equal((await clusterOf(first)).role, 'owner', 'nothing moves because of it');
    for (const old of [second, first]) assert.equal(await scene.end(old, 'SIGTERM'), 0);
    await until('the later release', async () => (await clusterOf(next)).role === 'owner');
    await engines.progress();

    const third = await scene.add();
    await scene.end(next, 'SIGKILL');
    await until('this release', async () => (await clusterOf(third)).role === 'owner');
    await engines.progress();
    t.diagnostic(await engines.finish());
  },
);

test(
  'a replica that may not go on beside a later release, or cannot read its tasks, says so, ends with 5 and holds nobody up',
  BOUND,
  async (t) => {
    const { garden, later, scene, first, second, engines } = await besideALaterBuild(t, LATER_TASKS);

    // The tasks of a later release.
    const next = await scene.add(later);
    await engines.progress();
    assert.equal((await clusterOf(first)).role, 'owner');
    scene.leave(second);
    second.running.child.kill('SIGSTOP');
    assert.equal(await scene.end(first, 'SIGTERM'), 0);
    await until('the later release', async () => (await clusterOf(next)).role === 'owner');
    await engines.progress();
    second.running.child.kill('SIGCONT');
    await sleep(LEASE_MS);
    await scene.end(next, 'SIGKILL');
    const ended = await second.running.finished;
    assert.equal(ended.code, 5);
    assert.match(ended.stdout + ended.stderr, /STATE_FORMAT_NEWER/);
    await scene.add(later);
    await engines.progress();

    // A schema of a still later one, whose step is the first that this release lacks.
    garden.plant(laterSchema(5));
    await scene.add(later);
    await engines.progress();
    const refused = await spawnServe(t, scene.config()).finished;
    assert.equal(refused.code, 5);
    assert.match(refused.stderr, /STATE_FORMAT_NEWER/);
    t.diagnostic(await engines.finish());
  },
);

test(
  'a divided state refuses the release before, and whoever sets another number of parts, and holds nobody up',
  BOUND,
  async (t) => {
    const before = planted(t, BEFORE_PARTS).root;
    const scene = await Scene.open(t, shared, 8);
    for (let i = 0; i < 2; i++) await scene.add();
    const engines = scene.engines();
    await engines.progress();
    const shares = await scene.even();
    const refused = async (parts: number, build?: string) => {
      const { code, stderr } = await spawnServe(t, scene.config({ parts }), tempFolder(t), {}, build).finished;
      assert.equal(code, 5);
      return stderr;
    };
    assert.match(await refused(1, before), /STATE_FORMAT_NEWER/);
    for (const parts of [1, 4, 16]) assert.match(await refused(parts), /STATE_FOREIGN.*set state\.parts to 8/);
    await engines.progress();
    assert.deepEqual(await scene.even(), shares);
    t.diagnostic(await engines.finish());
  },
);

test(
  'the release before comes, works and goes again beside replicas of this one whose state is not divided',
  BOUND,
  async (t) => {
    const before = { build: planted(t, BEFORE_PARTS).root };
    const scene = await Scene.open(t, shared);
    const first = await scene.add();
    const engines = scene.engines();
    await engines.progress();
    const old = await scene.add(before);
    assert.equal(await scene.end(first, 'SIGTERM'), 0);
    await until('the release before', async () => (await clusterOf(old)).role === 'owner');
    await engines.progress();
    await scene.add();
    await scene.end(old, 'SIGKILL');
    await scene.owner();
    await engines.progress();
    t.diagnostic(await engines.finish());
  },
);

test(
  'nothing is promised in the stead of an owner while a replica of the release before the inbox is there, and afterwards it is',
  BOUND,
  async (t) => {
    const garden = planted(t, BEFORE_INBOX);
    garden.plant(SAYS_NO_INBOX);
    const before = { build: garden.root, inbox: false };
    const scene = await Scene.open(t, shared);
    const kill = async (owner: DaemonProcess, name: string) => {
      const rows = await heldBy(shared.server, scene);
      await scene.end(owner, 'SIGKILL');
      const [asked] = scene.living.slice(-1) as [DaemonProcess];
      const { handle } = await asked.client.create({ generatedName: name, template: { type: 'demo_hang' } });
      const promised = (await heldBy(shared.server, scene)) === rows;
      await statusWhere(asked.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
      return promised;
    };
    const first = await scene.add({ inbox: true });
    const old = await scene.add(before);
    await scene.add({ inbox: true });
    assert.equal(await scene.owner(), first);
    assert.equal(await kill(first, 'beside the release before'), false);
    assert.equal(await everPutIn(shared.server, scene), 0);
    assert.equal(await scene.end(old, 'SIGTERM'), 0);
    await scene.add({ inbox: true });
    const owner = await scene.owner();
    for (const one of scene.living) {
      await until('who is left', async () => (await clusterOf(one)).members.length === 2);
    }
    assert.equal(await kill(owner, 'after it'), true);
    assert.ok((await everPutIn(shared.server, scene)) > 0);
    assert.equal(scene.remote.created, 2);
  },
);

test(
  'an empty state that a living replica has undivided is not divided by one that comes, and no task of it is lost',
  BOUND,
  async (t) => {
    const scene = await Scene.open(t, shared);
    const first = await scene.add();
    const comes = spawnServe(t, scene.config({ parts: 8 }));
    const ended = await Promise.race([comes.finished, sleep(3 * LEASE_MS)]);
    assert.ok(!/daemon\.ready/.test(comes.output()), 'it works beside the one that lives');
    const kept = { generatedName: 'kept', template: { type: 'demo_hang' } };
    const { handle } = await first.client.create(kept);
    assert.equal((await rowsOf(shared.server, scene.schema)).length, 1);
    if (ended === undefined) comes.child.kill('SIGTERM');
    else assert.match(ended.stderr, /STATE_(FOREIGN|LOCKED)/);
    await comes.finished;
    await scene.end(first, 'SIGKILL');
    const next = await scene.add();
    await statusWhere(next.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    assert.equal(scene.remote.created, 1);
  },
);
