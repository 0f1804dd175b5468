// npm run interop:python -- [--service daemon|python] [--cases a,b] [--record] [--keep] [--json FILE]
// Calls every RPC of the Flyte 1 services with the stock Python stubs. Needs Python.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { onStage } from './stage.mjs';
import { ensurePython, interop, options, record, runCases, summary } from './tools.mjs';

const wanted = options();
const service = wanted.service ?? 'daemon';
const python = ensurePython();

const run = (kind, cases) =>
  onStage(kind, wanted.keep, ({ data, urls, service: running }) =>
    runCases(python, [
      path.join(interop, 'python', 'flyte1_client.py'),
      ...['--endpoint', running.endpoint, '--control', urls.control, '--data', data],
      ...['--fixtures', path.join(interop, 'fixtures', 'flyte1')],
      ...(cases === undefined ? [] : ['--cases', cases]),
    ]),
  );

const results = await run(service, wanted.cases);
// Starts with the Python service, which the daemon replaces at the same address while tasks run.
if (service === 'daemon' && wanted.cases === undefined) results.push(...(await run('python', 'moved-to-the-daemon')));

const named = results.map((result) => ({ ...result, client: 'python' }));
if (wanted.record) record(`${service}-python`, results);
if (typeof wanted.json === 'string') writeFileSync(wanted.json, `${JSON.stringify(named, null, 1)}\n`);
process.exit(summary(results));
