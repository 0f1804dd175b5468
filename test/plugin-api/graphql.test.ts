import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { isPluginError } from '../../src/plugin-api/errors.js';
import { createHttpClient } from '../../src/plugin-api/http/client.js';
import { isQuery } from '../../src/plugin-api/http/graphql.js';
import { type Remote, remote } from './http-remote.js';

const call = {};
const aboutJob = { resourceMeta: { id: '7' } };

/** A GraphQL endpoint that answers whatever the test says, and a client of it. */
async function endpoint(t: TestContext, answer: () => { readonly status?: number; readonly body: unknown }) {
  const made: Remote = await remote(t, (_request, response) => {
    const { status = 200, body } = answer();
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  const api = createHttpClient({ baseUrl: `${made.url}/graphql`, proxy: 'none' });
  t.after(() => api.close());
  return { api, seen: made.seen };
}

async function kindOf(promise: Promise<unknown>): Promise<string> {
  try {
    return `answered ${JSON.stringify(await promise)}`;
  } catch (error) {
    assert.ok(isPluginError(error), `not an error of the contract: ${error}`);
    return `${error.kind} ${error.code} ${error.faultKind ?? ''}`.trim();
  }
}

test('a query goes to the endpoint with its variables, and its data comes back', async (t) => {
  const { api, seen } = await endpoint(t, () => ({ body: { data: { run: { id: '7' } } } }));
  const query = 'query ($id: ID!) { run(id: $id) { id } }';
  assert.deepEqual(await api.graphql(call, query, { id: '7' }), { run: { id: '7' } });
  await api.graphql(call, '{ run }', {}, { path: '/v2' });
  assert.deepEqual(
    seen.map(({ method, url, body }) => [method, url, JSON.parse(body)]),
    [
      ['POST', '/graphql', { query, variables: { id: '7' } }],
      ['POST', '/graphql/v2', { query: '{ run }', variables: {} }],
    ],
  );
});

test('errors under a 200 have the meaning of their code, and never end a task whose job exists', async (t) => {
  let code: string | undefined;
  const { api } = await endpoint(t, () => ({
    body: { data: null, errors: [{ message: 'no', ...(code === undefined ? {} : { extensions: { code } }) }] },
  }));
  const kinds: [string | undefined, string, string][] = [];
  for (code of [
    undefined,
    'THROTTLED',
    'NOT_FOUND',
    'BAD_USER_INPUT',
    'GRAPHQL_VALIDATION_FAILED',
    'INTERNAL',
    '__proto__',
  ]) {
    kinds.push([
      code,
      await kindOf(api.graphql(call, 'mutation { run }')),
      await kindOf(api.graphql(aboutJob, '{ run }')),
    ]);
  }
  assert.deepEqual(kinds, [
    [undefined, 'transient GraphQLError', 'transient GraphQLError'],
    ['THROTTLED', 'throttled THROTTLED', 'throttled THROTTLED'],
    ['NOT_FOUND', 'permanent NOT_FOUND USER', 'not_found NOT_FOUND'],
    ['BAD_USER_INPUT', 'permanent BAD_USER_INPUT USER', 'transient BAD_USER_INPUT'],
    ['GRAPHQL_VALIDATION_FAILED', 'permanent GRAPHQL_VALIDATION_FAILED SYSTEM', 'transient GRAPHQL_VALIDATION_FAILED'],
    ['INTERNAL', 'transient INTERNAL', 'transient INTERNAL'],
    ['__proto__', 'transient __proto__', 'transient __proto__'],
  ]);
});

test('whatever else comes in the place of an answer is a fault that may pass', async (t) => {
  let body: unknown;
  const { api } = await endpoint(t, () => ({ body }));
  for (body of [null, 7, 'x', [], {}, { data: null }, { errors: {} }, { errors: [null] }, { errors: ['x'] }]) {
    assert.match(await kindOf(api.graphql(call, 'mutation { run }')), /^transient/, JSON.stringify(body));
  }
  body = { data: {}, errors: [] };
  assert.equal(await kindOf(api.graphql(call, '{ run }')), 'answered {}');
});

test('what a refused query says is told, as with any status', async (t) => {
  const { api } = await endpoint(t, () => ({ status: 400, body: { errors: [{ message: 'Cannot query field "x"' }] } }));
  await assert.rejects(api.graphql(call, '{ x }'), /HTTP 400: Cannot query field "x"/);
});

test('a document that changes something is told from one that asks', () => {
  for (const asks of ['{ runs }', 'query { runs }', '# mutation\n{ runs }', 'query Mutations { mutations }']) {
    assert.equal(isQuery(asks), true, asks);
  }
  const changes = ['mutation { run }', '  mutation($a: Int) { run }', 'fragment F on R { id } mutation M { run }'];
  for (const document of changes) assert.equal(isQuery(document), false, document);
});
