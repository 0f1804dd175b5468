import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { HostError } from '../../src/errors/index.js';
import { lenField } from '../../src/idl/wire.js';
import { ManualClock } from '../../src/lib/clock.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { encodeHandle, partitionOf, partOf } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import { makeRecord } from '../rpc/fake-tasks.js';
import {
  duplex,
  encode,
  executionMetadata,
  FLYTE1,
  FLYTE2,
  createRequest as flyteCreate,
  template as flyteTemplate,
  serverStream,
} from '../rpc/flyte/support.js';
import { createRequest, idl, rawCall, SERVICE } from '../rpc/support.js';
import { identityOf } from '../support/identity.js';
import { PartedWorld } from './parted-world.js';

const PARTS = 8;

/** A name whose attempt lies in this part. */
function nameIn(part: number, tag = 'n'): string {
  for (let at = 0; ; at++) {
    const name = `${tag}-${at}`;
    if (partOf(partitionOf(attemptKeyOf({ name, executionId: '' })), PARTS) === part) return name;
  }
}

function handleIn(part: number) {
  const identity = identityOf(attemptKeyOf({ name: 'x', executionId: '' }));
  const handle = { identity, meta: Buffer.from('m'), partition: part * (256 / PARTS) + 1 };
  return { bytes: encodeHandle(handle), record: makeRecord(handle, phaseState('RUNNING')) };
}

const native = (type: string, message: Record<string, unknown>) => idl.codec(`pluginhost.v1.${type}`).encode(message);

test('each method is answered by the owner of its part, whichever replica is called', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 3);
  for (let part = 0; part < PARTS; part++) world.gives(part, part % 3);
  const asked = world.replicas[0]!;
  const client = asked.client1();
  for (const part of [0, 1, 2, 5, 7]) {
    const { bytes: handle, record } = handleIn(part);
    const owner = world.replicas[part % 3]!;
    owner.tasks.records.set(handle.toString('latin1'), record);
    const name = nameIn(part);
    const owned = async (
      method: string,
      call: () => Promise<{ error?: unknown; code?: unknown; details?: unknown }>,
    ) => {
      world.worked.length = 0;
      const reply = await call();
      assert.ok(reply.error === undefined && !reply.code, `${method}: ${JSON.stringify(reply.details)}`);
      const hop = part % 3 === 0 ? undefined : 'replica-0';
      const seen = world.worked.map(({ by, hop }) => ({ by, hop }));
      assert.deepEqual(seen, [{ by: part % 3, hop: method === 'GetTaskMetrics' ? undefined : hop }], method);
    };
    const spec = createRequest({ generatedName: name });
    for (const method of ['Create', 'Do']) await owned(method, () => rawCall(client, `${SERVICE}/${method}`, spec));
    await owned('Get', () => rawCall(client, `${SERVICE}/Get`, native('GetRequest', { handle })));
    await owned('Delete', () => rawCall(client, `${SERVICE}/Delete`, native('DeleteRequest', { handle })));
    for (const protocol of [FLYTE1, FLYTE2]) {
      const path = (method: string) => `/${protocol.asyncService}/${method}`;
      const about = (method: string) => encode(protocol, `${method}Request`, { resourceMeta: handle });
      await owned('DeleteTask', () => rawCall(client, path('DeleteTask'), about('DeleteTask')));
      await owned('GetTaskMetrics', () => rawCall(client, path('GetTaskMetrics'), about('GetTaskMetrics')));
      await owned('GetTaskLogs', async () => {
        const { code, details } = await serverStream(client, path('GetTaskLogs'), about('GetTaskLogs'));
        return { code, details };
      });
      // From memory, so no use case works.
      world.worked.length = 0;
      const before = owner.tasks.peeks;
      assert.equal((await rawCall(client, path('GetTask'), about('GetTask'))).error, undefined);
      assert.ok(owner.tasks.peeks > before);
    }
    assert.equal((await rawCall(client, `${SERVICE}/Status`, native('StatusRequest', { handle }))).error, undefined);
  }
});

test('a task that Flyte begins lies by its node, in the sync service by the first message', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 3);
  for (let part = 0; part < PARTS; part++) world.gives(part, part % 3);
  const client = world.replicas[0]!.client1();
  for (let node = 0; node < 6; node++) {
    const outputPrefix = `s3://b/e/n${node}/data/0`;
    world.worked.length = 0;
    for (const protocol of [FLYTE1, FLYTE2]) {
      const reply = await rawCall(
        client,
        `/${protocol.asyncService}/CreateTask`,
        flyteCreate(protocol, { outputPrefix }),
      );
      assert.equal(reply.error, undefined);
    }
    const fields = { template: flyteTemplate(FLYTE1), outputPrefix, taskExecutionMetadata: executionMetadata(FLYTE1) };
    const header = lenField(1, encode(FLYTE1, 'CreateRequestHeader', fields));
    const { code, details } = await duplex(client, '/flyteidl.service.SyncAgentService/ExecuteTaskSync', [
      header,
      lenField(2, ''),
    ]);
    assert.equal(code ?? 0, 0, details);
    assert.equal(world.worked.length, 3);
    assert.equal(new Set(world.worked.map(({ part }) => part)).size, 1, 'attempts of one node lie in one part');
    for (const { part, by } of world.worked) assert.equal(by, part % 3);
  }
});

