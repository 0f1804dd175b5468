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
  const tokens = new TokenSource('main', { secret: { group: 'slurm', key: 'token' } }, secrets, now);
  const maxResponseBytes = options.maxResponseBytes ?? 1 << 20;
  const client = new RestClient({ url: fake.url, apiVersion: 'v0.0.38', user: 'jobs', tokens, maxResponseBytes, now });
  return { fake, secrets, client, signal: new AbortController().signal };
}

function failure(status: number, codes: (number | undefined)[] = [], more: Partial<RestFailure> = {}): RestFailure {
  const faults = codes.map((code) => ({ code, text: 'what Slurm said' }));
  return { what: 'submit job', submits: true, status, retryAfter: null, faults, text: '', ...more };
}

test('answers become errors of the contract by their own number first, by the HTTP status second', () => {
  const rows: [RestFailure, new (message: string) => Error, string | undefined][] = [
    [failure(500, [2017]), NotFoundError, undefined],
    [failure(404, [2017]), NotFoundError, undefined],
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

test('what no task asked for is never refused for good: a refused list would end every task of the cluster', () => {
  for (const [status, codes] of [
    [500, [2000]],
    [400, [9001]],
    [400, []],
    [405, []],
  ] as const) {
    const error = classify(failure(status, [...codes], { submits: false }), NOW);
    assert.ok(error instanceof TransientError, `${status} ${codes[0]}: ${error.name}`);
  }
  assert.ok(classify(failure(500, [2017], { submits: false }), NOW) instanceof NotFoundError);
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

test('Retry-After is read as seconds and as a date', () => {
  assert.equal(retryAfterMs('120', NOW), 120_000);
  assert.equal(retryAfterMs(new Date(NOW + 5_000).toUTCString(), NOW), 5_000);
  assert.equal(retryAfterMs(new Date(NOW - 5_000).toUTCString(), NOW), 0);
  assert.equal(retryAfterMs('soon', NOW), undefined);
  assert.equal(retryAfterMs(null, NOW), undefined);
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
