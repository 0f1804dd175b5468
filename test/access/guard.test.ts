import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { CallGuard, type Need } from '../../src/access/guard.js';
import { Guesses } from '../../src/access/guesses.js';
import { networkOf, type Peer } from '../../src/access/peer.js';
import { TokenWatch } from '../../src/access/token-watch.js';
import { Tokens } from '../../src/access/tokens.js';
import { needOf } from '../../src/daemon/needs.js';
import { HostError } from '../../src/errors/index.js';
import { loadFlyteidl2, loadPluginHost } from '../../src/idl/load.js';
import { ManualClock } from '../../src/lib/clock.js';
import { RIGHTS } from '../../src/model/access.js';
import { createFlyteServices } from '../../src/rpc/flyte/services.js';
import { createNativeService, NATIVE_BOUNDS } from '../../src/rpc/native/service.js';
import { FakeTasks } from '../rpc/fake-tasks.js';
import { DEFAULT_FIELD_LIMITS } from '../support/defaults.js';
import { tempFolder } from '../support/temp.js';
import { noteAccess } from './support.js';

const HERE: Peer = { address: '127.0.0.1', names: [], refusal: undefined };
const ENGINE: Peer = { address: '10.0.0.1', names: ['CN=engine'], refusal: undefined };
const OUTSIDE: Peer = { address: '10.0.0.9', names: [], refusal: { reason: 'plaintext', message: 'plain text' } };
const token = (name: string) => `${name}-0123456789abcdef`;

function guardOf(needs: (path: string) => Need = () => 'run') {
  const events = noteAccess();
  const tokens = new Tokens(
    RIGHTS.map((right) => ({ token: token(right), caller: { name: `may-${right}`, may: [right] } })),
  );
  let nowMs = 0;
  const guard = new CallGuard({ port: 'grpc', needs, tokens: () => tokens, events, now: () => nowMs });
  const seen = (need: Need, authorization: string | undefined, peer: Peer | undefined = HERE) => {
    const { denied, by } = guard.admit(need, authorization, peer);
    return denied?.code ?? `by ${by}`;
  };
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { guard, events, seen, pass };
}

test('a token is good for the rights that it has, and for no other', () => {
  const { seen } = guardOf();
  for (const has of RIGHTS) {
    for (const need of RIGHTS) {
      assert.equal(
        seen(need, `Bearer ${token(has)}`),
        has === need ? `by may-${has}` : 'TOKEN_MAY_NOT',
        `${has} ${need}`,
      );
    }
  }
});

test('what is no bearer token of ours opens nothing, and what is open to all needs none', () => {
  const { seen, pass } = guardOf();
  const right = token('run');
  for (const header of [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    right,
    `Basic ${right}`,
    `Bearer ${right}x`,
    `Bearer ${right.slice(1)}`,
    `Bearer ${right} ${right}`,
    `Bearer ${right.toUpperCase()}`,
  ]) {
    assert.equal(seen('run', header), 'TOKEN_WRONG', String(header));
    assert.equal(seen('all', header), 'by ');
    assert.equal(seen('peer', header), 'by ');
    pass(60_000);
  }
  assert.equal(seen('run', `bearer ${right}`), 'by may-run');
});

test('who may not come in is refused before its token is looked at, and is answered what is open to all', () => {
  const { seen, events } = guardOf();
  assert.equal(seen('run', `Bearer ${token('run')}`, OUTSIDE), 'PLAINTEXT_REFUSED');
  assert.equal(seen('peer', undefined, OUTSIDE), 'PLAINTEXT_REFUSED');
  assert.equal(seen('all', undefined, OUTSIDE), 'by ');
  assert.equal(
    new CallGuard({ port: 'grpc', needs: () => 'peer', events }).check('/a', undefined, undefined).denied?.code,
    'CERTIFICATE_REFUSED',
  );
});

test('without tokens a caller is known by its certificate', () => {
  const guard = new CallGuard({ port: 'grpc', needs: () => 'run', events: noteAccess() });
  assert.equal(guard.check('/a', undefined, ENGINE).by, 'CN=engine');
  assert.equal(guard.check('/a', 'Bearer whatever', HERE).by, '');
});

test('an address that guesses has ten tries and then one in two seconds, and locks out neither others nor who came in before', () => {
  const { seen, pass, events } = guardOf();
  const good = `Bearer ${token('run')}`;
  assert.equal(seen('run', good), 'by may-run');
  for (let i = 0; i < 10; i++) assert.equal(seen('run', `Bearer guess-${i}`), 'TOKEN_WRONG');
  assert.equal(seen('run', 'Bearer guess-10'), 'TOKEN_GUESSES');
  assert.equal(seen('read', `Bearer ${token('read')}`), 'TOKEN_GUESSES', 'a right guess is none the wiser');
  assert.equal(seen('run', good), 'by may-run');
  assert.equal(seen('read', `Bearer ${token('read')}`, ENGINE), 'by may-read');
  // The same mistake again is no further guess.
  for (let i = 0; i < 30; i++) assert.equal(seen('run', 'Bearer guess-9'), 'TOKEN_WRONG');
  pass(1_999);
  assert.equal(seen('run', 'Bearer guess-11'), 'TOKEN_GUESSES');
  pass(1);
  assert.equal(seen('run', 'Bearer guess-12'), 'TOKEN_WRONG');
  assert.equal(seen('run', 'Bearer guess-13'), 'TOKEN_GUESSES');
  assert.ok(events.told.includes('refused grpc guesses') && events.told.includes('refused grpc wrong_token'));
});