test('what is about no single task is answered where it is asked, and malformed bytes get their error there', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 2);
  for (let part = 0; part < PARTS; part++) world.gives(part, 1);
  const asked = world.replicas[0]!;
  assert.equal((await asked.call('ListPlugins', Buffer.alloc(0))).error, undefined);
  const direct = await world.replicas[1]!.call('Create', Buffer.from([0x0f]));
  const there = await asked.call('Create', Buffer.from([0x0f]));
  assert.equal(there.error?.details, direct.error?.details);
  assert.deepEqual(asked.codes, [], 'nothing was passed on');
});

test('a call whose part moves in its midst is made anew at the next owner, and calls about other parts go on', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 3);
  world.gives(0, 1);
  world.gives(1, 1);
  const held = new Set<string>();
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  world.during = async (part, by) => {
    held.add(`${part} at ${by}`);
    if (by === 1) await released;
  };
  const [moving, staying] = [0, 1].map((part) =>
    world.replicas[0]!.call('Create', createRequest({ generatedName: nameIn(part) })),
  );
  while (held.size < 2) await sleep(5);
  world.gives(0, 2);
  assert.equal((await moving)?.error, undefined);
  release();
  assert.equal((await staying)?.error, undefined);
  const by = world.worked.map(({ part, by }) => [part, by]).sort();
  assert.deepEqual(by, [
    [0, 2],
    [1, 1],
  ]);
});

test('a call that waits in a part which is given up here goes to the next owner, which may be this one again', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 2);
  for (const next of [1, 0]) {
    world.worked.length = 0;
    world.gives(0, 0);
    let begun = 0;
    const given = new Promise<void>((resolve) => {
      world.during = async () => {
        if (begun++ > 0) return;
        world.gives(0, undefined);
        setTimeout(resolve, 20);
      };
    });
    const call = world.replicas[0]!.call('Create', createRequest({ generatedName: nameIn(0) }));
    await given;
    world.gives(0, next);
    assert.equal((await call).error, undefined);
    assert.deepEqual(
      world.worked.map(({ by }) => by),
      [next],
    );
  }
});

test('who does not own a part refuses what was passed on to it, and never passes it on', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 3);
  world.gives(0, 2, [1, 2]);
  // It still thinks of the one before.
  world.tell(0, 0, 1);
  const call = world.replicas[0]!.call('Create', createRequest({ generatedName: nameIn(0) }));
  await sleep(350);
  assert.deepEqual(world.worked, [], 'one hop');
  world.tell(0, 0, 2);
  assert.equal((await call).error, undefined);
  assert.deepEqual(
    world.worked.map(({ by, hop }) => [by, hop]),
    [[2, 'replica-0']],
  );
});

test('two replicas that take each other for the owner of a part pass a call on once each, and answer none', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 2);
  world.tell(0, 0, 1);
  world.tell(1, 0, 0);
  const reply = await world.replicas[0]!.call('Create', createRequest({ generatedName: nameIn(0) }), {
    deadlineMs: 900,
  });
  assert.equal(reply.details?.errorInfo?.reason, 'OWNER_AWAY');
  assert.deepEqual(world.replicas[1]!.codes, [], 'it passed nothing on');
});

test('while an owner is dead only calls about its parts wait, within their deadlines', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 3);
  for (let part = 0; part < PARTS; part++) world.gives(part, 1 + (part % 2));
  const asked = world.replicas[0]!;
  assert.equal((await asked.call('Create', createRequest({ generatedName: nameIn(0) }))).error, undefined);
  await world.replicas[1]!.server.forceStop();
  const waiting = asked.call('Create', createRequest({ generatedName: nameIn(0, 'later') }));
  const refused = asked.call('Create', createRequest({ generatedName: nameIn(2) }), { deadlineMs: 700 });
  assert.equal((await asked.call('Create', createRequest({ generatedName: nameIn(1) }))).error, undefined);
  assert.ok(['OWNER_AWAY', undefined].includes((await refused).details?.errorInfo?.reason));
  assert.notEqual((await refused).error, undefined);
  world.gives(0, 2, [0, 2]);
  assert.equal((await waiting).error, undefined);
  assert.equal(world.worked.at(-1)?.by, 2);
});

