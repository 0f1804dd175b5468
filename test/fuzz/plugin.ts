import { definePlugin, phases } from 'webapi-plugin-host';

/** So long after its creation a job is over. */
const JOB_MS = 2_000;

/** Takes tasks of any type that nobody else takes. It keeps nothing, so that whatever grows is the daemon's. */
export default definePlugin<object, { readonly at: number }>({
  id: 'fuzz',
  apiVersion: 1,
  isDefault: true,
  taskTypes: ['fuzz'],
  load: () => ({
    create: async () => ({ resourceMeta: { at: Date.now() }, resource: phases.running({ reason: 'begun' }) }),
    get: async ({ resourceMeta }) =>
      Date.now() - resourceMeta.at < JOB_MS ? phases.running({ reason: 'goes on' }) : phases.success(),
    delete: async () => {},
    getLogs: async () => ({ lines: [{ message: 'a line' }], token: '' }),
    getMetrics: async () => [],
  }),
});
