import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import fc from 'fast-check';
import { isPluginError } from '../../src/plugin-api/errors.js';
import { createHttpClient } from '../../src/plugin-api/http/client.js';
import { type Certificate, makeCertificate } from '../support/certificates.js';
import { tempFolder } from '../support/temp.js';
import { closedPort, rawRemote, remote } from './http-remote.js';

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

/** A TLS server with this certificate, asked by a client that trusts `ca`; answers what came of a POST. */
async function askedOverTls(t: TestContext, server: Certificate, ca: string, host = '127.0.0.1'): Promise<unknown> {
  const https = createHttps(server, (_request, response) => response.end('{}'));
  await new Promise<void>((resolve) => https.listen(0, '127.0.0.1', resolve));
  const baseUrl = `https://${host}:${(https.address() as AddressInfo).port}`;
  const api = createHttpClient({ baseUrl, proxy: 'none', tls: { ca } });
  t.after(() => {
    https.closeAllConnections();
    https.close();
    return api.close();
  });
  return api.post(call, '/jobs', { json: {} }).catch((error: unknown) => error);
}

test('a server whose certificate is not to be trusted is told by why, and nothing was created there', async (t) => {
  const authority = makeCertificate({ name: 'authority', authority: true });
  const stranger = makeCertificate({ name: 'stranger', authority: true });
  const good = makeCertificate({ name: 'server', by: authority });
  assert.deepEqual(await askedOverTls(t, good, authority.cert), {});
  const cases: [unknown, RegExp][] = [
    [
      await askedOverTls(t, good, stranger.cert),
      /UNABLE_TO_VERIFY_LEAF_SIGNATURE|unable to (get local issuer|verify)/i,
    ],
    [await askedOverTls(t, makeCertificate({ name: 'server' }), authority.cert), /self.signed/i],
    [
      await askedOverTls(
        t,
        makeCertificate({ name: 'server', by: authority, fromDays: -9, untilDays: -1 }),
        authority.cert,
      ),
      /expired/,
    ],
    [
      await askedOverTls(t, makeCertificate({ name: 'server', by: authority, fromDays: 1 }), authority.cert),
      /not yet valid|CERT_NOT_YET_VALID/,
    ],
    // Any other name of loopback will do.
    [await askedOverTls(t, good, authority.cert, '127.0.0.2'), /altnames|ALTNAME|ECONNREFUSED/],
  ];
  const plain = await remote(t, (_request, response) => response.end('{}'));
  const toPlain = createHttpClient({ baseUrl: plain.url.replace('http:', 'https:'), proxy: 'none' });
  t.after(() => toPlain.close());
  cases.push([
    await toPlain.post(call, '/jobs').catch((error: unknown) => error),
    /wrong version number|packet length/i,
  ]);
  for (const [error, says] of cases) {
    assert.ok(isPluginError(error), `${says}: ${error}`);
    assert.deepEqual([error.kind, (error as { notCreated?: boolean }).notCreated], ['transient', true], error.message);
    assert.match(error.message, says);
  }
});

