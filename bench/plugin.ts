import { openSync, writeSync } from 'node:fs';
import { definePlugin, phases } from 'webapi-plugin-host';

interface Settings {
  /** Reads up to a hundred tasks a call. */
  readonly batch: boolean;
  /** How often a task's state changes, in seconds; 0 for never. */
  readonly changeS: number;
  /** How long a job runs, in seconds; 0 for one without an end. */
  readonly endS: number;
  /** File that is told how many tasks were read so far. */
  readonly counter: string;
}

interface Meta {
  readonly job: string;
  readonly cluster: string;
}

/** In JSON a meta is of 60 bytes, as the tasks of `memory` should have it. */
const CLUSTER = 'bench-cluster-0';
/** Of 40 bytes. */
const REASON = 'the job runs on node c12 of the cluster.';

/**
 * A remote that answers at once, within the plugin's own process: what is left is the daemon's work, and the channel's. Serves the
 * task type of its own name.
 */
export const benchPlugin = (id: string) =>
  definePlugin<Settings, Meta>({
    id,
    apiVersion: 1,
    taskTypes: [id],
    load({ settings }) {
      let read = 0;
      const counter = openSync(settings.counter, 'w');
      const seen = (tasks: number) => {
        read += tasks;
        // In one write of one length, so that who looks never finds half a number.
        writeSync(counter, String(read).padStart(16, '0'), 0);
      };
      const { changeS, endS } = settings;
      const unchanged = () => phases.running({ reason: REASON, remotePhase: 'R' });
      // Each in its own second, so that changes come evenly.
      const step = (job: string) => Math.floor((Date.now() / 1000 + Number(job.slice(-9))) / changeS);
      const isOver = (job: string) => endS > 0 && Date.now() - Number(job.slice(4)) >= endS * 1000;
      const seenOf = (job: string) => (isOver(job) ? phases.success() : running(job));
      const running = (job: string) =>
        changeS === 0 ? unchanged() : phases.running({ reason: `the job is at step ${step(job)}`, remotePhase: 'R' });
      let created = 0;
      return {
        create: () => {
          created += 1;
          // One that ends says since when it runs, to whatever process reads it.
          const job = `job-${String(endS > 0 ? Date.now() : created).padStart(18, '0')}`;
          return Promise.resolve({ resourceMeta: { job, cluster: CLUSTER }, resource: unchanged() });
        },
        get: ({ resourceMeta }) => {
          seen(1);
          return Promise.resolve(seenOf(resourceMeta.job));
        },
        delete: () => Promise.resolve(),
        ...(settings.batch
          ? {
              getMany: {
                maxBatch: 100,
                read: (contexts) => {
                  seen(contexts.length);
                  return Promise.resolve(
                    contexts.map(({ resourceMeta }) => ({
                      status: 'fulfilled' as const,
                      value: seenOf(resourceMeta.job),
                    })),
                  );
                },
              },
            }
          : {}),
      };
    },
  });

export default benchPlugin('bench');
