// One run of a client against a service: remote, service, client, and what the remote saw.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { limitExcess, Remote } from '../../test/interop/remote/remote.mjs';
import { DaemonService, PythonService, ReplicasService } from './services.mjs';
import { printed } from './tools.mjs';

const SERVICES = { daemon: DaemonService, python: PythonService, replicas: ReplicasService };

/**
 * Starts the remote and the service `kind` (daemon, replicas or python), hands them to `work`, and takes everything down again.
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
    remote.routes.set('swap', async () => {
      const { port } = service;
      await service.stop();
      service = await DaemonService.make(directory, urls.url, port);
      await service.start();
    });
    await service.start();
    const results = await work({ data, remote, urls, service });
    await service.search();
    await service.stop();
    await service.search();
    return results;
  } finally {
    await service?.stop();
    await remote.stop();
    if (keep) console.log(`left behind: ${directory}`);
    else rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * Calls are counted as they arrive at the remote. Two of them may come closer together than they were let go by as much
 * as one of them was held up on its way: this long, in seconds, on a machine that everything here shares.
 */
const JITTER_S = 0.25;

/**
 * A result that says whether the remote's calls of one kind from one plugin stayed within `burst + qps * W` in every
 * window W.
 */
export function limitResult(remote, kind, limit, plugin = 'interop', name = `${kind}-limit-held`) {
  const calls = remote.calls.filter((call) => call.kind === kind && call.plugin === plugin).map((call) => call.at);
  const worst = limitExcess(calls, limit);
  const seen = `most in any window: ${worst.count} in ${worst.seconds.toFixed(1)} s`;
  return printed({
    case: name,
    ok: calls.length > 0 && worst.excess <= limit.qps * JITTER_S,
    detail: `${calls.length} calls; ${seen}, limit ${limit.burst} + ${limit.qps}/s, excess ${worst.excess.toFixed(1)}`,
    ms: 0,
  });
}
