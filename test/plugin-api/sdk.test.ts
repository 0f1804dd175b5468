import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isPluginError, NotFoundError, PermanentError } from '../../src/plugin-api/errors.js';
import { callSdk, type SdkCallOptions } from '../../src/plugin-api/http/sdk.js';
import type { HttpCall } from '../../src/plugin-api/http/types.js';
import { closedPort } from './http-remote.js';

const makes: HttpCall = {};
const aboutJob: HttpCall = { resourceMeta: 'q-1' };

/** An error as SDKs throw them. */
function sdkError(name: string, fields: object = {}): Error {
  return Object.assign(new Error('said the remote'), { name }, fields);
}

async function outcome(call: HttpCall, error: unknown, options?: SdkCallOptions): Promise<string> {
  try {
    await callSdk(call, () => Promise.reject(error), options);
  } catch (thrown) {
    if (!isPluginError(thrown)) return thrown === error ? 'as it was' : `another: ${thrown}`;
    const { kind, code, retryAfterMs, faultKind, notCreated } = thrown as typeof thrown & { notCreated?: boolean };
    return [kind, code, faultKind, retryAfterMs, notCreated === true ? 'not created' : undefined]
      .filter((part) => part !== undefined)
      .join(' ');
  }
  throw new assert.AssertionError({ message: 'nothing was thrown' });
}

test('an SDK call answers what it answers', async () => {
  assert.equal(await callSdk(makes, () => Promise.resolve(7)), 7);
});

test('the status that an error carries, under any of its usual names, decides as it does for the HTTP client', async () => {
  const forms = [
    { $metadata: { httpStatusCode: 400 } },
    { statusCode: 400 },
    { status: 400 },
    { response: { status: 400 } },
    { response: { statusCode: 400 } },
  ];
  for (const form of forms) {
    const error = sdkError('InvalidRequestException', form);
    assert.equal(await outcome(makes, error), 'permanent InvalidRequestException USER');
    assert.equal(await outcome(aboutJob, error), 'transient InvalidRequestException');
  }
  assert.equal(await outcome(aboutJob, sdkError('NotFound', { status: 404 })), 'not_found NotFound');
  assert.equal(await outcome(makes, sdkError('InternalServer', { status: 500 })), 'transient InternalServer');
});

test('the page of a proxy refuses nothing for good, but what the SDK could name is no page', async () => {
  const page = { $metadata: { httpStatusCode: 403 }, $response: { headers: { 'content-type': 'text/html' } } };
  assert.equal(await outcome(makes, sdkError('UnknownError', page)), 'transient UnknownError');
  assert.equal(
    await outcome(makes, sdkError('InvalidRequestException', page)),
    'permanent InvalidRequestException USER',
  );
});

test('throttles are told by status, hint or name, and with the time that the remote asks for', async () => {
  const asked = { $response: { headers: { 'Retry-After': '7' } } };
  assert.equal(await outcome(makes, sdkError('E', { status: 429, ...asked })), 'throttled E 7000');
  assert.equal(await outcome(makes, sdkError('E', { $retryable: { throttling: true } })), 'throttled E');
  const named = sdkError('ThrottlingException', { $metadata: { httpStatusCode: 400 } });
  assert.equal(await outcome(aboutJob, named), 'throttled ThrottlingException');
  const headers = new Headers({ 'retry-after': '2' });
  assert.equal(await outcome(makes, sdkError('E', { status: 429, headers })), 'throttled E 2000');
});

test('a missing or old credential leaves no job of unclear outcome and blames no task', async () => {
  for (const name of ['CredentialsProviderError', 'ExpiredTokenException', 'UnrecognizedClientException']) {
    const error = sdkError(name, { $metadata: { httpStatusCode: 400 } });
    assert.equal(await outcome(makes, error), `transient ${name} not created`);
  }
});

test('a connection that is refused, breaks or takes too long may pass', async () => {
  const url = `http://127.0.0.1:${await closedPort()}/`;
  const refused = await fetch(url).catch((error: unknown) => error);
  assert.equal(await outcome(makes, refused), 'transient HTTPUnreachable not created');
  assert.equal(await outcome(makes, sdkError('Error', { code: 'ECONNRESET' })), 'transient HTTPUnreachable');
  assert.equal(await outcome(makes, sdkError('TimeoutError')), 'transient HTTPUnreachable');
  const ended = { signal: AbortSignal.abort() };
  assert.equal(await outcome(ended, sdkError('AbortError')), 'transient HTTPAborted');
});

test('the table of the author wins, and sees the name', async () => {
  const errors: SdkCallOptions['errors'] = {
    400: ({ body }) => ((body as { name: string }).name === 'Gone' ? 'notFound' : undefined),
  };
  assert.equal(await outcome(aboutJob, sdkError('Gone', { status: 400 }), { errors }), 'not_found Gone');
  assert.equal(await outcome(aboutJob, sdkError('Other', { status: 400 }), { errors }), 'transient Other');
});

test('errors of the contract, mistakes of the plugin and what is no error are left as they are', async () => {
  const own = new PermanentError('no');
  await assert.rejects(
    callSdk(makes, () => Promise.reject(own)),
    (thrown) => thrown === own,
  );
  await assert.rejects(
    callSdk(makes, () => Promise.reject(new NotFoundError('gone'))),
    NotFoundError,
  );
  for (const thrown of [new TypeError('x is not a function'), 'text', undefined, null, 7, { status: 'FAILED' }]) {
    assert.equal(await outcome(makes, thrown), 'as it was', String(thrown));
  }
});
