import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { LimitsLinks } from '../../src/cluster/limits-link.js';
import { needOf } from '../../src/daemon/needs.js';
import { systemClock } from '../../src/lib/clock.js';
import { HOP } from '../../src/model/forwarding.js';
import { LINK_TO, REPLICA_LINK_PATH } from '../../src/model/replica-link.js';
import { createReplicaLinkService } from '../../src/rpc/replica-link.js';
import type { MemberRow } from '../../src/state/index.js';
import { startServer } from '../rpc/support.js';

const BOUND = { timeout: 60_000 };
const BAD = 'no sense';

function row(epoch: string, address: string | undefined): MemberRow {
  return { epoch, name: epoch, address, version: '1', counter: '1', joinedAtMs: 0, ownsSinceMs: undefined };
}

async function until(what: () => boolean): Promise<void> {
  while (!what()) await sleep(5);
}

/** A member with a gRPC port of its own, and what came to it. */
async function startMember(t: TestContext, epoch: string) {
  const came: string[] = [];
  const told: string[] = [];
  const links = new LimitsLinks({
    epoch,
    clock: systemClock,
    random: () => 0.5,
    receive: (from, message) => {
      if (message.toString() === BAD) throw new Error('odd');
      came.push(`${from}: ${message}`);
    },
    events: {
      opened: (member) => told.push(`opened ${member}`),
      broke: (member, { code }) => told.push(`broke ${member} ${code}`),
    },
  });
  const server = await startServer(t, { services: [createReplicaLinkService(links)] });
  t.after(() => links.close());
  return { links, came, told, ...server, member: row(epoch, server.address) };
}

/** Sends until it comes, since what is sent before there is a stream is lost. */
async function sendsTo(from: { links: LimitsLinks }, to: { came: string[]; member: MemberRow }, text: string) {
  const before = to.came.length;
  const timer = setInterval(() => from.links.send(to.member.epoch, Buffer.from(text)), 20);
  await until(() => to.came.length > before);
  clearInterval(timer);
  // What was sent twice meanwhile.
  await sleep(50);
}

test('two members have one stream, on which either says what it likes, in order', BOUND, async (t) => {
  const [a, b] = [await startMember(t, 'a'), await startMember(t, 'b')];
  const members = [a.member, b.member];
  assert.equal(a.links.send('b', Buffer.from('early')), false);
  for (const { links } of [a, b]) links.members(members);
  await sendsTo(a, b, 'hello');
  await sendsTo(b, a, 'hello');
  assert.deepEqual([a.server.openStreams, b.server.openStreams], [0, 1]);
  b.came.length = 0;
  for (let i = 0; i < 1_000; i++) assert.ok(a.links.send('b', Buffer.from(`${i}`)));
  await until(() => b.came.length === 1_000);
  assert.deepEqual(
    b.came,
    Array.from({ length: 1_000 }, (_, i) => `a: ${i}`),
  );
  assert.equal(a.links.send('b', Buffer.alloc(5 * 1024 * 1024)), false, 'what is too large is lost, and told so');
  assert.equal(a.links.send('c', Buffer.from('nobody')), false);
  await until(() => a.told.length === 1);
  assert.deepEqual([a.told, b.told], [['opened b'], ['opened a']]);
});

test(
  'a stream that breaks, is full of nonsense, or whose member went is opened anew while that member is there',
  BOUND,
  async (t) => {
    const [a, b] = [await startMember(t, 'a'), await startMember(t, 'b')];
    for (const { links } of [a, b]) links.members([a.member, b.member]);
    await sendsTo(a, b, 'one');
    await sendsTo(b, a, 'one');
    a.links.send('b', Buffer.from(BAD));
    await until(() => a.told.includes('broke b OWNER_AWAY'));
    await sendsTo(a, b, 'two');
    await sendsTo(b, a, 'two');
    b.links.send('a', Buffer.from(BAD));
    await until(() => a.told.includes('broke b REQUEST_UNDECODABLE'));
    await sendsTo(b, a, 'three');
    // To b it is gone, and then there again.
    b.links.members([b.member]);
    await until(() => b.server.openStreams === 0);
    b.links.members([a.member, b.member]);
    await sendsTo(a, b, 'four');
    a.links.members([a.member]);
    await until(() => b.server.openStreams === 0);
    assert.equal(a.links.send('b', Buffer.from('gone')), false);
  },
);

test(
  'one that came to the address of another keeps its stream while that one is not forgotten yet',
  BOUND,
  async (t) => {
    const [a, c] = [await startMember(t, 'a'), await startMember(t, 'c')];
    const members = [a.member, row('b', c.address), c.member];
    for (const { links } of [a, c]) links.members(members);
    await sendsTo(a, c, 'one');
    // Streams for the other one are tried every 100 ms or so.
    for (let i = 0; i < 50; i++) {
      assert.ok(a.links.send('c', Buffer.from(`${i}`)));
      assert.ok(c.links.send('a', Buffer.from(`${i}`)));
      await sleep(20);
    }
    await until(() => c.came.at(-1) === 'a: 49' && a.came.at(-1) === 'c: 49');
    assert.deepEqual([a.told.filter((each) => / c\b/.test(each)), c.told], [['opened c'], ['opened a']]);
    assert.deepEqual(
      [a.links.send('b', Buffer.from('late')), a.came.length, c.came.slice(-50).length],
      [false, 50, 50],
    );
  },
);

test(
  'whoever is no replica, or opens what is not its to open, is refused, and nothing names the method',
  BOUND,
  async (t) => {
    const [a, b] = [await startMember(t, 'a'), await startMember(t, 'b')];
    b.links.members([a.member, b.member]);
    const refusal = (hop: string | undefined, server: typeof a) =>
      new Promise<string>((resolve) => {
        const metadata = new Metadata();
        if (hop !== undefined) metadata.set(HOP, hop);
        metadata.set(LINK_TO, server.member.epoch);
        const same = (bytes: Buffer) => bytes;
        const stream = server.raw().makeBidiStreamRequest(REPLICA_LINK_PATH, same, same, metadata, {});
        stream.on('data', () => {});
        stream.on('error', ({ details }: ServiceError) => resolve(details));
      });
    assert.match(await refusal(undefined, b), /does not come from a replica/);
    assert.match(await refusal('z', b), /does not come from a replica/);
    a.links.members([a.member, b.member]);
    assert.match(await refusal('b', a), /whose epoch is lower opens/);
    assert.deepEqual([needOf(REPLICA_LINK_PATH, true), a.came, b.came], ['peer', [], []]);
  },
);

test(
  'a member counts those with whom it has a stream, and those with whom it has none, on both ends',
  BOUND,
  async (t) => {
    const [a, b] = [await startMember(t, 'a'), await startMember(t, 'b')];
    const nowhere = row('c', '127.0.0.1:1');
    assert.deepEqual(a.links.counts, { up: 0, down: 0 });
    a.links.members([a.member, b.member, nowhere]);
    assert.deepEqual(a.links.counts, { up: 0, down: 2 });
    b.links.members([a.member, b.member]);
    const ups = () => [a.links.counts.up, b.links.counts.up];
    await until(() => ups().join() === '1,1');
    assert.deepEqual([a.links.counts.down, b.links.counts.down], [1, 0]);
    // One that was never there may come soon.
    await sleep(300);
    assert.deepEqual(a.told, ['opened b']);
    a.links.members([a.member, nowhere]);
    await until(() => ups().join() === '0,0');
    assert.deepEqual(
      [a.links.counts, b.links.counts],
      [
        { up: 0, down: 1 },
        { up: 0, down: 1 },
      ],
    );
  },
);