test('what is remembered of addresses and tokens is bounded', () => {
  const good = new Set(Array.from({ length: 20 }, (_, i) => `good-${i}`));
  const guesses = new Guesses(
    () => 0,
    (one) => good.has(one),
  );
  for (let i = 0; i < 10; i++) guesses.wrong('first', `wrong-${i}`);
  assert.ok(guesses.waitMs('first', 'x') > 0);
  for (let i = 0; i < 10_000; i++) guesses.wrong(`other-${i}`, 'wrong');
  assert.equal(guesses.waitMs('first', 'x'), 0);
  for (const one of good) guesses.right('a', one);
  for (let i = 0; i < 10; i++) guesses.wrong('a', `wrong-${i}`);
  for (const one of good) assert.equal(guesses.waitMs('a', one), 0, one);
  good.delete('good-3');
  good.add('good-20');
  guesses.right('a', 'good-20');
  assert.ok(guesses.waitMs('a', 'good-3') > 0, 'what is good no more is forgotten');
  for (const one of good) assert.equal(guesses.waitMs('a', one), 0, one);
});

test('an address that came in lately is not forgotten for many others that guess', () => {
  const guesses = new Guesses(
    () => 0,
    () => true,
  );
  guesses.right('honest', 'good');
  for (let i = 0; i < 10; i++) guesses.wrong('honest', `wrong-${i}`);
  for (let i = 0; i < 12_000; i++) {
    guesses.wrong(`other-${i}`, 'wrong');
    if (i % 1_000 === 0) guesses.right('honest', 'good');
  }
  assert.equal(guesses.waitMs('honest', 'good'), 0);
});

