import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ClientReadableStream, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Message } from '../../src/idl/codec.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { encodeHandle } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { type Mutable, makeRecord } from '../rpc/fake-tasks.js';
import { idl, SERVICE } from '../rpc/support.js';
import { identityOf } from '../support/identity.js';
import { handleOf, PartedWorld } from './parted-world.js';

const PARTS = 8;
const same = (bytes: Buffer): Buffer => bytes;
const response = idl.codec('pluginhost.v1.WatchResponse');

type Task = TaskRecord & Mutable;

function taskIn(world: PartedWorld, part: number, name = 'x'): Task {
  const identity = identityOf(attemptKeyOf({ name, executionId: '' }));
  const handle = { identity, meta: Buffer.from('m'), partition: part * (256 / PARTS) + 1 };
  const record = makeRecord(handle, phaseState('RUNNING'));
  Object.assign(record, { answeredHandle: encodeHandle(handle) });
  world.records.push(record);
  return record;
}

/** A reader that keeps the last it was told of each task, and never takes an older version for news. */
class Reader {
  token = '';
  readonly versions = new Map<string, number>();
  readonly told: string[] = [];
  lags = 0;
  bookmarks = 0;
  draining = false;
  error: ServiceError | undefined;
  over: Promise<void> = Promise.resolve();
  #stream: ClientReadableStream<Buffer> | undefined;

  constructor(
    private readonly world: PartedWorld,
    private readonly filter: Message = {},
  ) {}

  open(index: number): this {
    const request = idl.codec('pluginhost.v1.WatchRequest').encode({ ...this.filter, resumeToken: this.token });
    const client = (this.world.replicas[index] as (typeof this.world.replicas)[number]).client1();
    const stream = client.makeServerStreamRequest(`${SERVICE}/Watch`, same, same, request, new Metadata(), {});
    this.#stream = stream;
    this.error = undefined;
    this.over = (async () => {
      try {
        for await (const bytes of stream) this.#take(response.decode(bytes as Buffer));
      } catch (error) {
        this.error = error as ServiceError;
      }
    })();
    return this;
  }

  async leave(): Promise<void> {
    this.#stream?.cancel();
    await this.over;
  }

  version(task: Task): number | undefined {
    return this.versions.get(handleOf(task).toString('latin1'));
  }

  async until(what: () => boolean): Promise<void> {
    while (!what()) {
      assert.equal(this.error, undefined);
      await sleep(5);
    }
  }

  #take(message: Message): void {
    this.token = message.resumeToken;
    if (message.event === 'lagged') this.lags += 1;
    if (message.event === 'bookmark') {
      this.bookmarks += 1;
      this.draining ||= message.bookmark.draining;
    }
    if (message.event !== 'change') return;
    const key = (message.change.handle as Buffer).toString('latin1');
    const { version } = message.change.status.phaseInfo;
    assert.ok(version >= (this.versions.get(key) ?? 0), `version ${version} after ${this.versions.get(key)}`);
    this.versions.set(key, version);
    this.told.push(`${key}@${version}`);
  }
}

async function startWorld(t: TestContext, count = 3): Promise<PartedWorld> {
  const world = new PartedWorld(PARTS);
  await world.start(t, count);
  for (let part = 0; part < PARTS; part++) world.takes(part, part % count);
  return world;
}

test('a Watch tells the changes of all parts, whoever has them, and its token goes on at any replica', async (t) => {
  const world = await startWorld(t);
  const tasks = Array.from({ length: PARTS }, (_, part) => taskIn(world, part));
  const reader = new Reader(world).open(0);
  await reader.until(() => reader.bookmarks > 0);
  assert.deepEqual(
    world.replicas.map(({ server }) => server.openStreams),
    [1, 1, 1],
    'one stream to each owner',
  );
  for (const task of tasks) world.changes(task);
  await reader.until(() => tasks.every((task) => reader.version(task) === 1));
  await reader.leave();
  for (let round = 0; round < 3; round++) for (const task of tasks) world.changes(task);
  reader.open(1);
  await reader.until(() => tasks.every((task) => reader.version(task) === 4));
  assert.equal(reader.lags, 0);
  assert.equal(reader.told.length, new Set(reader.told).size, 'nothing is told again');
  assert.ok(reader.token.length < 120, reader.token);
  await reader.leave();
  for (const { server } of world.replicas) while (server.openStreams > 0) await sleep(5);
});

test('what is there is told of all parts where it is asked for', async (t) => {
  const world = await startWorld(t);
  const tasks = Array.from({ length: PARTS * 3 }, (_, at) => taskIn(world, at % PARTS, `t${at}`));
  const reader = new Reader(world, { includeCurrent: true }).open(2);
  await reader.until(() => reader.versions.size === tasks.length);
  assert.equal(reader.told.length, tasks.length);
  await reader.leave();
});

test('a part that moves is told as it stands at its next owner, and nothing that its last one still says', async (t) => {
  const world = await startWorld(t);
  // Of one stream, and not the part by whose way it goes.
  const [other, moved] = [taskIn(world, 1), taskIn(world, 4)];
  const reader = new Reader(world).open(0);
  await reader.until(() => reader.bookmarks > 0);
  const zombie = world.replicas[1]!.tasks.rings.get(4)!;
  const old = Object.assign(makeRecord({ identity: moved.identity, meta: moved.meta }, phaseState('RUNNING')), {
    answeredHandle: moved.answeredHandle,
  });
  world.givesUp(4, true);
  // While nobody has it.
  for (let change = 0; change < 5; change++) world.changes(moved);
  world.changes(other);
  await reader.until(() => reader.version(other) === 1);
  for (const to of [2, 0]) {
    world.takes(4, to);
    await reader.until(() => reader.version(moved) === moved.phaseVersion);
    zombie.append(old, false);
    world.changes(moved);
    world.changes(other);
    await reader.until(() => [moved, other].every((task) => reader.version(task) === task.phaseVersion));
    world.givesUp(4);
    world.changes(moved);
  }
  assert.ok(!reader.told.some((told) => told.endsWith('@0')), 'nothing of the frozen one');
  await reader.leave();
});

