import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { isPluginError, type PluginError } from '../../src/plugin-api/errors.js';
import { createHttpClient } from '../../src/plugin-api/http/client.js';
import type { HttpClient, HttpClientOptions } from '../../src/plugin-api/http/types.js';
import { closedPort, rawRemote, remote } from './http-remote.js';

const call = {};

function client(t: TestContext, baseUrl: string, options: Partial<HttpClientOptions> = {}): HttpClient {
  const made = createHttpClient({ baseUrl, proxy: 'none', ...options });
  t.after(() => made.close());
  return made;
}

type Thrown = PluginError & { retryAfterMs?: number; notCreated?: boolean; faultKind?: string };

async function thrown(promise: Promise<unknown>): Promise<Thrown> {
  try {
    await promise;
  } catch (error) {
    assert.ok(isPluginError(error), `not an error of the contract: ${error}`);
    return error as Thrown;
  }
  throw new assert.AssertionError({ message: 'nothing was thrown' });
}

test('every status from 200 to 599 is a success or an error of its kind, and never a refusal of a read for good', async (t) => {
  const { url } = await remote(t, (request, response) => response.writeHead(Number(request.url.slice(1))).end());
  const api = client(t, url);
  for (let status = 200; status <= 599; status++) {
    for (const method of ['GET', 'POST'] as const) {
      const outcome = await api.request(call, method, `/${status}`).then(
        () => 'ok',
        (error: Thrown) => (isPluginError(error) ? error.kind : 'foreign'),
      );
      const passing = [401, 407, 408, 409, 421, 423, 425].includes(status);
      const expected =
        status < 300
          ? 'ok'
          : status === 429
            ? 'throttled'
            : method === 'GET'
              ? [404, 410].includes(status)
                ? 'not_found'
                : 'transient'
              : status >= 400 && status < 500 && !passing
                ? 'permanent'
                : 'transient';
      assert.equal(outcome, expected, `${method} ${status}`);
    }
  }
});

test('interim answers are passed over, and an upgrade that nobody asked for is no answer', async (t) => {
  const interim = (status: number) => `HTTP/1.1 ${status} x\r\n${status === 103 ? 'link: </a>\r\n' : ''}\r\n`;
  const final = 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"ok":[]}';
  const url = await rawRemote(t, (socket) => {
    socket.once('data', (data) => {
      const status = Number(/\/(\d+) /.exec(data.toString())?.[1]);
      socket.end(status === 101 ? `${interim(101)}${final}` : `${interim(status)}${interim(status)}${final}`);
    });
  });
  const api = client(t, url, { timeoutMs: 5_000 });
  for (const status of [102, 103]) assert.deepEqual(await api.get(call, `/${status}`), { ok: [] });
  for (const status of [100, 101]) {
    const outcome = await api.get(call, `/${status}`).catch((error) => error);
    assert.ok(isPluginError(outcome) || 'ok' in (outcome as object), `${status}: ${outcome}`);
  }
});

test('a window of calls that is used up is told in many dialects', async (t) => {
  const date = 'Wed, 21 Oct 2015 07:28:00 GMT';
  const nowS = Date.parse(date) / 1_000;
  const cases: [Record<string, string>, number | undefined][] = [
    [{ 'x-ratelimit-reset': String(nowS + 10), date }, 10_000],
    [{ 'x-ratelimit-reset': String((nowS + 10) * 1_000), date }, 10_000],
    [{ 'x-ratelimit-reset': '2015-10-21T07:28:10Z', date }, 10_000],
    [{ 'x-ratelimit-reset': '2015-10-21T09:28:10.5+02:00', date }, 10_500],
    [{ 'x-ratelimit-reset': 'Wed, 21 Oct 2015 07:28:10 GMT', date }, 10_000],
    [{ 'x-rate-limit-reset': '7' }, 7_000],
    [{ 'x-ratelimit-reset-after': '0.25' }, 250],
    [{ 'x-ratelimit-reset-requests': '6m0s' }, 360_000],
    [{ 'x-ratelimit-reset-requests': '120ms' }, 120],
    [{ ratelimit: 'limit=100, remaining=0, reset=30' }, 30_000],
    [{ ratelimit: '"default";r=0;t=30' }, 30_000],
    [{ 'retry-after-ms': '40' }, 40],
    [{ 'retry-after': '1.5' }, 1_500],
    // What comes first in this list wins, and what makes no sense is passed over.
    [{ 'retry-after': '3', 'ratelimit-reset': '9' }, 3_000],
    [{ 'retry-after': 'soon', 'ratelimit-reset': '9' }, 9_000],
    [{ 'ratelimit-reset': '-3' }, undefined],
    [{ ratelimit: 'limit=100, remaining=0' }, undefined],
    [{ 'retry-after': `${'9'.repeat(400)}` }, undefined],
    [{ 'retry-after': '' }, undefined],
    [{ 'x-ratelimit-reset-requests': 'm' }, undefined],
  ];
  const { url } = await remote(t, (request, response) => {
    const [headers] = cases[Number(request.url.slice(1))] ?? [{}];
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, String(value));
    response.writeHead(429).end();
  });
  const api = client(t, url);
  for (const [at, [headers, expected]] of cases.entries()) {
    const error = await thrown(api.get(call, `/${at}`));
    assert.deepEqual([error.kind, error.retryAfterMs], ['throttled', expected], JSON.stringify(headers));
  }
});

