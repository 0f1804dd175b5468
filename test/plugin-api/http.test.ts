import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { isPluginError, PermanentError, type PluginError, TransientError } from '../../src/plugin-api/errors.js';
import { createHttpClient } from '../../src/plugin-api/http/client.js';
import type { HttpClient, HttpClientOptions } from '../../src/plugin-api/http/types.js';
import { closedPort, rawRemote, remote } from './http-remote.js';

const call = { signal: new AbortController().signal };

function client(t: TestContext, baseUrl: string, options: Partial<HttpClientOptions> = {}): HttpClient {
  const made = createHttpClient({ baseUrl, proxy: 'none', ...options });
  t.after(() => made.close());
  return made;
}

async function thrown(
  promise: Promise<unknown>,
): Promise<PluginError & { retryAfterMs?: number; notCreated?: boolean; faultKind?: string }> {
  try {
    await promise;
  } catch (error) {
    assert.ok(isPluginError(error), `not an error of the contract: ${error}`);
    return error as never;
  }
  throw new assert.AssertionError({ message: 'nothing was thrown' });
}

test('JSON, form, text and bytes go out with their type, and JSON comes back parsed', async (t) => {
  const { url, seen } = await remote(t, (_request, response) => {
    response.setHeader('content-type', 'application/json').end('{"id":7}');
  });
  const api = client(t, `${url}/api/`, { headers: { 'X-Team': 'ml' } });
  assert.deepEqual(await api.put(call, '/jobs/1?a=1', { json: { n: 1 }, query: { b: 'x y' } }), { id: 7 });
  await api.post(call, ['jobs', 'a/b'], { form: { q: 'x&y', n: 2 } });
  await api.post(call, '/t', { text: 'grüße' });
  await api.post(call, '/b', { bytes: Buffer.from([1, 2]) });
  assert.deepEqual(
    seen.map(({ method, url: path, headers, body }) => [method, path, headers['content-type'], body]),
    [
      ['PUT', '/api/jobs/1?a=1&b=x+y', 'application/json', '{"n":1}'],
      ['POST', '/api/jobs/a%2Fb', 'application/x-www-form-urlencoded', 'q=x%26y&n=2'],
      ['POST', '/api/t', 'text/plain; charset=utf-8', 'grüße'],
      ['POST', '/api/b', 'application/octet-stream', '\u0001\u0002'],
    ],
  );
  for (const { headers } of seen) {
    assert.equal(headers['x-team'], 'ml');
    assert.deepEqual(
      Object.keys(headers).filter((name) => name.startsWith('sec-')),
      [],
      'no headers of a browser',
    );
  }
});

test('an empty answer is undefined, whatever its type, and a success', async (t) => {
  const { url } = await remote(t, (request, response) => {
    if (request.url === '/none') response.writeHead(204).end();
    else response.writeHead(200, { 'content-type': 'application/json' }).end();
  });
  const api = client(t, url);
  assert.equal(await api.delete(call, '/none'), undefined);
  assert.equal(await api.get(call, '/empty'), undefined);
});

test('a path made of what a task says cannot leave the base', async (t) => {
  const api = client(t, 'http://127.0.0.1:1/api');
  for (const path of [['..', 'admin'], '/../admin', 'jobs', ['']] as const) {
    const error = await thrown(api.get(call, path));
    assert.equal(error.code, 'HTTPRequestInvalid');
  }
});

