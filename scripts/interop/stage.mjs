// One run of a client against a service: remote, service, client, and what the remote saw.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { limitExcess, Remote } from '../../test/interop/remote/remote.mjs';
import { DaemonService, PythonService } from './services.mjs';

const SERVICES = { daemon: DaemonService, python: PythonService };

/**
 * Starts the remote and the service `kind` (daemon or python), hands them to `work`, and takes everything down again.
 * `keep` leaves the directory with the service's log behind.
 */
export async function onStage(kind, keep, work) {
  const directory = mkdtempSync(path.join(os.tmpdir(), `interop-${kind}-`));
  const data = path.join(directory, 'data');
  mkdirSync(data);
  const remote = new Remote();
  const urls = await remote.start();
  let service;
  try {
    service = await SERVICES[kind].make(directory, urls.url);
    remote.routes.set('restart', (wanted) => service.restart(wanted));
    await service.start();
    return await work({ data, remote, urls, service });
  } finally {
    await service?.stop();
    await remote.stop();
    if (keep) console.log(`left behind: ${directory}`);
    else rmSync(directory, { recursive: true, force: true });
  }
}

/** A result that says whether the remote's calls of one kind stayed within `burst + qps * W` in every window. */
export function limitResult(remote, kind, limit) {
  const calls = remote.calls
    .filter((call) => call.kind === kind && call.path.startsWith('/jobs'))
    .map((call) => call.at);
  const worst = limitExcess(calls, limit);
  return {
    case: `${kind}-limit-held`,
    ok: calls.length > 0 && worst.excess <= 0,
    detail: `${calls.length} calls; most in any window: ${worst.count} in ${worst.seconds.toFixed(1)} s, limit ${limit.burst} + ${limit.qps}/s`,
    ms: 0,
  };
}