test('any text in a header of time is a delay from nothing to an hour, or none', async (t) => {
  let value = '';
  const { url } = await remote(t, (request, response) =>
    response.writeHead(429, { [request.url.slice(1)]: value }).end(),
  );
  const api = client(t, url);
  const word = fc.oneof(
    fc.constantFrom(
      '-1',
      '1e9',
      '0x10',
      'NaN',
      'Infinity',
      ' 5 ',
      '5,6',
      'Thu, 01 Jan 1970 00:00:00 GMT',
      '9'.repeat(16),
    ),
    fc.string({ unit: fc.constantFrom(...'0123456789-+.:;=, TZGMhmst'), maxLength: 30 }),
  );
  const names = fc.constantFrom(
    'retry-after',
    'ratelimit',
    'ratelimit-reset',
    'x-ratelimit-reset',
    'retry-after-ms',
    'date',
  );
  await fc.assert(
    fc.asyncProperty(names, word, async (name, text) => {
      value = text;
      const { kind, retryAfterMs } = await thrown(api.get(call, `/${name}`));
      assert.equal(kind, 'throttled');
      assert.ok(retryAfterMs === undefined || (retryAfterMs >= 0 && retryAfterMs <= 3_600_000), `${retryAfterMs}`);
    }),
    { numRuns: 100 },
  );
});

test('a body in an encoding that nobody asked for is unpacked, and one that is broken or grows past the bound is not', async (t) => {
  const json = Buffer.from('{"n":"ü"}');
  const bodies: Record<string, [string, Buffer]> = {
    gzip: ['gzip', gzipSync(json)],
    deflate: ['deflate', deflateSync(json)],
    br: ['br', brotliCompressSync(json)],
    both: ['gzip, br', brotliCompressSync(gzipSync(json))],
    plain: ['identity', json],
    cut: ['gzip', gzipSync(json).subarray(0, 12)],
    lie: ['gzip', json],
    strange: ['zstd-of-mine', json],
    bomb: ['gzip', gzipSync(Buffer.alloc(200_000, 32))],
  };
  const { url } = await remote(t, (request, response) => {
    const [, name = '', status = '200'] = request.url.split('/');
    const [encoding, body] = bodies[name] ?? ['', Buffer.alloc(0)];
    response.writeHead(Number(status), { 'content-encoding': encoding, 'content-type': 'application/json' }).end(body);
  });
  const api = client(t, url, { maxBytes: 100_000 });
  for (const name of ['gzip', 'deflate', 'br', 'both', 'plain'])
    assert.deepEqual(await api.get(call, `/${name}`), { n: 'ü' });
  for (const name of ['cut', 'lie', 'strange']) {
    const error = await thrown(api.get(call, `/${name}`));
    assert.match(error.message, /: the answer cannot be unpacked from /);
    // The status says enough without its body.
    assert.equal((await thrown(api.get(call, `/${name}/404`))).kind, 'not_found');
    assert.equal((await thrown(api.post(call, `/${name}/422`))).kind, 'permanent');
  }
  assert.equal((await thrown(api.get(call, '/bomb'))).code, 'HTTPAnswerTooLarge');
});