test('each status has its meaning, by whether the request reads or makes something', async (t) => {
  const { url } = await remote(t, (request, response) => {
    response.writeHead(Number(request.url.slice(1)), { 'content-type': 'application/json' }).end('{"message":"no"}');
  });
  const api = client(t, url);
  const kinds = async (method: 'GET' | 'POST' | 'DELETE', about = call) => {
    const found: Record<string, string> = {};
    for (const status of [400, 401, 403, 404, 409, 410, 422, 429, 500, 501, 503]) {
      const error = await thrown(api.request(about, method, `/${status}`));
      const before = found[error.kind];
      found[error.kind] = before === undefined ? `${status}` : `${before} ${status}`;
      assert.match(error.message, /^(GET|POST|DELETE) http:\/\/127\.0\.0\.1:\d+\/\d+: HTTP \d+: no$/);
      assert.equal(error.code, `HTTP${status}`);
    }
    return found;
  };
  const reads = { transient: '400 401 403 409 422 500 501 503', not_found: '404 410', throttled: '429' };
  assert.deepEqual(await kinds('GET'), reads);
  assert.deepEqual(await kinds('DELETE'), reads);
  assert.deepEqual(await kinds('POST'), {
    permanent: '400 403 404 410 422',
    transient: '401 409 500 501 503',
    throttled: '429',
  });
  // A search or a cancel by POST concerns a job that exists, and must not end its task.
  const aboutJob = { ...call, resourceMeta: null };
  assert.deepEqual(await kinds('POST', aboutJob), reads);
});

test('a page of a proxy refuses nothing for good, and its title is told', async (t) => {
  const { url } = await remote(t, (_request, response) => {
    response.writeHead(403, { 'content-type': 'text/html' }).end('<html><title>Blocked by gateway</title>…');
  });
  const error = await thrown(client(t, url).post(call, '/jobs', { json: {} }));
  assert.equal(error.kind, 'transient');
  assert.match(error.message, /HTTP 403: an HTML page, "Blocked by gateway"$/);
});

test('of a traceback the last line is told, which says what was wrong', async (t) => {
  const { url } = await remote(t, (_request, response) => {
    const frames = Array.from({ length: 50 }, (_, i) => `  File "x.py", line ${i}, in f\n    g()`).join('\n');
    response
      .writeHead(400)
      .end(`Traceback (most recent call last):\n${frames}\nTypeError: entrypoint must be a string\n\n`);
  });
  const error = await thrown(client(t, url).post(call, '/jobs'));
  assert.match(error.message, /\/jobs: HTTP 400: TypeError: entrypoint must be a string$/);
});

test("the author's table wins, the request's before the client's, the exact status before its hundred", async (t) => {
  const { url } = await remote(t, (request, response) => {
    response.writeHead(Number(request.url.slice(1, 4)), { 'content-type': 'application/json' }).end('{"taken":true}');
  });
  const api = client(t, url, {
    errors: { '4xx': 'permanentSystem', 409: 'ok', 404: () => new PermanentError('mine') },
  });
  assert.deepEqual(await api.post(call, '/409'), { taken: true });
  const [own, hundred, asked] = await Promise.all([
    thrown(api.get(call, '/404')),
    thrown(api.get(call, '/418')),
    thrown(api.get(call, '/409', { errors: { 409: 'notFound' } })),
  ]);
  assert.equal(own.message, 'mine');
  assert.deepEqual([hundred.kind, hundred.faultKind, asked.kind], ['permanent', 'SYSTEM', 'not_found']);
});

