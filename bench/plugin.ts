import { openSync, writeSync } from 'node:fs';
import { definePlugin, phases } from 'webapi-plugin-host';

interface Settings {
  /** Reads up to a hundred tasks a call. */
  readonly batch: boolean;
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

/** A remote that answers at once, within the plugin's own process: what is left is the daemon's work, and the channel's. */
export default definePlugin<Settings, Meta>({
  id: 'bench',
  apiVersion: 1,
  taskTypes: ['bench'],
  load({ settings }) {
    let read = 0;
    const counter = openSync(settings.counter, 'w');
    const seen = (tasks: number) => {
      read += tasks;
      // In one write of one length, so that who looks never finds half a number.
      writeSync(counter, String(read).padStart(16, '0'), 0);
    };
    const running = () => phases.running({ reason: REASON, remotePhase: 'R' });
    let created = 0;
    return {
      create: () => {
        created += 1;
        const job = `job-${String(created).padStart(18, '0')}`;
        return Promise.resolve({ resourceMeta: { job, cluster: CLUSTER }, resource: running() });
      },
      get: () => {
        seen(1);
        return Promise.resolve(running());
      },
      delete: () => Promise.resolve(),
      ...(settings.batch
        ? {
            getMany: {
              maxBatch: 100,
              read: (contexts) => {
                seen(contexts.length);
                return Promise.resolve(contexts.map(() => ({ status: 'fulfilled' as const, value: running() })));
              },
            },
          }
        : {}),
    };
  },
});
