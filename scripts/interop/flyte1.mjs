// npm run interop:flyte1 -- [--service daemon|python] [--plugin connector-service|agent-service] [--cases a,b] [--record] [--keep]
// Drives the daemon with the plugin code of the Flyte 1 engine. Needs Go; --service python needs Python as well.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { LIMITS } from './services.mjs';
import { limitResult, onStage } from './stage.mjs';
import { buildGo, interop, options, record, runCases, summary } from './tools.mjs';

const wanted = options();
const service = wanted.service ?? 'daemon';
const plugins = wanted.plugin === undefined ? ['connector-service', 'agent-service'] : [wanted.plugin];
const program = buildGo('flyte1');
const results = [];

for (const plugin of plugins) {
  console.log(`# ${plugin} against the ${service}`);
  await onStage(service, wanted.keep, async ({ data, remote, urls, service: running }) => {
    const found = await runCases(program, [
      ...['--plugin', plugin, '--endpoint', running.endpoint, '--control', urls.control],
      ...['--fixtures', path.join(interop, 'fixtures', 'flyte1'), '--data', data],
      // The deprecated twin is the same code with a shorter deadline: the cases that disturb are run once.
      ...(wanted.cases === undefined ? [`--serial=${plugin === 'connector-service'}`] : ['--cases', wanted.cases]),
    ]);
    if (service === 'daemon' && wanted.cases === undefined) {
      found.push(limitResult(remote, 'read', LIMITS.read), limitResult(remote, 'write', LIMITS.write));
    }
    results.push(...found.map((result) => ({ ...result, client: plugin })));
  });
}

if (wanted.record)
  record(
    `${service}-flyte1`,
    results.filter(({ client }) => client === 'connector-service'),
  );
if (typeof wanted.json === 'string') writeFileSync(wanted.json, `${JSON.stringify(results, null, 1)}\n`);
process.exit(summary(results));
