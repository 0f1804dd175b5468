import { loadPluginHost } from '../../src/idl/load.js';
import { createNativeService } from '../../src/rpc/native/service.js';
import { StatusEncoder } from '../../src/rpc/native/status-bytes.js';
import { createRpcServer } from '../../src/rpc/server.js';
import { createRpcMetrics } from '../../src/telemetry/rpc-metrics.js';
import { cpuSeconds, serve } from '../lib/processes.js';
import type { ServerRequest, ServerStarted } from './messages.js';
import { benchMetrics, makeTasks } from './tasks.js';

/** The daemon's own server, native service, use cases, store, schedule and metrics, with tasks in memory. */
async function start(count: number): Promise<ServerStarted> {
  const idl = loadPluginHost();
  const { tasks, records } = makeTasks(count);
  const server = createRpcServer({
    host: '127.0.0.1',
    port: 0,
    services: [createNativeService({ tasks, idl })],
    health: { ready: () => true, plugins: () => [], onChange: () => () => {} },
    reflection: false,
    metrics: createRpcMetrics(benchMetrics()),
    log: { fault: (event) => console.error('fault', event) },
  });
  const { port } = await server.listen();
  const request = idl.codec('pluginhost.v1.StatusRequest');
  const requests = records.map((task) =>
    request.encode({ handle: task.answeredHandle!, outputPrefix: task.outputPrefix }),
  );
  return { port, requests, answerBytes: new StatusEncoder(idl).response(records[0]!, false).length };
}

serve((request: ServerRequest) => (request.kind === 'start' ? start(request.tasks) : cpuSeconds()));