test('texts are read in their charset, without a mark in front, and what is not in it is no success', async (t) => {
  const { url } = await remote(t, (request, response) => {
    const [, kind] = request.url.split('/');
    const type = kind === 'latin' ? 'text/plain; charset=ISO-8859-1' : 'text/plain; charset="no-such-one"';
    const body =
      kind === 'bad'
        ? Buffer.from([0x22, 0xff, 0x22])
        : kind === 'mark'
          ? Buffer.from('\uFEFF{"a":1}')
          : Buffer.from([0xe9]);
    response.writeHead(
      request.url.endsWith('500') ? 500 : 200,
      kind === 'latin' || kind === 'odd' ? { 'content-type': type } : {},
    );
    response.end(kind === 'odd' ? 'é' : body);
  });
  const api = client(t, url);
  assert.equal(await api.get(call, '/latin', { as: 'text' }), 'é');
  assert.equal(await api.get(call, '/odd', { as: 'text' }), 'é');
  assert.deepEqual(await api.get(call, '/mark'), { a: 1 });
  assert.deepEqual(await api.get(call, '/bad', { as: 'bytes' }), Buffer.from([0x22, 0xff, 0x22]));
  for (const as of ['json', 'text', 'ndjson'] as const) {
    assert.match(
      (await thrown(api.get(call, '/bad', { as }))).message,
      /HTTP 200 with a body that is not in its charset/,
    );
  }
  assert.match((await thrown(api.get(call, '/bad/500'))).message, /HTTP 500: "\uFFFD"/);
});

test('lines of JSON come as a list, also none, and a line that was cut is no success', async (t) => {
  const { url } = await remote(t, (request, response) => {
    response.end({ '/two': '{"a":1}\n{"a":2}\r\n\n', '/none': '', '/cut': '{"a":1}\n{"a"' }[request.url]);
  });
  const api = client(t, url);
  assert.deepEqual(await api.get(call, '/two', { as: 'ndjson' }), [{ a: 1 }, { a: 2 }]);
  assert.deepEqual(await api.get(call, '/none', { as: 'ndjson' }), []);
  assert.match((await thrown(api.get(call, '/cut', { as: 'ndjson' }))).message, /which is no JSON/);
});

test('a body nested a hundred thousand deep, or with names of objects, is a value like others', async (t) => {
  const { url } = await remote(t, (request, response) => {
    response.end(
      request.url === '/deep' ? '['.repeat(100_000) + ']'.repeat(100_000) : '{"__proto__":{"a":1},"constructor":2}',
    );
  });
  const api = client(t, url);
  assert.ok(Array.isArray(await api.get(call, '/deep').catch((error) => (isPluginError(error) ? [] : error))));
  const body = await api.get<object>(call, '/names');
  assert.deepEqual(Object.keys(body), ['__proto__', 'constructor']);
  assert.equal((await thrown(api.get(call, '/deep', { errors: { 200: 'transient' } }))).kind, 'transient');
});

test('the reason of a service that answers XML is told, and of a body that says it failed only where there is one', async (t) => {
  const { url } = await remote(t, (request, response) => {
    if (request.url === '/gone') response.writeHead(204).end();
    else
      response
        .writeHead(400)
        .end('<?xml version="1.0"?><Error><Code>X</Code><Message> no such bucket </Message></Error>');
  });
  const api = client(t, url, { failed: (body) => (body as { error: string }).error });
  assert.match((await thrown(api.post(call, '/'))).message, /HTTP 400: no such bucket$/);
  assert.equal(await api.delete(call, '/gone'), undefined);
});

test('an answer made to take long to search for its reason takes no time: the search with it would not end', async (t) => {
  const texts: Record<string, string> = {
    blanks: `<a>${`<error>${' '.repeat(990)}`.repeat(60)}`,
    heads: `<a>${'<error '.repeat(9_000)}`,
    lines: JSON.stringify({ error: `Traceback (most recent call last):\n${'a'.repeat(3_980)}\nb` }),
    prefixes: `<a>${'<a'.repeat(30_000)}:error>`,
  };
  const { url } = await remote(t, (request, response) => response.writeHead(500).end(texts[request.url.slice(1)]));
  const api = client(t, url);
  for (const name of Object.keys(texts)) assert.equal((await thrown(api.get(call, `/${name}`))).kind, 'transient');
});

