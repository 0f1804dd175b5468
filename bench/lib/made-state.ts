import { systemClock } from '../../src/lib/clock.js';
import { attemptKeyOf, taskIdOf } from '../../src/model/attempt-key.js';
import { phaseState } from '../../src/model/phase-state.js';
import {
  EmbeddedEngine,
  encodeFact,
  type FactKey,
  type FactsByKind,
  factKey,
  type StateEngine,
  smallOf,
} from '../../src/state/index.js';

/** Facts that one commit writes. */
const BATCH = 1_000;

const keyOf = (index: number): string =>
  attemptKeyOf({ name: `flytesnacks-development-${String(index).padStart(56, '0')}`, executionId: '' });

/** The handle of a task with this number. */
export const madeHandle = (index: number): Buffer => Buffer.from(`${keyOf(index)}${'h'.repeat(200)}`);

/** A live task as the daemon writes it, as large as those of the bench `memory`. */
function liveFact(index: number, nowMs: number, observedAtMs: number): readonly [string, FactsByKind['task']] {
  const key = keyOf(index);
  const identity = {
    plugin: 'bench',
    taskType: 'bench',
    taskTypeVersion: 0,
    key,
    incarnation: 1,
    project: 'flytesnacks',
    domain: 'development',
    namespace: 'flytesnacks-development-of-a-team-with-a-rather-long-name-x',
    quotaNamespace: 'default',
    createdAtMs: nowMs,
    outputNames: [],
  };
  const fact = {
    identity,
    stage: 'live' as const,
    order: index + 1,
    meta: Buffer.from(JSON.stringify({ job: `job-${String(index).padStart(18, '0')}`, cluster: 'bench-cluster-0' })),
    outputPrefix: `s3://flyte-metadata/propeller/flytesnacks-development-f${index}/n0/data/0`,
    node: undefined,
    requirements: undefined,
    sentBoundMs: undefined,
    createFailingForMs: 0,
    waitedForMs: 0,
    state: smallOf(phaseState('RUNNING', { reason: 'the job runs on node c12 of the cluster.', remotePhase: 'R' })),
    phaseVersion: 2,
    observedAtMs,
    lastFailure: undefined,
    failing: undefined,
    answeredHandle: madeHandle(index),
    liveSinceMs: nowMs,
    lastAskedAtMs: nowMs,
    confirmed: true,
    undeliveredAtMs: undefined,
    undeliveredForMs: 0,
    adopted: false,
    deleted: false,
    delivered: false,
    cancelling: undefined,
    hadConnection: false,
  };
  return [taskIdOf(key, 1), fact];
}

/**
 * Writes the state of a daemon with so many live tasks, as if an earlier run had left it. Their last reads lie within `spreadMs`,
 * evenly, as those of a daemon do that has run for long.
 */
export function makeState(dir: string, tasks: number, spreadMs = 0): Promise<void> {
  return fillState(new EmbeddedEngine({ dir, clock: systemClock }), tasks, spreadMs);
}

/** The same where any engine keeps it, which is opened and closed here. */
export async function fillState(engine: StateEngine, tasks: number, spreadMs = 0): Promise<void> {
  await engine.open();
  const nowMs = Math.round(systemClock.now());
  for (let from = 0; from < tasks; from += BATCH) {
    const puts = new Map<FactKey, Buffer>();
    for (let index = from; index < Math.min(tasks, from + BATCH); index++) {
      const [id, fact] = liveFact(index, nowMs, Math.round(nowMs - (spreadMs * index) / tasks));
      puts.set(factKey('task', id), encodeFact('task', id, fact));
    }
    await engine.commit(puts, []);
  }
  await engine.close();
}
