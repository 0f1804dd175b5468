import type { PluginMethod, PluginMethods } from '../model/plugin-call.js';
import type { GateConfig, Lane } from './types.js';

interface MethodTraits {
  /** undefined: stays inside the plugin's process, so it takes neither slot nor token. */
  readonly lane: Lane | undefined;
  /** Goes before everything else that waits in its lane (rule 1: deletes before creates). */
  readonly first: boolean;
}

const METHODS: Readonly<Record<PluginMethod, MethodTraits>> = {
  resourceRequirements: { lane: undefined, first: false },
  create: { lane: 'write', first: false },
  get: { lane: 'read', first: false },
  getMany: { lane: 'read', first: false },
  delete: { lane: 'write', first: true },
  do: { lane: 'write', first: false },
  getLogs: { lane: 'read', first: false },
  getMetrics: { lane: 'read', first: false },
  adoptMeta: { lane: undefined, first: false },
  batchKeys: { lane: undefined, first: false },
};

export function methodTraits(method: PluginMethod): MethodTraits {
  return METHODS[method];
}

/** How many items a call carries; a batch is one call to the limit whatever its size. */
export function batchSize<M extends PluginMethod>(method: M, args: PluginMethods[M]['args']): number {
  return method === 'getMany' ? (args as PluginMethods['getMany']['args']).items.length : 1;
}

export function timeoutMs(method: PluginMethod, config: GateConfig): number {
  return method === 'do' ? config.doTimeoutMs : config.callTimeoutMs;
}
