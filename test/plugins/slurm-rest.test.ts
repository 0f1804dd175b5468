import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { NotFoundError, PermanentError, ThrottledError, TransientError } from 'webapi-plugin-host';
import { classify, type RestFailure, retryAfterMs } from '../../plugins/slurm/faults.js';
import { RestClient } from '../../plugins/slurm/rest-client.js';
import { expiryOf, TokenSource } from '../../plugins/slurm/token.js';
import { FakeSlurm } from './slurm-fake.js';
import { MapSecrets } from './slurm-support.js';

const NOW = 1_700_000_000_000;

function jwt(expSeconds: number): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part({ exp: expSeconds, sun: 'jobs' })}.c2ln`;
}

async function setUp(t: TestContext, options: { now?: () => number; maxResponseBytes?: number } = {}) {
  const fake = await FakeSlurm.start();
  t.after(() => fake.stop());
  const secrets = new MapSecrets({ 'slurm/token': 'token-1' });
  const now = options.now ?? (() => NOW);
  const tokens = new TokenSource('main', { secret: { group: 'slurm', key: 'token' } }, secrets, {
    wallMs: now,
    monotonicMs: now,
  });
  const maxResponseBytes = options.maxResponseBytes ?? 1 << 20;
  const client = new RestClient({ url: fake.url, apiVersion: 'v0.0.38', user: 'jobs', tokens, maxResponseBytes, now });
  return { fake, secrets, client, signal: new AbortController().signal };
}

function failure(status: number, codes: (number | undefined)[] = [], more: Partial<RestFailure> = {}): RestFailure {
  const faults = codes.map((code) => ({ code, text: 'what Slurm said' }));
  return { what: 'submit job', about: 'submission', status, retryAfter: null, date: null, faults, text: '', ...more };
}

test('answers become errors of the contract by their own number first, by the HTTP status second', () => {
  const rows: [RestFailure, new (message: string) => Error, string | undefined][] = [
    [failure(500, [2017], { about: 'job' }), NotFoundError, undefined],
    [failure(404, [2017], { about: 'job' }), NotFoundError, undefined],
    // a list or a submission says nothing of a job that is asked for
    [failure(500, [2017], { about: 'list' }), TransientError, 'Slurm2017'],
    [failure(500, [2017]), PermanentError, 'Slurm2017'],
    [failure(500, [2000]), PermanentError, 'Slurm2000'],
    [failure(400, [9001]), PermanentError, 'SlurmRefused'],
    [failure(400, [2127, 9001]), PermanentError, 'Slurm2127'],
    [failure(500, [2016]), TransientError, 'Slurm2016'],
    [failure(500, [2050]), TransientError, 'Slurm2050'],
    [failure(500, [-1]), TransientError, 'SlurmUnavailable'],
    [failure(500, [5005]), TransientError, 'SlurmUnavailable'],
    [failure(401), TransientError, 'SlurmUnavailable'],
    [failure(500), TransientError, 'SlurmUnavailable'],
    [failure(502, [], { text: '<html>' }), TransientError, 'SlurmUnavailable'],
    [failure(503), TransientError, 'SlurmUnavailable'],
    [failure(408), TransientError, 'SlurmUnavailable'],
    [failure(404, [], { text: 'Unable find requested URL.' }), TransientError, 'SlurmAddress'],
    [failure(429), ThrottledError, undefined],
    [failure(403, [], { retryAfter: '2' }), ThrottledError, undefined],
    [failure(403), TransientError, 'SlurmUnavailable'],
    [failure(503, [], { retryAfter: '7' }), ThrottledError, undefined],
    // an answer that is a success by its status but holds no JSON (a proxy's page)
    [failure(200, [], { text: '<html>' }), TransientError, 'SlurmUnavailable'],
  ];
  for (const [answer, type, code] of rows) {
    const error = classify(answer, NOW);
    assert.ok(error instanceof type, `${answer.status} ${answer.faults[0]?.code}: ${error.name}`);
    assert.equal(error.code, code);
    assert.match(error.message, /^submit job: HTTP \d{3}/);
  }
  const throttled = classify(failure(429, [], { retryAfter: '7' }), NOW);
  assert.ok(throttled instanceof ThrottledError && throttled.retryAfterMs === 7_000);
});

test('only Slurm refuses a submission: what a proxy answers instead blames no task', () => {
  for (const status of [301, 302, 400, 403, 405, 406, 411, 413, 414, 415, 417, 421, 422, 426, 431, 451, 495, 499]) {
    for (const codes of [[], [undefined], [0]]) {
      const error = classify(failure(status, codes, { text: '<html>blocked</html>' }), NOW);
      assert.ok(error instanceof TransientError, `${status} ${codes[0]}: ${error.name}`);
    }
  }
});

test('what no task asked for is never refused for good: a refused list would end every task of the cluster', () => {
  for (const [status, codes] of [
    [500, [2000]],
    [400, [9001]],
    [400, []],
    [405, []],
  ] as const) {
    const error = classify(failure(status, [...codes], { about: 'job' }), NOW);
    assert.ok(error instanceof TransientError, `${status} ${codes[0]}: ${error.name}`);
  }
  assert.ok(classify(failure(500, [2017], { about: 'job' }), NOW) instanceof NotFoundError);
});

test('a list that comes with errors is no list, whatever its status says', async (t) => {
  const { fake, client, signal } = await setUp(t);
  fake.override = (_seen, response) => {
    const error = { description: 'slurm_load_jobs', error_number: 1900, error: 'unable to contact the controller' };
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ errors: [error], jobs: [] }));
    return true;
  };
  await assert.rejects(
    client.listJobs(() => true, signal),
    { name: 'TransientError', message: /list jobs: HTTP 200/ },
  );
  await assert.rejects(client.getJob(7, signal), { name: 'TransientError', message: /1900/ });
});

test('Retry-After is read as seconds and as a date in each form of HTTP, and as nothing else', () => {
  const date = 'Sun, 06 Nov 1994 08:49:37 GMT';
  const at = Date.parse(date);
  const rows: [string | null, number | undefined][] = [
    ['120', 120_000],
    [' 0 ', 0],
    ['2.5', 2_500],
    [date, 5_000],
    ['Sunday, 06-Nov-94 08:49:37 GMT', 5_000],
    ['Sun Nov  6 08:49:37 1994', 5_000],
    ['Sun, 06 Nov 1994 08:49:30 GMT', 0],
    ['soon', undefined],
    ['-5', undefined],
    ['1994', 1_994_000],
    ['2026-11-25', undefined],
    ['', undefined],
    [null, undefined],
  ];
  for (const [header, ms] of rows) assert.equal(retryAfterMs(header, at - 5_000), ms, String(header));
  const served = 'Sun, 06 Nov 1994 08:49:30 GMT';
  assert.equal(retryAfterMs(date, at + 3_600_000, served), 7_000, "a date is by the server's clock");
  assert.equal(retryAfterMs(date, at - 5_000, 'rubbish'), 5_000);
});

test('a refused token is read again, and the call repeated once with the new one', async (t) => {
  const { fake, secrets, client, signal } = await setUp(t);
  await client.listJobs(() => true, signal);
  fake.validTokens = new Set(['token-2']);
  secrets.values['slurm/token'] = 'token-2';
  await client.listJobs(() => true, signal);
  assert.deepEqual(
    fake.requests.map((seen) => seen.token),
    ['token-1', 'token-1', 'token-2'],
  );
  assert.equal(fake.requests[0]?.user, 'jobs');
});

test('a refused token that has no successor is a transient fault, after one call', async (t) => {
  const { fake, client, signal } = await setUp(t);
  fake.validTokens = new Set();
  await assert.rejects(
    client.listJobs(() => true, signal),
    TransientError,
  );
  assert.equal(fake.requests.length, 1);
});

test('a submission is not repeated after an answer that leaves its fate open', async (t) => {
  const { fake, secrets, client, signal } = await setUp(t);
  await client.listJobs(() => true, signal);
  fake.validTokens = new Set(['token-2']);
  secrets.values['slurm/token'] = 'token-2';
  await assert.rejects(client.submit({ job: {} }, signal), { name: 'TransientError', message: /5005/ });
  assert.equal(fake.count('POST'), 1);
});

test('an expired token is not sent: the next one is read, or what to do is said', async (t) => {
  let now = NOW;
  const { fake, secrets, client, signal } = await setUp(t, { now: () => now });
  const first = jwt(NOW / 1000 + 600);
  const second = jwt(NOW / 1000 + 7200);
  fake.validTokens = new Set([first, second]);
  secrets.values['slurm/token'] = `SLURM_JWT=${first}\n`;
  await client.listJobs(() => true, signal);
  await client.listJobs(() => true, signal);
  assert.equal(secrets.reads, 1, 'kept while it is good');
  now = NOW + 601_000;
  await assert.rejects(
    client.listJobs(() => true, signal),
    { code: 'SlurmToken', message: /expired at .*put a new token/ },
  );
  secrets.values['slurm/token'] = second;
  await client.listJobs(() => true, signal);
  assert.deepEqual(
    fake.requests.map((seen) => seen.token),
    [first, first, second],
  );
});

test('a token that names no time for its end has expired in words that show none', async (t) => {
  const { secrets, client, signal } = await setUp(t, { now: () => NOW });
  secrets.values['slurm/token'] = jwt(-1e13);
  await assert.rejects(
    client.listJobs(() => true, signal),
    { name: 'TransientError', code: 'SlurmToken', message: /expired and / },
  );
});

test('a token source that is empty or missing is named without its content', async (t) => {
  const { secrets, client, signal } = await setUp(t);
  secrets.values['slurm/token'] = 'two words of secret';
  const isClean = (error: Error) => {
    assert.match(error.message, /secret slurm\/token holds no Slurm token/);
    assert.doesNotMatch(error.message, /two words/);
    return true;
  };
  await assert.rejects(
    client.listJobs(() => true, signal),
    isClean,
  );
  delete secrets.values['slurm/token'];
  await assert.rejects(
    client.listJobs(() => true, signal),
    { code: 'SlurmToken' },
  );
  assert.equal(expiryOf('no.jwt.here'), undefined);
  assert.equal(expiryOf('opaque'), undefined);
});

test('a refused connection, a broken one and a redirect are transient; an abort is the caller’s', async (t) => {
  const { fake, client, signal } = await setUp(t);
  fake.override = (_seen, response) => {
    response.destroy();
    return true;
  };
  await assert.rejects(
    client.listJobs(() => true, signal),
    TransientError,
  );
  fake.override = (_seen, response) => {
    response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end();
    return true;
  };
  await assert.rejects(
    client.listJobs(() => true, signal),
    TransientError,
  );
  fake.override = () => true; // never answers
  const controller = new AbortController();
  const pending = client.listJobs(() => true, controller.signal);
  controller.abort(new Error('not wanted any more'));
  await assert.rejects(pending, /not wanted any more/);
  await fake.stop();
  await assert.rejects(
    client.listJobs(() => true, signal),
    { name: 'TransientError', message: /cannot be reached/ },
  );
});

test('an answer over the bound, one that is no JSON and one without a job id are faults, not data', async (t) => {
  const { fake, client, signal } = await setUp(t, { maxResponseBytes: 65_536 });
  for (let i = 1; i < 500; i++) fake.add({ job_id: i, comment: 'x'.repeat(200) });
  await assert.rejects(
    client.listJobs(() => true, signal),
    { name: 'TransientError', message: /maxResponseBytes/ },
  );
  fake.override = (_seen, response) => {
    response.writeHead(200).end('<html>');
    return true;
  };
  await assert.rejects(
    client.listJobs(() => true, signal),
    TransientError,
  );
  fake.override = (_seen, response) => {
    response.writeHead(200).end('{"errors":[]}');
    return true;
  };
  await assert.rejects(client.submit({}, signal), { name: 'TransientError', message: /no job id/ });
  await assert.rejects(
    client.cancel(7, signal).then(() => client.getJob(7, signal)),
    { code: 'SlurmAnswerUnusable' },
  );
  await assert.rejects(
    client.listJobs(() => true, signal),
    { name: 'TransientError', message: /not a job list/ },
  );
});

test('a remark beside an accepted job is handed on, and does not fail it', async (t) => {
  const { fake, client, signal } = await setUp(t);
  fake.override = (_seen, response) => {
    const remark = { error_code: 2042, error: 'Job is in held state' };
    response.writeHead(200).end(JSON.stringify({ errors: [remark], job_id: 9, job_submit_user_msg: 'hello' }));
    return true;
  };
  assert.deepEqual(await client.submit({}, signal), { jobId: 9, warning: 'Job is in held state; hello' });
});

test('cancelling what is over already is a success', async (t) => {
  const { fake, client, signal } = await setUp(t);
  fake.override = (_seen, response) => {
    const fault = { error_number: 2021, error: 'Job/step already completing or completed' };
    response.writeHead(500).end(JSON.stringify({ errors: [fault] }));
    return true;
  };
  await client.cancel(5, signal);
});

test('a broken connection is tried once more where that harms nothing, and a submission never', async (t) => {
  const { fake, client, signal } = await setUp(t);
  fake.add({ job_id: 5, job_state: 'RUNNING' });
  let breaks = 0;
  fake.override = (_seen, response) => {
    if (breaks-- <= 0) return false;
    response.destroy();
    return true;
  };
  const calls = [
    () => client.listJobs(() => true, signal),
    () => client.getJob(5, signal),
    () => client.cancel(5, signal),
  ];
  for (const call of calls) {
    breaks = 1;
    await call();
    breaks = 2;
    await assert.rejects(call(), { name: 'TransientError', code: 'SlurmUnavailable' });
    breaks = Number.POSITIVE_INFINITY;
    const before = fake.requests.length;
    for (let i = 0; i < 5; i++) await assert.rejects(call(), { name: 'TransientError' });
    assert.equal(fake.requests.length, before + 5, 'an outage doubles no calls');
    breaks = 0;
    await call();
  }
  breaks = 1;
  await assert.rejects(client.submit({ job: {} }, signal), { name: 'TransientError' });
  assert.equal(fake.count('POST'), 1);
});

test('a body that ends too early is read once more', async (t) => {
  const { fake, client, signal } = await setUp(t);
  fake.add({ job_id: 5 });
  let cut = true;
  fake.override = (_seen, response) => {
    if (!cut) return false;
    cut = false;
    response.writeHead(200, { 'content-length': '1000' });
    response.write('{"jobs": [', () => response.destroy());
    return true;
  };
  assert.equal((await client.listJobs(() => true, signal)).jobs.length, 1);
});

test('no two calls share a connection: one that was dropped while idle would take a submission with it', async (t) => {
  const { fake, client, signal } = await setUp(t);
  const sockets = new Set<unknown>();
  fake.override = (_seen, response) => {
    sockets.add(response.socket);
    return false;
  };
  await client.listJobs(() => true, signal);
  await client.submit({ job: {} }, signal);
  await client.listJobs(() => true, signal);
  assert.equal(sockets.size, 3);
});

test('an answer about one job that holds neither the job nor an error says nothing', async (t) => {
  const { fake, client, signal } = await setUp(t);
  const answers = ['{"jobs": []}', '{"jobs": [], "errors": []}', '{}', '{"jobs": [{"job_id": 5}]}', '<html>', ''];
  for (const body of answers) {
    fake.override = (_seen, response) => {
      response.writeHead(200).end(body);
      return true;
    };
    await assert.rejects(client.getJob(5, signal), { name: 'TransientError' }, body);
  }
});

test('a cancel is done when Slurm says so: not by a page, not beside an error, but by 204', async (t) => {
  const { fake, client, signal } = await setUp(t);
  const answers: [number, string, boolean][] = [
    [200, '{"errors": []}', true],
    [204, '', true],
    [200, '{"errors": [{"error_number": 2021}]}', true],
    [200, '{"errors": [{"error_number": 2010, "error": "Access denied"}]}', false],
    [200, '<html>login</html>', false],
    [200, '', false],
  ];
  for (const [status, body, done] of answers) {
    fake.override = (_seen, response) => {
      response.writeHead(status).end(body);
      return true;
    };
    if (done) await client.cancel(5, signal);
    else await assert.rejects(client.cancel(5, signal), { name: 'TransientError' }, body);
  }
});

test('a submission that 200 answers with errors and no job is what the errors say', async (t) => {
  const { fake, client, signal } = await setUp(t);
  fake.override = (_seen, response) => {
    response.writeHead(200).end('{"errors": [{"error_number": 2000, "error": "Invalid partition name"}]}');
    return true;
  };
  await assert.rejects(client.submit({}, signal), { name: 'PermanentError', code: 'Slurm2000' });
});

test('the token stands in no error, whoever sends it back', async (t) => {
  const { fake, secrets, client, signal } = await setUp(t);
  const token = jwt(NOW / 1000 + 600);
  secrets.values['slurm/token'] = token;
  fake.validTokens = new Set([token]);
  const bodies = [
    `<html>x-slurm-user-token: ${token}</html>`,
    `{"errors": [{"error_number": 1, "error": "${token}"}]}`,
  ];
  for (const status of [200, 400, 502]) {
    for (const body of bodies) {
      fake.override = (_seen, response) => {
        response.writeHead(status).end(body);
        return true;
      };
      const isClean = (error: Error) => !`${error.message}${String(error.cause)}`.includes(token.slice(0, 40));
      await assert.rejects(client.getJob(5, signal), isClean);
      if (status !== 200) await assert.rejects(client.submit({}, signal), isClean);
    }
  }
});
