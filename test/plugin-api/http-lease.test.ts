import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createHttpClient } from '../../src/plugin-api/http/client.js';
import { LeasedCall, ToldLease } from '../../src/sandbox/lease.js';
import { remote } from './http-remote.js';

/** A call under a lease that ends at 2000. */
function makeCall() {
  const clock = { ms: 1_000 };
  const lease = new ToldLease(() => clock.ms);
  lease.told(2_000);
  const controller = new AbortController();
  const leased = new LeasedCall(lease, controller);
  const isNotSent = () => {
    const outcome = leased.outcome({ ok: false, failure: {} as never });
    return !outcome.ok && outcome.failure.notCreated === true;
  };
  return { clock, call: { signal: controller.signal }, isNotSent };
}

const LAPSED = { kind: 'transient', code: 'LEASE_LAPSED' };

test('a request of which the lease ended while its credential was fetched does not leave', async (t) => {
  const { url, seen } = await remote(t, (_request, response) => response.end('{}'));
  const { clock, call, isNotSent } = makeCall();
  const bearer = () => {
    clock.ms = 2_000;
    return 'a-token';
  };
  const api = createHttpClient({ baseUrl: url, proxy: 'none', auth: { bearer } });
  t.after(() => api.close());
  await assert.rejects(api.post(call, '/jobs', { json: {} }), LAPSED);
  assert.deepEqual(seen, []);
  assert.ok(isNotSent());
});

test('a request of which the lease ended while it waited for a connection does not leave, and another call’s does', async (t) => {
  const held: (() => void)[] = [];
  const { url, seen } = await remote(t, (_request, response) => void held.push(() => response.end('{}')));
  const api = createHttpClient({ baseUrl: url, proxy: 'none', connections: 1 });
  t.after(() => api.close());
  const [first, second, third] = [makeCall(), makeCall(), makeCall()];
  const answers = [
    api.post(first.call, '/first'),
    api.post(second.call, '/second'),
    api.post(third.call, '/third'),
  ] as const;
  const ends = Promise.allSettled(answers);
  while (held.length === 0) await new Promise((resolve) => setImmediate(resolve));
  second.clock.ms = 2_000;
  held.shift()?.();
  await assert.rejects(answers[1], LAPSED);
  while (held.length === 0) await new Promise((resolve) => setImmediate(resolve));
  held.shift()?.();
  assert.deepEqual(
    (await ends).map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.deepEqual(
    seen.map((one) => one.url),
    ['/first', '/third'],
  );
  assert.deepEqual(
    [first, second, third].map((one) => one.isNotSent()),
    [false, true, false],
  );
});

test('neither a redirect nor the repeat of a request whose connection broke leaves past the lease', async (t) => {
  const calls = { '/moved': makeCall(), '/cut': makeCall() };
  const { url, seen } = await remote(t, ({ url: path }, response) => {
    calls[path as keyof typeof calls].clock.ms = 2_000;
    if (path === '/cut') response.destroy();
    else response.writeHead(307, { location: '/elsewhere' }).end();
  });
  const api = createHttpClient({ baseUrl: url, proxy: 'none' });
  t.after(() => api.close());
  for (const [path, { call, isNotSent }] of Object.entries(calls)) {
    await assert.rejects(api.get(call, path), LAPSED);
    assert.ok(!isNotSent(), 'the first request left');
  }
  assert.deepEqual(
    seen.map((one) => one.url),
    ['/moved', '/cut'],
  );
});

test('what is asked and answered under a lease is what is asked without one', async (t) => {
  const { url, seen } = await remote(t, ({ body }, response) => {
    response.writeHead(200, { 'x-one': 'a', 'content-type': 'application/json' });
    response.end(body);
  });
  const api = createHttpClient({ baseUrl: url, proxy: 'none' });
  t.after(() => api.close());
  const json = { text: 'é', many: 'x'.repeat(200_000) };
  const [plain, leased] = [
    await api.request({}, 'POST', '/echo', { json }),
    await api.request(makeCall().call, 'POST', '/echo', { json }),
  ];
  const { date: _, ...headers } = leased.headers;
  const { date: __, ...expected } = plain.headers;
  assert.deepEqual([leased.status, headers, leased.body], [plain.status, expected, json]);
  assert.deepEqual(seen[1], { ...seen[0], headers: seen[1]?.headers });
});
