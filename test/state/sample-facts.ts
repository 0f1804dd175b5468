import { phaseState } from '../../src/model/phase-state.js';
import type { TaskPayload } from '../../src/model/task-record.js';
import { smallOf } from '../../src/state/facts/phase-fields.js';
import { encodeFact, type Fact, type FactKey, type FactsByKind, factKey } from '../../src/state/index.js';
import { identityOf } from '../support/identity.js';

/** One fact of each kind, with every field set that may be. A release's fixture holds these. */
export const SAMPLE: { readonly [K in keyof FactsByKind]: FactsByKind[K] } = {
  task: {
    identity: identityOf('a1', { outputNames: ['x', 'y'], incarnation: 3, taskTypeVersion: 2 }),
    stage: 'live',
    order: 7,
    meta: Buffer.from('{"job":1}'),
    outputPrefix: 's3://bucket/out',
    node: { nodeKey: 'node', attempt: 2 },
    requirements: { namespace: 'gpu', constraints: { project: 3 } },
    sentBoundMs: 30_000,
    createFailingForMs: 90_000.5,
    waitedForMs: 75_000,
    state: smallOf(
      phaseState('RUNNING', {
        reason: 'läuft',
        error: { code: 'E', message: 'm', kind: 'SYSTEM' },
        logs: [{ uri: 'http://logs', name: 'log', ttlMs: 5 }],
        customInfo: { a: [1, null, { b: true }] },
        externalResources: [{ externalId: 'part', phase: 'QUEUED', logs: [] }],
        remotePhase: 'STARTED',
        version: 4,
        nextPollAfterMs: 1500,
      }),
    ),
    phaseVersion: 12,
    observedAtMs: 1_700_000_000_000.5,
    lastFailure: { code: 'PLUGIN_THREW_TRANSIENT', message: 'away' },
    failing: {
      failures: 2,
      failingForMs: 90_000,
      notFound: 3,
      notFoundForMs: 60_000,
      frozenForMs: 30_000.5,
      unwrittenForMs: 1_000,
    },
    answeredHandle: Buffer.from('handle'),
    liveSinceMs: 1_700_000_000_000,
    lastAskedAtMs: 1_700_000_000_001,
    confirmed: true,
    undeliveredAtMs: 1_700_000_000_002,
    undeliveredForMs: 90_000,
    adopted: true,
    deleted: true,
    delivered: true,
    cancelling: 'deleted by its engine',
    hadConnection: true,
  },
  payload: payload(),
  outputs: { literalMap: Buffer.from([0, 1, 2, 255]), names: ['x'] },
  owed: {
    identity: identityOf('a2'),
    node: { nodeKey: 'node', attempt: 1 },
    meta: Buffer.from('{}'),
    outputPrefix: 's3://bucket/out',
    reason: 'deleted',
    sinceMs: 1_700_000_000_000,
    attempts: 5,
    lastError: { code: 'PLUGIN_THREW_TRANSIENT', message: 'away' },
    readFirst: Buffer.from('handle'),
    jobOver: true,
    fromHandle: true,
    holdsToken: true,
    failingForMs: 120_000,
    hadConnection: true,
  },
  unclear: {
    identity: identityOf('a3'),
    node: undefined,
    outputPrefix: '',
    sinceMs: 1_700_000_000_000,
    looks: 2,
    leftBecause: 'six looks did not find out',
    lastError: { code: 'PLUGIN_DEADLINE', message: 'late' },
    sentBoundMs: undefined,
    lookBoundMs: 300_000,
    hadConnection: false,
  },
  mark: {
    atMs: 1_700_000_000_000,
    incarnations: [
      { incarnation: 1, deleted: true, ended: false, failure: undefined, next: 2 },
      {
        incarnation: 2,
        deleted: false,
        ended: true,
        failure: smallOf(phaseState('PERMANENT_FAILURE', { error: { code: 'X', message: 'y', kind: 'USER' } })),
        next: undefined,
      },
    ],
  },
  bucket: { level: 12.5, pausedUntilMs: 1_700_000_000_300.5, failingForMs: 60_000.5 },
  do: {
    state: smallOf(phaseState('SUCCESS', { outputs: { kind: 'inline', literalMap: Buffer.alloc(0), names: [] } })),
    outputs: { literalMap: Buffer.from('map'), names: ['o'] },
    endedAtMs: 1_700_000_000_000,
  },
  routes: {
    plugins: [
      {
        id: 'demo',
        failed: true,
        kind: 'async',
        isDefault: true,
        taskTypes: [
          { name: 't', versions: undefined },
          { name: 'u', versions: [0, 1] },
        ],
      },
    ],
    defaultForTaskTypes: { t: 'demo', __proto__x: 'other' },
  },
  birth: { completeSinceMs: 1_700_000_000_000, endsKnownSinceMs: 1_700_000_000_001, id: 'f00d', starts: 2 },
  handleKey: { signingKey: 'a-key-of-the-samples-0123456789abcdef' },
};

function payload(): TaskPayload {
  return {
    template: Buffer.from('template'),
    inputs: Buffer.alloc(300, 7),
    inputPrefix: 's3://bucket/in',
    metadata: {
      generatedName: 'gen',
      taskExecutionId: {
        task: { project: 'p', domain: 'd', name: 'n', version: 'v' },
        project: 'p',
        domain: 'd',
        execution: 'e',
        nodeId: 'n0',
        retryAttempt: 1,
      },
      namespace: 'ns',
      labels: { __proto__: 'x', a: 'b' } as never,
      annotations: {},
      serviceAccount: 'sa',
      environmentVariables: { HOME: '/' },
      maxAttempts: 3,
      interruptible: true,
    },
    maxDatasetSizeBytes: 1024,
  };
}

const NAMES: Readonly<Record<keyof FactsByKind, string>> = {
  task: 'a1-3',
  payload: 'a1-3',
  outputs: 'a1-3',
  owed: 'a2-1',
  unclear: 'a3-1',
  mark: 'a4',
  bucket: 'demo/read',
  do: 'a5',
  routes: '',
  birth: '',
  handleKey: '',
};

export function sampleFacts(): Fact[] {
  return Object.entries(SAMPLE).map(([kind, fact]) => ({ kind, name: NAMES[kind as keyof FactsByKind], fact }) as Fact);
}

/** The facts as pairs for an engine. */
export function encoded(facts: readonly Fact[] = sampleFacts()): Map<FactKey, Buffer> {
  return new Map(facts.map(({ kind, name, fact }) => [factKey(kind, name), encodeFact(kind, name, fact as never)]));
}