test('a redirect within the origin is followed as its status says, and none leads elsewhere', async (t) => {
  const other = await remote(t, (_request, response) => response.end('{}'));
  const { url, seen } = await remote(t, (request, response) => {
    const [, status = '', kind = ''] = request.url.split('/');
    const to = {
      here: '/there',
      away: `${other.url}/x`,
      scheme: 'file:///etc/passwd',
      none: undefined,
      bad: 'http://[',
    }[kind];
    if (status === 'there') response.end('{"there":true}');
    else response.writeHead(Number(status), to === undefined ? {} : { location: to }).end();
  });
  const api = client(t, url, { auth: { bearer: 'token-of-mine' } });
  const at = async (method: 'GET' | 'POST' | 'PUT' | 'DELETE', status: number) => {
    seen.length = 0;
    const options = method === 'GET' || method === 'DELETE' ? {} : { json: { n: 1 } };
    const outcome = await api.request(call, method, `/${status}/here`, options).catch((error) => error.kind);
    return [outcome?.body?.there ?? outcome, ...seen.slice(1).map((one) => `${one.method} ${one.body}`)];
  };
  for (const status of [301, 302]) {
    assert.deepEqual(await at('GET', status), [true, 'GET ']);
    for (const method of ['POST', 'PUT', 'DELETE'] as const) assert.deepEqual(await at(method, status), ['transient']);
  }
  for (const method of ['GET', 'POST', 'PUT', 'DELETE'] as const)
    assert.deepEqual(await at(method, 303), [true, 'GET ']);
  for (const status of [307, 308]) {
    assert.deepEqual(await at('POST', status), [true, 'POST {"n":1}']);
    assert.deepEqual(await at('DELETE', status), [true, 'DELETE ']);
  }
  for (const status of [300, 304, 305, 306]) assert.deepEqual(await at('GET', status), ['transient']);
  for (const status of [301, 302, 303, 307, 308]) {
    for (const kind of ['away', 'scheme', 'none', 'bad']) {
      assert.equal((await thrown(api.get(call, `/${status}/${kind}`))).kind, 'transient');
      assert.equal((await thrown(api.post(call, `/${status}/${kind}`, { json: {} }))).kind, 'transient');
    }
  }
  assert.equal(other.seen.length, 0);
});

test('what comes of the page that a 303 leads to never says that nothing was made, and makes nothing again', async (t) => {
  const port = await closedPort();
  const { url, seen } = await remote(t, (request, response) => {
    const [, kind = '', at] = request.url.split('/');
    if (at === undefined) response.writeHead(303, { location: `/${kind}/page` }).end();
    else response.writeHead(Number(kind), { 'retry-after': '5' }).end();
  });
  const api = client(t, url, { auth: { bearer: ({ renew }) => (renew ? 'second' : 'first') } });
  for (const status of [400, 401, 404, 407, 429, 500, 503]) {
    const error = await thrown(api.post(call, `/${status}`, { json: {} }));
    assert.deepEqual([error.kind, error.notCreated ?? false], ['transient', false], `${status}`);
  }
  assert.equal(seen.filter(({ method }) => method === 'POST').length, 7);
  assert.ok(port > 0);
});

test('a URL that the remote names becomes a path below the base, and one elsewhere is refused', async (t) => {
  const { url, seen } = await remote(t, (request, response) => {
    if (request.method === 'POST') response.writeHead(202, { location: '/api/v2/jobs/7%2F8' }).end();
    else response.end('{}');
  });
  const api = client(t, `${url}/api/v2/`);
  const { status, headers } = await api.request(call, 'POST', '/jobs', { json: {} });
  assert.equal(status, 202);
  const path = api.pathOf(headers.location ?? '');
  assert.equal(path, '/jobs/7%2F8');
  await api.get(call, path);
  await api.get(call, api.pathOf(`${url}/api/v2/jobs?cursor=a%2Bb%3D%3D&n=1`));
  await api.get(call, api.pathOf('jobs/9'));
  await api.get(call, api.pathOf('?page=2'));
  assert.deepEqual(
    seen.slice(1).map((one) => one.url),
    ['/api/v2/jobs/7%2F8', '/api/v2/jobs?cursor=a%2Bb%3D%3D&n=1', '/api/v2/jobs/9', '/api/v2/?page=2'],
  );
  for (const away of [
    'https://elsewhere.example.com/api/v2/jobs',
    '/api/v20/jobs',
    '/admin',
    '../x',
    'http://[',
    'file:///x',
  ]) {
    assert.throws(
      () => api.pathOf(away),
      (error: Thrown) => isPluginError(error) && error.kind === 'transient' && error.code === 'HTTPElsewhere',
      away,
    );
  }
});

