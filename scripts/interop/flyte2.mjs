// npm run interop:flyte2 -- [--cases a,b] [--keep] [--json FILE]
// Drives the daemon over the Flyte 2 protocol with the stock stubs, in the rounds of its engine. Needs Python.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suiteSecret } from '../../dist/test/support/suite-secrets.js';
import { LIMITS } from './services.mjs';
import { limitResult, onStage } from './stage.mjs';
import { ensurePython, interop, options, printed, runCases, summary } from './tools.mjs';

const wanted = options();
const python = ensurePython();

/** The value of the secret that the case `connection` sends. */
const SECRET = suiteSecret('connection');

function secretsResult(log) {
  const text = readFileSync(log, 'utf8');
  const ok = text.includes('"task.created"') && !text.includes(SECRET);
  return printed({ case: 'secrets-not-logged', ok, detail: `${text.length} bytes of log at level trace`, ms: 0 });
}

const results = await onStage('daemon', wanted.keep, async ({ data, remote, urls, service }) => {
  const found = await runCases(
    python,
    [
      path.join(interop, 'python', 'flyte2_client.py'),
      ...['--endpoint', service.endpoint, '--control', urls.control, '--data', data],
      ...['--fixtures', path.join(interop, 'fixtures', 'flyte2')],
      ...(wanted.cases === undefined ? [] : ['--cases', wanted.cases]),
    ],
    { env: { ...process.env, CONNECTION_SECRET: SECRET } },
  );
  if (wanted.cases === undefined) {
    found.push(limitResult(remote, 'read', LIMITS.read), limitResult(remote, 'write', LIMITS.write));
    found.push(secretsResult(service.log));
  }
  return found;
});

const named = results.map((result) => ({ ...result, client: 'flyte2' }));
if (typeof wanted.json === 'string') writeFileSync(wanted.json, `${JSON.stringify(named, null, 1)}\n`);
process.exit(summary(results));
