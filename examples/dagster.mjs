// Runs of Dagster jobs, by the GraphQL API of its webserver. The tag `result` that a run gives itself is its output.
import { createHttpClient, definePlugin, PermanentError, phases, readsById } from 'webapi-plugin-host';

const STATES = { '*': 'queued', STARTED: 'running', SUCCESS: 'success', FAILURE: 'failure', CANCELED: 'aborted' };
const RUNS = `query ($f: RunsFilter) { runsOrError(filter: $f) { ... on Runs { results { id status tags { key value } } } } }`;
const LAUNCH = `mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { id } } ... on RunConfigValidationInvalid { errors { message } } } }`;
const STOP = `mutation ($id: String!) { terminateRun(runId: $id, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename } }`;

export default definePlugin({
  id: 'dagster',
  apiVersion: 1,
  taskTypes: ['dagster_job'],
  load({ settings }) {
    const api = createHttpClient({ baseUrl: settings.url });
    const list = async (ctx, f) => (await api.graphql(ctx, RUNS, { f })).runsOrError.results;
    const outputs = ({ tags }) => ({ result: tags.find((tag) => tag.key === 'result')?.value ?? '' });
    return {
      async create(ctx) {
        const tags = [{ key: 'webapi-plugin-host', value: ctx.idempotencyKey }]; // Dagster takes no id, so look first
        const [found] = await list(ctx, { tags });
        if (found) return { resourceMeta: { id: found.id }, resource: found, existing: true };
        const params = { ...ctx.taskReader.read().custom, executionMetadata: { tags } };
        const { launchRun } = await api.graphql(ctx, LAUNCH, { params });
        if (launchRun.errors) throw new PermanentError(launchRun.errors[0].message, { code: launchRun.__typename });
        return { resourceMeta: { id: launchRun.run.id } };
      },
      ...readsById(50, (ctx, runIds) => list(ctx, { runIds })),
      status: ({ resource: run }) => phases.from(run.status, STATES, { outputs: outputs(run) }),
      delete: (ctx) => api.graphql(ctx, STOP, ctx.resourceMeta),
    };
  },
});
