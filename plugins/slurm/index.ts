import { definePlugin, PLUGIN_API_VERSION } from 'webapi-plugin-host';
import type { SlurmMeta } from './meta.js';
import { SlurmPlugin } from './plugin.js';
import { type SlurmSettings, settingsSchema } from './settings.js';
import type { SlurmResource } from './status.js';

/** Runs tasks of type `slurm` as batch jobs of Slurm clusters, through slurmrestd. See docs/plugins/slurm.md. */
export default definePlugin<SlurmSettings, SlurmMeta, SlurmResource>({
  id: 'slurm',
  apiVersion: PLUGIN_API_VERSION,
  version: '1.0.0',
  taskTypes: ['slurm'],
  // slurmrestd keeps the controller busy with every call and a list answers for all jobs of a cluster at once
  config: {
    readRateLimiter: { qps: 5, burst: 20 },
    writeRateLimiter: { qps: 5, burst: 20 },
    caching: { resyncInterval: '30s' },
  },
  settings: settingsSchema,
  // certificates of an own authority in front of slurmrestd
  environment: ['NODE_EXTRA_CA_CERTS'],
  load: (setup) => new SlurmPlugin(setup),
});
