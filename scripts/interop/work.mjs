// Many tasks by the engine's own code over three replicas, and as many over a single daemon beside them: what each cost the remote.
import { mostAtOnce } from '../../dist/test/support/at-once.js';
import { HELD, PARTS } from './services.mjs';
import { limitResult, onStage } from './stage.mjs';
import { printed } from './tools.mjs';

const PLUGIN = 'interop-other';
/** Of what a single daemon asks of the remote, what replicas may ask more or less. */
const APART = 0.05;
/** Few tasks come apart by chance, since each is read at times of its own: by no more than so many roots of the calls. */
const BY_CHANCE = 3;

const CREATED = `pluginhost_tasks_created_total{plugin="${PLUGIN}"}`;

/** When a job began and ended, by the remote's book; it runs for its time, or until it is cancelled. */
const spanOf = ({ createdAt, cancelledAt = Number.POSITIVE_INFINITY, steer }) => ({
  from: createdAt,
  to: Math.min(createdAt + steer.runMs, cancelledAt),
});

function bookResults({ jobs, remote }, tasks) {
  const attempts = new Set(jobs.map(({ seen }) => seen.outputPrefix)).size;
  const most = mostAtOnce(jobs.map(spanOf));
  return [
    printed({
      case: 'work-one-job-each',
      ok: attempts === tasks && jobs.length === tasks,
      detail: `${jobs.length} jobs of ${attempts} attempts, ${tasks} tasks`,
      ms: 0,
    }),
    printed({
      case: 'work-quota-held',
      ok: most <= HELD.quota,
      detail: `${most} jobs at once, quota ${HELD.quota}`,
      ms: 0,
    }),
    ...['read', 'write'].map((kind) => limitResult(remote, kind, HELD[kind], PLUGIN, `work-${kind}-limit-held`)),
  ];
}

function costResult(single, several) {
  const apart = several / single - 1;
  const allowed = Math.max(APART * single, BY_CHANCE * Math.sqrt(single));
  return printed({
    case: 'work-calls-as-of-one',
    ok: single > 0 && Math.abs(several - single) <= allowed,
    detail: `${several} calls at the remote, of a single daemon ${single}: ${(apart * 100).toFixed(2)} %`,
    ms: 0,
  });
}

/** Where tasks are spread each replica has worked on some. */
function spreadResult(created) {
  return printed({
    case: 'work-spread',
    ok: created.every((count = 0) => count > 0),
    detail: `${created.map((count = 0) => count).join(', ')} tasks created by each, over ${PARTS} parts`,
    ms: 0,
  });
}

/**
 * Runs the work on both, beside each other, so that a machine that is slow for a while is slow for both. `drive` runs the case
 * `work` on a stage and answers its results.
 */
export async function workResults(tasks, keep, drive) {
  const sites = await Promise.all(
    ['daemon', 'replicas'].map((kind) =>
      onStage(kind, keep, async (stage) => {
        const found = await drive(kind, stage);
        const calls = stage.remote.calls.filter(({ plugin }) => plugin === PLUGIN).length;
        const created = await stage.service.metrics?.(CREATED);
        return { found, calls, created, remote: stage.remote, jobs: stage.remote.jobs };
      }),
    ),
  );
  const [single, several] = sites;
  return [
    ...sites.flatMap(({ found }) => found),
    ...bookResults(several, tasks),
    costResult(single.calls, several.calls),
    ...(PARTS > 1 ? [spreadResult(several.created)] : []),
  ];
}