test('a name of another host in a certificate is refused', async (t) => {
  const authority = makeCertificate({ name: 'authority', authority: true });
  const other = makeCertificate({
    name: 'server',
    by: authority,
    altNames: [{ type: 2, value: 'elsewhere.example.com' }],
  });
  const error = await askedOverTls(t, other, authority.cert);
  assert.ok(isPluginError(error));
  assert.match(error.message, /altnames|ALTNAME/);
  assert.equal((error as { notCreated?: boolean }).notCreated, true);
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

test('each form of NO_PROXY is understood: names, suffixes, ports, networks, everything', async (t) => {
  const target = await remote(t, (_request, response) => response.end('"straight"'));
  const proxy = await remote(t, (_request, response) => response.end('"through"'));
  const port = new URL(target.url).port;
  const asked = async (noProxy: string) => {
    const api = createHttpClient({ baseUrl: target.url, proxy: { url: proxy.url, noProxy } });
    t.after(() => api.close());
    return api.get(call, '/');
  };
  const straight = [
    '*',
    '127.0.0.1',
    `127.0.0.1:${port}`,
    'x.example.com, 127.0.0.1',
    'a 127.0.0.1 b',
    '127.0.0.0/8',
    '10.0.0.0/8,127.0.0.1/32',
  ];
  const through = ['', '127.0.0.1:1', '10.0.0.0/8', '.example.com', '128.0.0.0/8', '127.0.0.0/99', '::1/128', 'not/8'];
  for (const form of straight) assert.equal(await asked(form), 'straight', form);
  for (const form of through) assert.equal(await asked(form), 'through', form);
});

test('the environment names the proxy, in capitals or not, and networks past it', async (t) => {
  const target = await remote(t, (_request, response) => response.end('"straight"'));
  const proxy = await remote(t, (_request, response) => response.end('"through"'));
  const names = ['http_proxy', 'HTTP_PROXY', 'no_proxy', 'NO_PROXY'];
  const before = names.map((name): [string, string | undefined] => [name, process.env[name]]);
  const set = (values: Record<string, string | undefined>) => {
    for (const name of names) {
      if (values[name] === undefined) delete process.env[name];
      else process.env[name] = values[name];
    }
  };
  t.after(() => set(Object.fromEntries(before)));
  const asked = async (values: Record<string, string>) => {
    set(values);
    const api = createHttpClient({ baseUrl: target.url });
    t.after(() => api.close());
    return api.get(call, '/');
  };
  assert.equal(await asked({}), 'straight');
  assert.equal(await asked({ HTTP_PROXY: proxy.url }), 'through');
  assert.equal(await asked({ http_proxy: proxy.url }), 'through');
  assert.equal(await asked({ HTTP_PROXY: proxy.url, NO_PROXY: '127.0.0.0/8' }), 'straight');
  assert.equal(await asked({ http_proxy: proxy.url, no_proxy: 'example.com' }), 'through');
});

test('a proxy that is away, wants a password or makes no tunnel has created nothing, and its password is not told', async (t) => {
  const refusing = await remote(t, (_request, response) => response.writeHead(407).end());
  refusing.server.on('connect', (_request, socket) => socket.end('HTTP/1.1 403 Forbidden\r\n\r\n'));
  const away = `http://me:hush-hush@127.0.0.1:${await closedPort()}`;
  const refused = refusing.url.replace('http://', 'http://me:hush-hush@');
  for (const [baseUrl, url] of [
    ['http://remote.example.com', away],
    ['https://remote.example.com', away],
    ['http://remote.example.com', refused],
    ['https://remote.example.com', refused],
  ] as const) {
    const api = createHttpClient({ baseUrl, proxy: { url }, timeoutMs: 20_000 });
    t.after(() => api.close());
    const error = await api.post(call, '/jobs', { json: {} }).catch((thrown: unknown) => thrown);
    assert.ok(isPluginError(error), `${error}`);
    const { kind, notCreated, message } = error as { kind: string; notCreated?: boolean; message: string };
    assert.deepEqual([kind, notCreated], ['transient', true], message);
    assert.doesNotMatch(message, /hush/);
  }
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
        'content-encoding: br, gzip',
        'content-type: text/plain; charset=utf-16',
        'content-type: application/json; charset=nonsense',
        'location: /self',
        'ratelimit: "x";r=0;t=99999999999999',
        'x-ratelimit-reset: 9999999999999999',
        'retry-after: -1',
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
  body: fc.oneof(
    fc.json({ maxDepth: 2 }),
    fc.string({ maxLength: 60 }),
    fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    // Chunks: cut, too long, of no length, endless; something that begins as gzip does; more than is read; JSON in JSON.
    fc.constantFrom('5\r\n{"a"\r\n', 'ffffffff\r\n{}', 'zz\r\n{}\r\n', '2\r\n{}\r\n', '', '\x1f\x8b\x08\0\0\0\0\0'),
    fc.constantFrom('x'.repeat(3_000), `"${'['.repeat(400)}"`, '['.repeat(900), '\xff\xfe{}', '<title>x'),
  ),
  end: fc.constantFrom('end', 'reset', 'stay', 'drip', 'reset first'),
});

const asked = fc.record({
  method: fc.constantFrom('GET' as const, 'POST' as const, 'DELETE' as const, 'HEAD' as const, 'PUT' as const),
  as: fc.constantFrom('json' as const, 'text' as const, 'bytes' as const, 'ndjson' as const),
  reuseConnections: fc.boolean(),
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
      if (end === 'reset first') socket.resetAndDestroy();
      else if (end === 'drip')
        for (const byte of Buffer.from(answer, 'latin1').subarray(0, 200)) socket.write(Buffer.of(byte));
      else
        socket.write(answer, 'latin1', () => {
          if (end === 'end') socket.end();
          if (end === 'reset') socket.resetAndDestroy();
        });
    });
  });
  await fc.assert(
    fc.asyncProperty(hostileAnswer, asked, async (hostile, { method, as, reuseConnections }) => {
      answer = `${hostile.line}\r\n${hostile.headers.join('\r\n')}\r\n\r\n${hostile.body}`;
      end = hostile.end;
      const api = createHttpClient({ baseUrl, proxy: 'none', timeoutMs: 150, maxBytes: 1_000, reuseConnections });
      try {
        const { status } = await api.request(call, method, '/', { as });
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