test('an error of the owner that says nothing of its parts is not asked about again', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 2);
  world.gives(0, 0);
  world.gives(1, 1);
  let begun = 0;
  world.during = async () => {
    begun += 1;
    throw new HostError('TASK_UNKNOWN', 'no');
  };
  for (const part of [0, 1]) {
    const reply = await world.replicas[0]!.call('Create', createRequest({ generatedName: nameIn(part) }));
    assert.equal(reply.details?.errorInfo?.reason, 'TASK_UNKNOWN');
  }
  assert.equal(begun, 2);
});

test('connections to who owns nothing any more are closed after a rest, and one pool serves all its parts', async (t) => {
  const world = new PartedWorld(PARTS);
  const clock = new ManualClock(Date.now());
  await world.start(t, 3, clock);
  const [asked, first] = world.replicas;
  for (let part = 0; part < PARTS; part++) world.gives(part, 1);
  for (let part = 0; part < PARTS; part++) {
    for (let call = 0; call < 3; call++) {
      assert.equal((await asked!.call('Create', createRequest({ generatedName: nameIn(part) }))).error, undefined);
    }
  }
  assert.equal(first!.server.connections, 4);
  for (let part = 0; part < PARTS; part++) world.gives(part, 2);
  await clock.advance(29_000);
  // A part comes back in time.
  world.gives(0, 1);
  await clock.advance(60_000);
  await sleep(50);
  assert.equal(first!.server.connections, 4);
  world.gives(0, 2);
  await clock.advance(31_000);
  while (first!.server.connections > 0) await sleep(5);
  assert.equal((await asked!.call('Create', createRequest({ generatedName: nameIn(0) }))).error, undefined);
});

test('of a thousand calls while parts move at random each is answered once, and worked on by one owner at a time', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 3);
  for (let part = 0; part < PARTS; part++) world.gives(part, part % 3);
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((seed / 2_147_483_648) * below);
  };
  const busy = new Map<number, number>();
  world.during = async (part, by) => {
    const other = busy.get(part);
    assert.ok(other === undefined || other === by, `part ${part} at ${other} and ${by}`);
    busy.set(part, by);
    await sleep(random(8));
    if (world.truth.working[part] === 1) busy.delete(part);
  };
  let over = false;
  const moving = (async () => {
    while (!over) {
      const part = random(PARTS);
      await world.takesAway(part);
      const [to, ...tellings] = [random(3), ...[0, 1, 2].map((index) => [index, random(30)] as const)];
      world.truth.owners[part] = to;
      // Each sees it in a time of its own.
      await Promise.all(tellings.map(([index, ms]) => sleep(ms).then(() => world.tell(index, part, to))));
    }
  })();
  const answers = new Map<string, number>();
  let next = 0;
  const caller = async (index: number) => {
    const asked = world.replicas[index % 3]!;
    while (next < 1_000) {
      const name = `call-${next++}`;
      const { error, bytes } = await asked.call('Create', createRequest({ generatedName: name }));
      assert.equal(error, undefined, `${name}: ${error?.details}`);
      const { handle } = idl.codec('pluginhost.v1.CreateResponse').decode(bytes);
      assert.ok((handle as Buffer).includes(attemptKeyOf({ name, executionId: '' })), 'its own answer');
      answers.set(name, (answers.get(name) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 40 }, (_, index) => caller(index)));
  over = true;
  await moving;
  assert.equal(answers.size, 1_000);
  const worked = new Set(world.worked.map(({ name }) => name));
  assert.equal(worked.size, 1_000, 'none is lost');
  const hops = world.worked.filter(({ hop }) => hop !== undefined).length;
  assert.ok(hops > 200, `${hops} were passed on`);
});

test('a stream whose first message does not come ends at its deadline, and leaves nothing behind', async (t) => {
  const world = new PartedWorld(PARTS);
  await world.start(t, 2);
  for (let part = 0; part < PARTS; part++) world.gives(part, 1);
  const [asked] = world.replicas;
  const stream = asked!.client1().makeBidiStreamRequest(
    '/flyteidl.service.SyncAgentService/ExecuteTaskSync',
    (bytes: Buffer) => bytes,
    (bytes: Buffer) => bytes,
    new Metadata(),
    {
      deadline: Date.now() + 300,
    },
  );
  const ended = new Promise<ServiceError>((resolve) => stream.on('error', resolve));
  stream.resume();
  assert.equal((await ended).code, status.DEADLINE_EXCEEDED);
  while (asked!.server.inFlight > 0) await sleep(5);
  assert.deepEqual(asked!.faults, []);
  // One that ends without any is told what is missing.
  const { code, details } = await duplex(asked!.client1(), '/flyteidl.service.SyncAgentService/ExecuteTaskSync', []);
  assert.equal(code, status.INVALID_ARGUMENT);
  assert.match(details, /^header: the stream ended before it/);
});
