// Jobs of a Ray cluster, by the job API of its dashboard. What a job prints as `result: …` is its output `result`.
import { createHttpClient, definePlugin, phases, readsById } from 'webapi-plugin-host';

const STATES = { PENDING: 'queued', RUNNING: 'running', SUCCEEDED: 'success', FAILED: 'failure', STOPPED: 'aborted' };

export default definePlugin({
  id: 'ray',
  apiVersion: 1,
  taskTypes: ['ray_job'],
  load({ settings }) {
    const api = createHttpClient({ baseUrl: `${settings.url}/api/jobs/` });
    async function phaseOf(ctx, job) {
      const { logs } = job.status === 'SUCCEEDED' ? await api.get(ctx, [job.submission_id, 'logs']) : { logs: '' };
      const outputs = { result: /^result: (.*)$/m.exec(logs)?.[1] ?? '' };
      return phases.from(job.status, STATES, { outputs, message: job.message, code: job.error_type });
    }
    return {
      async create(ctx) {
        const id = ctx.idempotencyKey; // Ray refuses a second job of this id, with a 500
        const json = { ...ctx.taskReader.read().custom, submission_id: id };
        const errors = { 500: ({ body }) => (/already exists/.test(body) ? 'ok' : undefined) };
        const { status } = await api.request(ctx, 'POST', '/', { json, as: 'text', errors });
        if (status !== 500) return { resourceMeta: { id } };
        return { resourceMeta: { id }, existing: true, resource: await phaseOf(ctx, await api.get(ctx, [id])) };
      },
      ...readsById(100, (ctx) => api.get(ctx, '/'), { idOf: (job) => job.submission_id, each: phaseOf }),
      delete: (ctx) => api.post(ctx, [ctx.resourceMeta.id, 'stop']),
    };
  },
});
