import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Codec } from '../../src/idl/codec.js';
import type { Idl } from '../../src/idl/idl.js';
import {
  FLYTE1_SERVICES,
  FLYTE2_SERVICES,
  loadFlyteidl2,
  loadPluginHost,
  PLUGIN_HOST_SERVICE,
} from '../../src/idl/load.js';
import { executionMetadata, FLYTE1, FLYTE2 } from '../rpc/flyte/support.js';
import { fromRoot } from '../support/paths.js';

/** A valid request of a method that the daemon serves. */
export interface Request {
  readonly path: string;
  readonly codec: Codec;
  readonly bytes: Buffer;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

/** Stands in requests where a handle belongs. */
export const HANDLE = Buffer.from('here is the handle');

type Fields = Readonly<Record<string, unknown>>;

const PREFIX = 's3://bucket/e1/n0/data/0';
const FIXTURES = fromRoot('test', 'interop', 'fixtures');

/** What flytekit and flyte wrote, by the folder of the engine. */
function written(engine: string, what: 'template' | 'inputs'): Buffer[] {
  const folder = path.join(FIXTURES, engine);
  const names = readdirSync(folder).filter((name) => name.endsWith(`.${what}.pb`));
  return names.map((name) => readFileSync(path.join(folder, name)));
}

const connection = { secrets: { token: 'a-secret' }, configs: { url: 'http://127.0.0.1' } };

function nativeRequests(): Record<string, Fields[]> {
  const templates = written('flyte1', 'template');
  const inputs = written('flyte1', 'inputs');
  const tasks = templates.map((template, index) => ({
    task: {
      generatedName: `attempt-${index}`,
      template,
      inputs: inputs[index],
      inputPrefix: PREFIX,
      outputPrefix: PREFIX,
      metadata: executionMetadata(FLYTE1, index % 3),
      maxDatasetSizeBytes: '1000',
      connection,
    },
  }));
  const asked = { handle: HANDLE, outputPrefix: PREFIX, connection };
  return {
    Create: tasks,
    Do: tasks,
    Status: [asked],
    Get: [asked],
    Delete: [{ handle: HANDLE, reason: 'over', connection }],
    Watch: [{ plugins: ['fuzz'], handles: [HANDLE], resumeToken: '', includeCurrent: true }],
    ListPlugins: [{}],
  };
}

function engineRequests(engine: 'flyte1' | 'flyte2'): Record<string, Fields[]> {
  const protocol = engine === 'flyte1' ? FLYTE1 : FLYTE2;
  const inputs = written(engine, 'inputs');
  const metadata = executionMetadata(protocol, 1);
  const category = { name: 'fuzz', version: 0 };
  const creates = written(engine, 'template').map((template, index) => ({
    template,
    inputs: inputs[index],
    outputPrefix: PREFIX,
    taskExecutionMetadata: metadata,
  }));
  const asked = { resourceMeta: HANDLE, taskCategory: category };
  const start = { seconds: '1700000000', nanos: 5 };
  return {
    CreateTask: creates,
    GetTask: [{ ...asked, outputPrefix: PREFIX }],
    DeleteTask: [asked],
    GetTaskMetrics: [
      { ...asked, queries: ['cpu'], startTime: start, endTime: start, step: { seconds: '5', nanos: 0 } },
    ],
    GetTaskLogs: [{ ...asked, lines: '10', token: 't' }],
    ExecuteTaskSync: creates.flatMap(({ inputs: values, template, outputPrefix, taskExecutionMetadata }) => [
      { header: { template, outputPrefix, taskExecutionMetadata, maxDatasetSizeBytes: '7' } },
      { inputs: values },
    ]),
    GetAgent: [{ name: 'fuzz' }],
    GetConnector: [{ name: 'fuzz' }],
    ListAgents: [{}],
    ListConnectors: [{}],
  };
}

function of(idl: Idl, service: string, known: Record<string, Fields[]>): Request[] {
  return Object.entries(idl.rawService(service)).flatMap(
    ([name, { path: at, requestType, requestStream, responseStream }]) => {
      const codec = idl.codec(requestType);
      const bodies = known[name];
      if (bodies === undefined) throw new Error(`no request of ${at} is known`);
      return bodies.map((body) => ({ path: at, codec, bytes: codec.encode(body), requestStream, responseStream }));
    },
  );
}

/** At least one of each method of each service. */
export function requests(): Request[] {
  const flyte1 = loadPluginHost();
  const flyte2 = loadFlyteidl2();
  return [
    ...of(loadPluginHost(), PLUGIN_HOST_SERVICE, nativeRequests()),
    ...Object.values(FLYTE1_SERVICES).flatMap((service) => of(flyte1, service, engineRequests('flyte1'))),
    ...Object.values(FLYTE2_SERVICES).flatMap((service) => of(flyte2, service, engineRequests('flyte2'))),
  ];
}