test('a throttle carries the delay: seconds, a date against the remote clock, or the window that is used up', async (t) => {
  const cases: [Record<string, string>, number | undefined][] = [
    [{ 'retry-after': '2' }, 2_000],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': '99999999' }, 3_600_000],
    [{ 'retry-after': 'Wed, 21 Oct 2015 07:28:30 GMT', date: 'Wed, 21 Oct 2015 07:28:00 GMT' }, 30_000],
    [{ 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT', date: 'Wed, 21 Oct 2015 07:28:30 GMT' }, 0],
    [{ 'retry-after': 'Wed Oct 21 07:28:30 2015', date: 'Wed, 21 Oct 2015 07:28:00 GMT' }, 30_000],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': '-5' }, undefined],
    [{ 'ratelimit-reset': '9' }, 9_000],
    [{ 'x-ratelimit-reset': '1445412490', date: 'Wed, 21 Oct 2015 07:28:00 GMT' }, 10_000],
    [{}, undefined],
  ];
  const { url } = await remote(t, (_request, response, index) => {
    for (const [name, value] of Object.entries(cases[index]?.[0] ?? {})) response.setHeader(name, value);
    response.writeHead(429).end();
  });
  const api = client(t, url);
  for (const [headers, expected] of cases) {
    const error = await thrown(api.get(call, '/'));
    assert.equal(error.kind, 'throttled');
    assert.equal(error.retryAfterMs, expected, JSON.stringify(headers));
  }
});

test('a body that says it failed under a 200 is a failure', async (t) => {
  const { url } = await remote(t, (_request, response) => response.end('{"errors":[{"message":"no such field"}]}'));
  const failed = (body: unknown) => (body as { errors?: { message: string }[] }).errors?.[0]?.message;
  const error = await thrown(client(t, url, { failed }).post(call, '/graphql', { json: {} }));
  assert.deepEqual([error.kind, error.message.endsWith(': no such field')], ['transient', true]);
  const refused = client(t, url, { failed: (body) => new PermanentError(failed(body) ?? '') });
  assert.equal((await thrown(refused.post(call, '/graphql'))).kind, 'permanent');
});

test('what was never sent is told with its cause and leaves no job of unclear outcome', async (t) => {
  const port = await closedPort();
  const error = await thrown(client(t, `http://127.0.0.1:${port}`).post(call, '/jobs', { json: {} }));
  assert.ok(error instanceof TransientError);
  assert.equal(error.notCreated, true);
  assert.match(error.message, new RegExp(`ECONNREFUSED 127\\.0\\.0\\.1:${port}`));
});

test('a connection that is closed while it is used again is tried once more where that makes nothing twice', async (t) => {
  const open = new Map<number, number>();
  const url = await rawRemote(t, (socket, index) => {
    socket.on('data', () => {
      const asked = (open.get(index) ?? 0) + 1;
      open.set(index, asked);
      if (asked > 1) socket.destroy();
      else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}');
    });
  });
  const api = client(t, url, { connections: 1 });
  await api.get(call, '/');
  assert.deepEqual(await api.get(call, '/'), {}, 'sent again on a new connection');
  const error = await thrown(api.post(call, '/jobs', { json: {} }));
  assert.deepEqual([error.kind, error.notCreated], ['transient', false]);
  await api.get(call, '/');
  assert.deepEqual(await api.post(call, '/jobs', { json: {}, headers: { 'Idempotency-Key': 'k' } }), {});
});

test('a client that shall not use connections again makes one for each request, and none stays', async (t) => {
  const { url, server } = await remote(t, (_request, response) => response.end('{}'));
  let made = 0;
  let open = 0;
  server.on('connection', (socket) => {
    made += 1;
    open += 1;
    socket.on('close', () => {
      open -= 1;
    });
  });
  const api = client(t, url, { reuseConnections: false });
  for (let i = 0; i < 3; i++) await api.get(call, '/');
  for (let i = 0; open > 0 && i < 200; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual([made, open], [3, 0]);
});

test('the credential is fetched anew after a 401, once, and never shown', async (t) => {
  const { url, seen } = await remote(t, (request, response) => {
    const good = request.headers.authorization === 'Bearer second-token';
    response.writeHead(good ? 200 : 401).end(good ? '{}' : `bad token ${request.headers.authorization}`);
  });
  const tokens = ['first-token-x', 'second-token'];
  const api = client(t, url, { auth: { bearer: ({ renew }) => tokens[renew ? 1 : 0] ?? '' } });
  assert.deepEqual(await api.post(call, '/'), {});
  assert.equal(seen.length, 2);
  const error = await thrown(client(t, url, { auth: { bearer: 'first-token-x' } }).post(call, '/'));
  assert.equal(seen.length, 3, 'the same credential is not sent twice');
  assert.deepEqual([error.kind, error.notCreated], ['transient', true]);
  assert.doesNotMatch(error.message, /first-token-x/);
});

test('an access token is fetched once for many calls, and again when the remote refuses it', async (t) => {
  let made = 0;
  const { url, seen } = await remote(t, (request, response) => {
    if (request.url === '/token') {
      made += 1;
      response.end(JSON.stringify({ access_token: `token-${made}`, expires_in: 3_600 }));
    } else if (request.headers.authorization === 'Bearer token-1' && seen.length > 6) response.writeHead(401).end();
    else response.end('{}');
  });
  const clientCredentials = { tokenUrl: `${url}/token`, clientId: 'me:&', clientSecret: 'a secret', scope: 'jobs' };
  const api = client(t, url, { auth: { clientCredentials } });
  await Promise.all(Array.from({ length: 5 }, () => api.get(call, '/jobs')));
  assert.equal(made, 1);
  const grant = seen.find((one) => one.url === '/token');
  assert.equal(grant?.body, 'grant_type=client_credentials&scope=jobs');
  assert.equal(grant?.headers.authorization, `Basic ${Buffer.from('me%3A%26:a+secret').toString('base64')}`);
  await api.get(call, '/jobs');
  await api.get(call, '/jobs');
  assert.equal(made, 2);
});

test('a redirect is followed by a read within the origin, and nowhere else', async (t) => {
  const other = await remote(t, (_request, response) => response.end('{}'));
  const { url } = await remote(t, (request, response) => {
    if (request.url === '/here') response.writeHead(302, { location: '/there' }).end();
    else if (request.url === '/away') response.writeHead(302, { location: `${other.url}/x` }).end();
    else if (request.url === '/loop') response.writeHead(302, { location: '/loop' }).end();
    else response.end('{"there":true}');
  });
  const api = client(t, url, { auth: { bearer: 'token-of-mine' } });
  assert.deepEqual(await api.get(call, '/here'), { there: true });
  for (const path of ['/away', '/loop']) assert.equal((await thrown(api.get(call, path))).kind, 'transient');
  assert.equal((await thrown(api.post(call, '/here'))).kind, 'transient');
  assert.equal(other.seen.length, 0);
});

test("the call's end, a slow remote and an answer too large end the request, and its socket", async (t) => {
  const { url, server } = await remote(t, (request, response) => {
    if (request.url === '/large') response.end(Buffer.alloc(200_000, 65));
    else response.write('{"half":');
  });
  const api = client(t, url, { maxBytes: 100_000, timeoutMs: 300 });
  const large = await thrown(api.get(call, '/large'));
  assert.equal(large.code, 'HTTPAnswerTooLarge');
  const stop = new AbortController();
  const asked = thrown(api.get({ signal: stop.signal }, '/slow'));
  await once(server, 'request');
  stop.abort(new Error('enough'));
  assert.equal((await asked).code, 'HTTPAborted');
  assert.equal((await thrown(api.get(call, '/slow'))).kind, 'transient');
  await api.close();
  assert.equal((await thrown(api.get(call, '/'))).kind, 'transient');
});

test('what cannot be sent is the fault of the plugin, and options that fit no request are refused at load', async (t) => {
  const api = client(t, 'http://127.0.0.1:1');
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  for (const options of [
    { json: circle },
    { json: 10n },
    { json: () => 1 },
    { json: {}, text: '' },
    { headers: { 'x-a': 'b\r\nc: d' } },
  ]) {
    const error = await thrown(api.post(call, '/', options));
    assert.deepEqual([error.kind, error.faultKind], ['permanent', 'SYSTEM'], error.message);
  }
  const refused = (options: object, says: RegExp) =>
    assert.throws(() => createHttpClient({ baseUrl: 'http://x', ...options } as HttpClientOptions), says);
  const expected = /^TypeError: baseUrl of the HTTP client is (.+); expected an absolute URL such as https:/;
  for (const baseUrl of ['jobs', 'ftp://x', 'localhost:8080', '', undefined, 7]) {
    refused({ baseUrl }, expected);
    refused({ proxy: { url: baseUrl } }, /^TypeError: proxy\.url of the HTTP client is/);
    refused({ auth: { clientCredentials: { tokenUrl: baseUrl } } }, /tokenUrl of the HTTP client is/);
  }
  refused({ baseUrl: 'http://u:p@x' }, /holds user and password; give them as auth/);
  // What stands before an @ may be a password, also where it makes no URL.
  for (const baseUrl of ['me:hush@host/x', 'ftp://me:hush@host', '//me:hu@sh@host']) {
    refused({ baseUrl }, expected);
    assert.throws(
      () => createHttpClient({ baseUrl }),
      (error: Error) => !/hu/.test(error.message),
    );
  }
});
