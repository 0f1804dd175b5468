// Runs of the Prefect deployment whose id the task names. The message of a run's last state is its output `result`.
import { createHttpClient, definePlugin, phases, readsById } from 'webapi-plugin-host';

const STATES = {
  ...{ SCHEDULED: 'queued', PENDING: 'initializing', RUNNING: 'running', PAUSED: 'running', CANCELLING: 'running' },
  ...{ COMPLETED: 'success', FAILED: 'failure', CRASHED: 'retryableFailure', CANCELLED: 'aborted' },
};

export default definePlugin({
  id: 'prefect',
  apiVersion: 1,
  taskTypes: ['prefect_deployment'],
  load({ settings }) {
    const api = createHttpClient({ baseUrl: settings.url, errors: { 409: 'permanent' } });
    const cancel = { json: { state: { type: 'CANCELLING' } } };
    return {
      async create(ctx) {
        const { deployment, parameters } = ctx.taskReader.read().custom;
        const json = { parameters, idempotency_key: ctx.idempotencyKey }; // a repeat is answered 200 with the first run
        const run = await api.request(ctx, 'POST', ['deployments', deployment, 'create_flow_run'], { json });
        return { resourceMeta: { id: run.body.id }, resource: run.body, existing: run.status === 200 };
      },
      ...readsById(100, (ctx, ids) =>
        api.post(ctx, '/flow_runs/filter', { json: { flow_runs: { id: { any_: ids } } } }),
      ),
      status({ resource: { state } }) {
        const said = state.message ?? state.name;
        return phases.from(state.type, STATES, { message: said, outputs: { result: said } });
      },
      delete: (ctx) => api.post(ctx, ['flow_runs', ctx.resourceMeta.id, 'set_state'], cancel),
    };
  },
});