test('whoever holds a /64 of IPv6 guesses as one, and an IPv4 address within IPv6 as that address', () => {
  const { seen } = guardOf();
  const from = (address: string) => seen('run', `Bearer guess-${address}`, { ...HERE, address });
  for (let i = 0; i < 10; i++) assert.equal(from(`2001:db8:0:7::${i.toString(16)}`), 'TOKEN_WRONG');
  assert.equal(from('2001:DB8:0:7:1:2:3:4'), 'TOKEN_GUESSES');
  assert.equal(from('2001:db8:0:8::1'), 'TOKEN_WRONG');
  for (let i = 0; i < 10; i++)
    assert.equal(seen('run', `Bearer guess-${i}`, { ...HERE, address: '::ffff:10.0.0.7' }), 'TOKEN_WRONG');
  assert.equal(from('10.0.0.7'), 'TOKEN_GUESSES');
  assert.equal(from('::ffff:10.0.0.8'), 'TOKEN_WRONG');
  for (const [address, network] of [
    ['10.0.0.1', '10.0.0.1'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['1::', '1:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['1:2::3:4:5:6:7', '1:2:0:3::/64'],
    ['1:2:3:4:5:6:7::', '1:2:3:4::/64'],
    ['64:ff9b::1.2.3.4', '64:ff9b:0:0::/64'],
    ['', ''],
  ] as const) {
    assert.equal(networkOf(address), network, address);
  }
});

test('every method of every service has the right that it needs, and health none', () => {
  const tasks = new FakeTasks();
  const limits = DEFAULT_FIELD_LIMITS;
  const flyte = createFlyteServices({
    tasks,
    limits,
    flyteidl: loadPluginHost(),
    flyteidl2: loadFlyteidl2(),
    maxStalenessMs: 0,
  });
  const native = createNativeService({ tasks, idl: loadPluginHost(), limits, ...NATIVE_BOUNDS });
  const needs = [native, ...flyte].flatMap(({ definition }) =>
    Object.values(definition).map(({ path: method }) => [method, needOf(method, true), needOf(method, false)] as const),
  );
  const running = needs.filter(([, need]) => need === 'run').map(([method]) => method.replace(/^.*\//, ''));
  assert.deepEqual([...new Set(running)].sort(), [
    'Create',
    'CreateTask',
    'Delete',
    'DeleteTask',
    'Do',
    'ExecuteTaskSync',
  ]);
  assert.ok(needs.every(([, need]) => need === 'read' || need === 'run'));
  for (const [method, , without] of needs) {
    assert.equal(without === 'peer', !method.startsWith('/pluginhost.v1.'), method);
  }
  assert.equal(needOf('/grpc.health.v1.Health/Check', true), 'all');
  assert.equal(needOf('/grpc.health.v1.Health/Watch', true), 'all');
  assert.equal(needOf('/pluginhost.v1.PluginHost/Unknown', false), 'run');
});

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; !holds(); i++) {
    assert.ok(i < 100_000, 'it never came to that');
    await turn();
  }
}

test('files of tokens are taken up as they change, each line is good, and one that cannot be used leaves what it held', async (t) => {
  const folder = tempFolder(t);
  const clock = new ManualClock(0);
  const events = noteAccess();
  let masked: readonly string[] = [];
  const file = (name: string) => path.join(folder, name);
  writeFileSync(file('a'), `${token('a1')}\n`);
  // With the marks of an editor on Windows.
  writeFileSync(file('b'), `\ufeff${token('b1')}\r\n\n${token('b2')}\n`);
  const files = [
    { name: 'a', file: file('a'), may: ['run'] as const },
    { name: 'b', file: file('b'), may: ['read'] as const },
  ];
  const watch = new TokenWatch({ files, clock, events, mask: (good) => (masked = good) });
  await watch.start();
  t.after(() => watch.stop());
  const who = (name: string) => watch.tokens.callerOf(token(name))?.name;
  const look = async (expected: number) => {
    await clock.advance(10_000);
    await until(() => clock.pending > 0);
    // What has changed is looked at again.
    await clock.advance(1_000);
    await until(() => clock.pending > 0 && events.told.length >= expected);
  };
  assert.deepEqual([who('a1'), who('b1'), who('b2'), who('c')], ['a', 'b', 'b', undefined]);
  assert.deepEqual(masked, ['a1', 'b1', 'b2'].map(token));
  writeFileSync(file('a'), `${token('a2')}\n${token('a1')}\n`);
  rmSync(file('b'));
  await look(3);
  assert.deepEqual([who('a2'), who('a1'), who('b1')], ['a', 'a', 'b']);
  writeFileSync(file('a'), `${token('a2')}\n`);
  writeFileSync(file('b'), `${token('a2')}\n`);
  await look(5);
  assert.deepEqual([who('a2'), who('a1'), who('b1')], ['a', undefined, 'b'], 'one token has one name');
  assert.deepEqual(masked, ['a2', 'b1', 'b2'].map(token));
  assert.ok(events.told.some((line) => /^tokensKept .*b of tokens\.b: ENOENT/.test(line)));
  assert.ok(events.told.every((line) => !line.includes('0123456789abcdef')));
});

test('a file of tokens that is being written is taken when a second look finds the same, and no part of it before', async (t) => {
  const file = path.join(tempFolder(t), 'a');
  const clock = new ManualClock(0);
  const events = noteAccess();
  const [old, next] = [token('old'), token('next')];
  writeFileSync(file, old);
  const watch = new TokenWatch({ files: [{ name: 'a', file, may: ['run'] }], clock, events, mask: () => {} });
  await watch.start();
  t.after(() => watch.stop());
  const after = async (ms: number, text: string) => {
    writeFileSync(file, text);
    await clock.advance(ms);
    await until(() => clock.pending > 0);
  };
  await after(10_000, next.slice(0, 17));
  await after(1_000, next.slice(0, 19));
  await after(1_000, next);
  assert.deepEqual(events.told, ['tokens a']);
  assert.equal(watch.tokens.callerOf(old)?.name, 'a');
  await after(1_000, next);
  assert.deepEqual(events.told, ['tokens a', 'tokens a']);
  assert.deepEqual([watch.tokens.callerOf(old), watch.tokens.callerOf(next)?.name], [undefined, 'a']);
  // From there on it is looked at as rarely as before.
  await after(9_999, old);
  await after(1, old);
  assert.equal(watch.tokens.callerOf(old), undefined);
  await after(1_000, old);
  assert.equal(watch.tokens.callerOf(old)?.name, 'a');
});

test('a start with a file of tokens that cannot be used fails, and says which and how, but nothing of a token', async (t) => {
  const folder = tempFolder(t);
  const file = path.join(folder, 'tokens');
  const start = () => {
    const files = [{ name: 'ops', file, may: ['run'] as const }];
    return new TokenWatch({ files, clock: new ManualClock(0), events: noteAccess(), mask: () => {} }).start();
  };
  for (const [text, message] of [
    [undefined, /tokens of tokens\.ops: ENOENT/],
    ['', /holds no token/],
    ['short-secret', /a line of it is no token/],
    [`${token('a')} with blanks`, /a line of it is no token/],
    [Array.from({ length: 11 }, (_, i) => token(`t${i}`)).join('\n'), /holds 11 tokens/],
  ] as const) {
    if (text !== undefined) writeFileSync(file, text);
    await assert.rejects(start(), (error) => {
      assert.ok(HostError.is(error) && error.code === 'TOKENS_UNREADABLE');
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /0123456789abcdef|short-secret/);
      return true;
    });
  }
});
