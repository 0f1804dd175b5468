import type { Need } from '../access/guard.js';

/** What orchestrators ask, who have neither certificates nor tokens. */
const HEALTH = /^\/grpc\.health\.v1\.Health\//;
const NATIVE = /^\/pluginhost\.v1\.PluginHost\//;
const FLYTE = /^\/flyteidl(2)?\./;
/** Methods that change nothing; every other one of the services below needs the right to run. */
const READS = /\/(Status|Get|Watch|List[A-Za-z]*|Get[A-Z][A-Za-z]*)$/;

/** What a call of the gRPC port needs, by its path. Reflection shows what anybody may read in the project: it needs no token. */
export function needOf(path: string, flyteNeedsToken: boolean): Need {
  if (HEALTH.test(path)) return 'all';
  const needsToken = NATIVE.test(path) || (flyteNeedsToken && FLYTE.test(path));
  if (!needsToken) return 'peer';
  return READS.test(path) ? 'read' : 'run';
}
