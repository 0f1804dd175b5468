// npm run interop:flyte1 -- [--service daemon|replicas|python] [--plugin connector-service|agent-service] [--cases a,b] [--record] [--keep]
// Drives the daemon with the plugin code of the Flyte 1 engine. Needs Go; --service python needs Python as well, and --service
// replicas (npm run interop:replicas) PostgreSQL: three daemons behind round_robin, with the service config of docs/flyte.md. There the
// case `work` takes many tasks (300, or REPLICA_TASKS) over them, and as many over a single daemon. REPLICA_PARTS=8 spreads the tasks over
// the replicas, of which one works for all otherwise; REPLICA_LEASE is their lease (3s).
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { LIMITS } from './services.mjs';
import { limitResult, onStage } from './stage.mjs';
import { buildGo, interop, options, record, root, runCases, summary } from './tools.mjs';
import { workResults } from './work.mjs';

const wanted = options();
const service = wanted.service ?? 'daemon';
const plugins = wanted.plugin === undefined ? ['connector-service', 'agent-service'] : [wanted.plugin];
const program = buildGo('flyte1');
const results = [];

/** One that disturbs the others and stands for what several replicas are there for; the rest needs an empty state, or one daemon. */
const SERIAL_OVER_REPLICAS = ['killed-at-every-stage'];
const WORK = 'work';
const TASKS = Number(process.env.REPLICA_TASKS ?? 300);

function casesOf(plugin) {
  if (wanted.cases !== undefined) return ['--cases', wanted.cases];
  if (service === 'replicas') return ['--serial=false', '--also', SERIAL_OVER_REPLICAS.join()];
  // The deprecated twin is the same code with a shorter deadline: the cases that disturb are run once.
  return [`--serial=${plugin === 'connector-service'}`];
}

/** What docs/flyte.md gives an engine to set. */
function serviceConfig() {
  const text = readFileSync(path.join(root, 'docs', 'flyte.md'), 'utf8');
  const [, config] = /defaultServiceConfig: >-\n((?: {8,}.*\n)+)/.exec(text) ?? [];
  if (config === undefined) throw new Error('docs/flyte.md has no service config');
  return JSON.stringify(JSON.parse(config));
}

function drive(plugin, kind, { data, urls, service: running }, cases) {
  return runCases(program, [
    ...['--plugin', plugin, '--endpoint', running.endpoint, '--control', urls.control],
    ...['--fixtures', path.join(interop, 'fixtures', 'flyte1'), '--data', data],
    ...(kind === 'replicas' ? ['--service-config', serviceConfig()] : []),
    ...cases,
  ]);
}

for (const plugin of plugins) {
  if (wanted.cases === WORK) break;
  console.log(`# ${plugin} against the ${service}`);
  await onStage(service, wanted.keep, async (stage) => {
    const { remote } = stage;
    const found = await drive(plugin, service, stage, casesOf(plugin));
    if (service !== 'python' && wanted.cases === undefined) {
      found.push(limitResult(remote, 'read', LIMITS.read), limitResult(remote, 'write', LIMITS.write));
    }
    results.push(...found.map((result) => ({ ...result, client: plugin })));
  });
}

if (service === 'replicas' && (wanted.cases ?? WORK) === WORK) {
  const [client] = plugins;
  console.log(`# ${client}: ${TASKS} tasks against the replicas, and a single daemon beside them`);
  const cases = ['--cases', WORK, '--tasks', String(TASKS)];
  const found = await workResults(TASKS, wanted.keep, (kind, stage) => drive(client, kind, stage, cases));
  results.push(...found.map((result) => ({ ...result, client })));
}

if (wanted.record)
  record(
    `${service}-flyte1`,
    results.filter(({ client }) => client === 'connector-service'),
  );
if (typeof wanted.json === 'string') writeFileSync(wanted.json, `${JSON.stringify(results, null, 1)}\n`);
process.exit(summary(results));
