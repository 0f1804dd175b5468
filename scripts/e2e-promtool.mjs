// Scrapes a running admin server that has every metric in use and hands the answer to `promtool check metrics`.
// Fails where promtool is not installed. Build first.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const load = (file) => import(pathToFileURL(path.join(root, 'dist', file)).href);
const { AdminServer } = await load('src/admin/index.js');
const { createLog, METRICS, Telemetry } = await load('src/telemetry/index.js');
const { FIGURES } = await load('test/telemetry/support.js');
const { makeSource } = await load('test/admin/support.js');

const log = createLog({ level: 'silent' });
const telemetry = new Telemetry({ log, version: '0.0.0', plugins: ['slurm', 'demo'] });
telemetry.measure(() => FIGURES);
const plugin = 'slurm';
const rpc = telemetry.rpcMetrics({ service: 'pluginhost.v1.PluginHost', method: 'Status', type: 'unary' });
rpc.started();
rpc.handled('OK', 0.01);
telemetry.gateEvents.callFinished({ plugin, method: 'getMany', outcome: 'ok', waitMs: 1, durationMs: 5, batchSize: 3 });
telemetry.gateEvents.throttled({ plugin, lane: 'read', pauseMs: 1000 });
telemetry.gateEvents.rejected({ plugin, method: 'get', code: 'ADMISSION_DEADLINE' });
telemetry.refreshEvents(plugin).readStarted({ purpose: 'poll', lagMs: 3 });
telemetry.quotaEvents(plugin).granted({ waitMs: 10, forced: false });
for (const kind of ['count', 'gauge', 'observe']) {
  telemetry.hostEvents.metric({ pluginId: plugin, kind, name: `things_${kind}ed`, value: 1 });
}

const source = { ...makeSource(), metrics: () => telemetry.scrape() };
const server = new AdminServer({ host: '127.0.0.1', port: 0, maxConnections: 5, token: undefined, source, log });
const address = await server.start();
const text = await (await fetch(`http://${address}/metrics`)).text();
await server.stop(0);

const missing = Object.keys(METRICS).filter((name) => !text.includes(`# TYPE ${name} `));
if (missing.length > 0) {
  console.error(`not in the scrape: ${missing.join(', ')}`);
  process.exitCode = 1;
}
const { status, error, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
  input: text,
  encoding: 'utf8',
});
process.stdout.write(stdout ?? '');
process.stderr.write(stderr ?? '');
if (error !== undefined) {
  console.error(`promtool cannot be run: ${error.message}; install the package prometheus`);
  process.exitCode = 1;
} else if (status !== 0) process.exitCode = 1;
else
  console.log(`promtool: ${text.split('\n').filter((line) => line.startsWith('# TYPE')).length} metrics, no complaint`);
