import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import fc from 'fast-check';
import { isPluginError } from '../../src/plugin-api/errors.js';
import { createHttpClient } from '../../src/plugin-api/http/client.js';
import { makeCertificate } from '../support/certificates.js';
import { tempFolder } from '../support/temp.js';
import { rawRemote, remote } from './http-remote.js';

const call = {};

test('a private authority and a client certificate are taken from files, and nothing is sent without them', async (t) => {
  const authority = makeCertificate({ name: 'authority', authority: true });
  const [server, mine] = ['server', 'client'].map((name) => makeCertificate({ name, by: authority }));
  const https = createHttps({ ...server, ca: authority.cert, requestCert: true, rejectUnauthorized: true }, (_q, s) =>
    s.end('{}'),
  );
  await new Promise<void>((resolve) => https.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    https.closeAllConnections();
    https.close();
  });
  const baseUrl = `https://127.0.0.1:${(https.address() as AddressInfo).port}`;
  const folder = tempFolder(t);
  const file = (name: string, text = '') => {
    const target = path.join(folder, name);
    writeFileSync(`${target}.new`, text);
    renameSync(`${target}.new`, target);
    return target;
  };
  const tls = {
    caFile: file('ca.pem', authority.cert),
    certFile: file('cert.pem', mine?.cert),
    keyFile: file('key.pem', mine?.key),
  };
  const trusted = createHttpClient({ baseUrl, proxy: 'none', tls });
  t.after(() => trusted.close());
  assert.deepEqual(await trusted.get(call, '/'), {});

  const stranger = createHttpClient({ baseUrl, proxy: 'none' });
  t.after(() => stranger.close());
  await assert.rejects(stranger.post(call, '/', { json: {} }), { kind: 'transient', notCreated: true });
  const absent = createHttpClient({ baseUrl, proxy: 'none', tls: { caFile: path.join(folder, 'none.pem') } });
  await assert.rejects(
    absent.get(call, '/'),
    (error: Error) => isPluginError(error) && /none\.pem/.test(error.message),
  );
});

test('requests go through the proxy that the options or the environment name, and past it where they say so', async (t) => {
  const target = await remote(t, (_request, response) => response.end('{"direct":true}'));
  const proxy = await remote(t, (_request, response) => response.end('{"proxied":true}'));
  const through = createHttpClient({ baseUrl: target.url, proxy: { url: proxy.url } });
  const past = createHttpClient({ baseUrl: target.url, proxy: { url: proxy.url, noProxy: '127.0.0.1' } });
  t.after(() => Promise.all([through.close(), past.close()]));
  assert.deepEqual(await through.get(call, '/jobs'), { proxied: true });
  assert.equal(proxy.seen[0]?.url, `${target.url}/jobs`);
  assert.deepEqual(await past.get(call, '/jobs'), { direct: true });
});

/** What a server may do with a request, as bytes. */
const hostileAnswer = fc.record({
  line: fc.oneof(
    fc.integer({ min: 100, max: 999 }).map((status) => `HTTP/1.1 ${status} x`),
    fc.constantFrom('HTTP/1.1 200', 'HTTP/9.9 200 OK', 'SSH-2.0-x', '', 'HTTP/1.1 2000 OK'),
  ),
  headers: fc.array(
    fc.oneof(
      fc.constantFrom(
        'content-length: 5',
        'content-length: 0',
        'content-length: -1',
        'content-length: 99999',
        'transfer-encoding: chunked',
        'content-type: application/json',
        'content-type: text/html',
        'content-encoding: gzip',
        'retry-after: Wed, 99 Foo 2015',
        'location: http://[',
        'location: /next',
        'x-ratelimit-remaining: 0',
        'connection: close',
      ),
      fc.string({ maxLength: 40 }),
    ),
    { maxLength: 5 },
  ),
  body: fc.oneof(fc.json({ maxDepth: 2 }), fc.string({ maxLength: 60 }), fc.constant('5\r\n{"a"\r\n'), fc.constant('')),
  end: fc.constantFrom('end', 'reset', 'stay'),
});

test('whatever a hostile server answers, an error of the contract or an answer comes out, and nothing stays open', async (t) => {
  let answer = '';
  let end = 'end';
  let open = 0;
  const baseUrl = await rawRemote(t, (socket) => {
    open += 1;
    socket.on('close', () => {
      open -= 1;
    });
    socket.on('data', () => {
      socket.write(answer, () => {
        if (end === 'end') socket.end();
        if (end === 'reset') socket.resetAndDestroy();
      });
    });
  });
  await fc.assert(
    fc.asyncProperty(hostileAnswer, fc.constantFrom('GET', 'POST', 'DELETE'), async (hostile, method) => {
      answer = `${hostile.line}\r\n${hostile.headers.join('\r\n')}\r\n\r\n${hostile.body}`;
      end = hostile.end;
      const api = createHttpClient({ baseUrl, proxy: 'none', timeoutMs: 150, maxBytes: 1_000 });
      try {
        const { status } = await api.request(call, method as 'GET', '/');
        assert.ok(status >= 200 && status < 300);
      } catch (error) {
        assert.ok(isPluginError(error), `${error}`);
        assert.ok(error.message.length < 2_000);
      } finally {
        await api.close();
      }
    }),
    { numRuns: 150 },
  );
  for (let i = 0; open > 0 && i < 200; i++) await wait(10);
  assert.equal(open, 0);
});

test('a server that accepts and says nothing, or speaks byte by byte, costs the time-out and no socket', async (t) => {
  const baseUrl = await rawRemote(t, (socket, index) => {
    if (index === 0) return;
    const drip = setInterval(() => socket.write('H'), 20);
    socket.on('close', () => clearInterval(drip));
  });
  const api = createHttpClient({ baseUrl, proxy: 'none', timeoutMs: 200 });
  t.after(() => api.close());
  for (let i = 0; i < 2; i++) await assert.rejects(api.get(call, '/'), { kind: 'transient' });
  const probe = connect(Number(new URL(baseUrl).port), '127.0.0.1');
  probe.destroy();
});