test('a form with files goes out whole, whatever their names hold', async (t) => {
  const { url, seen } = await remote(t, (_request, response) => response.end('{}'));
  const api = client(t, url);
  const bytes = Buffer.from('a\r\n--b');
  await api.post(call, '/upload', {
    multipart: {
      note: 'grüße',
      'we"ird\r\nx: y': { bytes, filename: 'é".txt', type: 'text/plain\r\nx: y' },
      raw: { bytes },
    },
  });
  const { headers, body } = seen[0] ?? assert.fail();
  const boundary = /^multipart\/form-data; boundary=(\S+)$/.exec(headers['content-type'] ?? '')?.[1];
  assert.equal(
    body,
    [
      `--${boundary}\r\nContent-Disposition: form-data; name="note"\r\n\r\ngrüße\r\n`,
      `--${boundary}\r\nContent-Disposition: form-data; name="we%22ird%0D%0Ax: y"; filename="é%22.txt"\r\nContent-Type: text/plain  x: y\r\n\r\na\r\n--b\r\n`,
      `--${boundary}\r\nContent-Disposition: form-data; name="raw"; filename="raw"\r\nContent-Type: application/octet-stream\r\n\r\na\r\n--b\r\n`,
      `--${boundary}--\r\n`,
    ].join(''),
  );
  await api.post(call, '/xml', { text: '<a/>', headers: { 'Content-Type': 'application/xml' } });
  assert.equal(seen[1]?.headers['content-type'], 'application/xml');
});

test('nothing secret of a request is quoted, however the server gives it back', async (t) => {
  const secret = 'S3cr3t/va+lue="x"';
  const ways: Record<string, (text: string) => string> = {
    plain: (text) => text,
    json: (text) => JSON.stringify({ message: text }),
    url: (text) => encodeURIComponent(text),
    base64: (text) => Buffer.from(`me:${text}`).toString('base64'),
    html: (text) => `<html><title>${text}</title>`,
    xml: (text) => `<Error><Message>${text}</Message></Error>`,
    late: (text) => `${'x'.repeat(290)}${text}`,
  };
  const { url } = await remote(t, (request, response) => {
    const [, way = '', kind] = new URL(request.url, 'http://remote').pathname.split('/');
    const said = ways[way]?.(secret) ?? '';
    const type = way === 'html' ? 'text/html' : 'text/plain';
    response.writeHead(kind === 'ok' ? 200 : 500, { 'content-type': type }).end(said);
  });
  const clients: [string, HttpClient, object][] = [
    ['a bearer', client(t, url, { auth: { bearer: secret } }), {}],
    ['a password', client(t, url, { auth: { basic: { username: 'me', password: secret } } }), {}],
    ['a header of the client', client(t, url, { headers: { 'X-Api-Key': secret } }), {}],
    ['a header of the request', client(t, url), { headers: { 'private-token': secret } }],
    ['a parameter', client(t, url), { query: { api_key: secret } }],
  ];
  for (const [what, api, options] of clients) {
    for (const way of Object.keys(ways)) {
      // A text in quotes is JSON, and so a success.
      for (const kind of way === 'json' ? ['bad'] : ['ok', 'bad']) {
        const error = await thrown(api.post(call, `/${way}/${kind}`, options));
        for (const form of [
          secret,
          encodeURIComponent(secret),
          JSON.stringify(secret).slice(1, -1),
          'S3cr3t/va',
          '="x"',
        ]) {
          assert.ok(!error.message.includes(form), `${what} ${way}: ${error.message}`);
        }
        assert.ok(!error.message.includes(Buffer.from(`me:${secret}`).toString('base64')), `${what} ${way}`);
      }
    }
  }
});

test('what a token endpoint gives back of the client’s secret is not quoted', async (t) => {
  const clientSecret = 'a&secret=of the client';
  const { url } = await remote(t, (request, response) => {
    response.writeHead(401).end(`${request.headers.authorization} ${request.body} ${clientSecret}`);
  });
  for (const sendIn of ['header', 'body'] as const) {
    const clientCredentials = { tokenUrl: `${url}/token?x=1`, clientId: 'me', clientSecret, sendIn };
    const error = await thrown(client(t, url, { auth: { clientCredentials } }).post(call, '/'));
    assert.deepEqual([error.kind, error.code, error.notCreated], ['transient', 'HTTPToken', true]);
    const basic = Buffer.from(`me:${new URLSearchParams({ '': clientSecret }).toString().slice(1)}`).toString('base64');
    for (const form of [clientSecret, encodeURIComponent(clientSecret), basic, 'secret%3Dof']) {
      assert.ok(!error.message.includes(form), error.message);
    }
  }
});
