// Queries of AWS Athena, through its SDK. The output `results` is where Athena puts a query's rows.
import * as aws from '@aws-sdk/client-athena';
import { callSdk, definePlugin, phases, readsById } from 'webapi-plugin-host';

const STATES = { QUEUED: 'queued', RUNNING: 'running', SUCCEEDED: 'success', FAILED: 'failure', CANCELLED: 'aborted' };

export default definePlugin({
  id: 'athena',
  apiVersion: 1,
  taskTypes: ['athena'],
  environment: ['AWS_*'],
  load({ settings }) {
    const athena = new aws.AthenaClient(settings);
    const send = (ctx, command) => callSdk(ctx, () => athena.send(command, { abortSignal: ctx.signal }));
    async function list(ctx, ids) {
      return (await send(ctx, new aws.BatchGetQueryExecutionCommand({ QueryExecutionIds: ids }))).QueryExecutions;
    }
    return {
      async create(ctx) {
        const query = { ...ctx.taskReader.read().custom, ClientRequestToken: ctx.idempotencyKey };
        const { QueryExecutionId } = await send(ctx, new aws.StartQueryExecutionCommand(query));
        return { resourceMeta: QueryExecutionId };
      },
      ...readsById(50, list, { idOf: (query) => query.QueryExecutionId }),
      status({ resource: { Status, ResultConfiguration } }) {
        const outputs = { results: ResultConfiguration.OutputLocation };
        return phases.from(Status.State, STATES, { outputs, message: Status.StateChangeReason });
      },
      delete: (ctx) => send(ctx, new aws.StopQueryExecutionCommand({ QueryExecutionId: ctx.resourceMeta })),
    };
  },
});
