import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { flyteNotes } from '../../../src/rpc/flyte/notes.js';
import { decode, encode, FLYTE1, FLYTE2, report, startFlyte } from './support.js';

const REPORTS = [
  report({
    id: 'jobs',
    taskTypes: [
      { name: 'job', versions: [] },
      { name: 'batch', versions: [1, 2] },
    ],
  }),
  report({ id: 'quick', kind: 'sync', state: 'QUARANTINED', taskTypes: [{ name: 'ask', versions: [] }] }),
  report({ id: 'broken', kind: undefined, state: 'FAILED' }),
];

test('Flyte 1 lists every plugin whose types are known, whatever its state, with types in both forms', async (t) => {
  const flyte = await startFlyte(t);
  flyte.tasks.reports = REPORTS;
  const { error, bytes } = await flyte.call(`/${FLYTE1.metadataService}/ListAgents`, Buffer.alloc(0));
  assert.equal(error, undefined);
  assert.deepEqual(decode(FLYTE1, 'ListAgentsResponse', bytes).agents, [
    {
      name: 'jobs',
      isSync: false,
      supportedTaskTypes: ['job', 'batch'],
      supportedTaskCategories: [
        { name: 'job', version: 0 },
        { name: 'batch', version: 1 },
        { name: 'batch', version: 2 },
      ],
    },
    {
      name: 'quick',
      isSync: true,
      supportedTaskTypes: ['ask'],
      supportedTaskCategories: [{ name: 'ask', version: 0 }],
    },
  ]);
});

test('Flyte 2 lists the same as connectors', async (t) => {
  const flyte = await startFlyte(t);
  flyte.tasks.reports = REPORTS;
  const { bytes } = await flyte.call(`/${FLYTE2.metadataService}/ListConnectors`, Buffer.alloc(0));
  const { connectors } = decode(FLYTE2, 'ListConnectorsResponse', bytes);
  assert.deepEqual(
    connectors.map((connector: { name: string }) => connector.name),
    ['jobs', 'quick'],
  );
});

test('one agent or connector is found by name; an unknown one is NOT_FOUND and told who is there', async (t) => {
  const flyte = await startFlyte(t);
  flyte.tasks.reports = REPORTS;
  for (const [protocol, method, one] of [
    [FLYTE1, 'GetAgent', 'agent'],
    [FLYTE2, 'GetConnector', 'connector'],
  ] as const) {
    const path = `/${protocol.metadataService}/${method}`;
    const found = await flyte.call(path, encode(protocol, `${method}Request`, { name: 'jobs' }));
    assert.equal(decode(protocol, `${method}Response`, found.bytes)[one].name, 'jobs');
    const missing = await flyte.call(path, encode(protocol, `${method}Request`, { name: 'broken' }));
    assert.equal(missing.error?.code, status.NOT_FOUND);
    assert.match(missing.error!.details, /"broken".*jobs, quick/);
    assert.equal(missing.details?.errorInfo?.reason, 'PLUGIN_UNKNOWN');
  }
});

test('the notes at start-up name what Flyte 1 cannot route and what Flyte 2 must have configured', () => {
  const notes = flyteNotes(REPORTS);
  assert.deepEqual(flyteNotes(REPORTS, true), notes.slice(0, -1), 'replicas that know each other may be several');
  const warned = notes.filter(({ level }) => level === 'warn').map(({ message }) => message);
  assert.equal(warned.length, 2);
  assert.match(warned[0]!, /batch is served in the versions 1, 2/);
  assert.match(warned[1]!, /one replica.*Recreate/);
  const told = notes.filter(({ level }) => level === 'info').map(({ message }) => message);
  assert.match(told[0]!, /supportedTaskTypes: job, batch, ask/);
  assert.match(told[1]!, /no sync service.*quick/);
});

test('the notes do not warn of versions that nobody doubles', () => {
  assert.equal(flyteNotes([REPORTS[1]!]).filter(({ message }) => message.includes('versions')).length, 0);
});