test('an owner that dies keeps nobody from being told of other parts, and its own go on at the next one', async (t) => {
  const world = await startWorld(t);
  const tasks = Array.from({ length: PARTS }, (_, part) => taskIn(world, part));
  const reader = new Reader(world).open(0);
  await reader.until(() => reader.bookmarks > 0);
  await world.replicas[1]!.server.forceStop();
  for (const task of tasks) world.changes(task);
  await reader.until(() => [0, 2, 3, 5, 6].every((part) => reader.version(tasks[part] as Task) === 1));
  for (const part of [1, 4, 7]) world.takes(part, 2);
  await reader.until(() => tasks.every((task) => reader.version(task) === 1));
  for (const task of tasks) world.changes(task);
  await reader.until(() => tasks.every((task) => reader.version(task) === 2));
  await reader.leave();
});

test('a Watch of some tasks asks only who has them', async (t) => {
  const world = await startWorld(t);
  const [here, there] = [taskIn(world, 0), taskIn(world, 2)];
  const unwanted = taskIn(world, 2, 'y');
  const reader = new Reader(world, { handles: [handleOf(here), handleOf(there)] }).open(0);
  await reader.until(() => reader.bookmarks > 0);
  assert.deepEqual(
    world.replicas.map(({ server }) => server.openStreams),
    [1, 0, 1],
  );
  for (const task of [unwanted, here, there]) world.changes(task);
  await reader.until(() => reader.versions.size === 2);
  assert.equal(reader.version(unwanted), undefined);
  await reader.leave();
});

test('bookmarks pass over what is not wanted at other owners, too', async (t) => {
  const world = await startWorld(t);
  const [wanted, unwanted] = [taskIn(world, 1), taskIn(world, 1, 'y')];
  const reader = new Reader(world, { handles: [handleOf(wanted)] }).open(0);
  await reader.until(() => reader.bookmarks > 0);
  const { token } = reader;
  for (let change = 0; change < 3; change++) world.changes(unwanted);
  await reader.until(() => reader.token !== token);
  await reader.leave();
});

test('a replica that stops says so with a token that goes on elsewhere', async (t) => {
  const world = await startWorld(t);
  const tasks = Array.from({ length: PARTS }, (_, part) => taskIn(world, part));
  const reader = new Reader(world).open(0);
  await reader.until(() => reader.bookmarks > 0);
  world.replicas[0]!.server.beginDrain();
  await reader.over;
  assert.deepEqual([reader.draining, reader.error], [true, undefined]);
  for (const task of tasks) world.changes(task);
  reader.open(1);
  await reader.until(() => [1, 2, 4, 5, 7].every((part) => reader.version(tasks[part] as Task) === 1));
  assert.equal(reader.lags, 0);
  await reader.leave();
});

test('a token of nobody, and one of other parts, end the Watch as an error of who sent it', async (t) => {
  const world = await startWorld(t, 1);
  for (const token of ['nonsense', 'aaaaaaaaaaaa.7', 'p.////', 'p.CKqqqqqqqg4']) {
    const reader = new Reader(world);
    reader.token = token;
    await reader.open(0).over;
    assert.equal(reader.error?.code, status.INVALID_ARGUMENT, token);
  }
});

test('who resumes with a token of an owner that is gone is told so, and what stands where it was asked for', async (t) => {
  const world = await startWorld(t);
  const tasks = [taskIn(world, 0), taskIn(world, 1)];
  const reader = new Reader(world, { includeCurrent: true }).open(0);
  await reader.until(() => reader.versions.size === 2);
  await reader.leave();
  world.givesUp(1);
  for (const task of tasks) world.changes(task);
  world.takes(1, 2);
  reader.open(0);
  await reader.until(() => tasks.every((task) => reader.version(task) === 1));
  assert.equal(reader.lags, 1);
  await reader.leave();
});

test('while parts move at random nobody misses the end of a task, and no version comes after a higher one', async (t) => {
  const world = await startWorld(t);
  const tasks = Array.from({ length: PARTS * 4 }, (_, at) => taskIn(world, at % PARTS, `t${at}`));
  let seed = 11;
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((seed / 2_147_483_648) * below);
  };
  const readers = [0, 1, 2].map((index) => new Reader(world, { includeCurrent: true }).open(index));
  for (let step = 0; step < 300; step++) {
    for (let change = random(4); change >= 0; change--) world.changes(tasks[random(tasks.length)] as Task);
    if (step % 10 === 3) {
      const part = random(PARTS);
      world.givesUp(part, random(2) === 0);
      await sleep(random(10));
      world.takes(part, random(3));
    }
    if (step % 40 === 7) {
      const reader = readers[random(3)] as Reader;
      await reader.leave();
      reader.open(random(3));
    }
    await sleep(random(4));
  }
  for (const task of tasks) world.changes(task);
  for (const reader of readers) {
    await reader.until(() => tasks.every((task) => reader.version(task) === task.phaseVersion));
    await reader.leave();
  }
});
