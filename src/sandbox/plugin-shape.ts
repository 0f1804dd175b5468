import type { PluginFacts } from '../channel/messages.js';
import { HostError } from '../errors/index.js';
import { show } from '../lib/show.js';
import { MAX_BATCH } from '../model/plugin-facts.js';

const OPTIONAL = ['resourceRequirements', 'status', 'getLogs', 'getMetrics', 'adoptMeta', 'close'] as const;

/** Checks what load() answered: a sync plugin has `do`, an async one create, get and delete. Throws PLUGIN_SHAPE_INVALID. */
export function checkPlugin(loaded: unknown, label: string): PluginFacts {
  if (typeof loaded !== 'object' || loaded === null) {
    throw wrong(label, 'what load() answered', loaded, 'a plugin object with create, get and delete, or with do');
  }
  const plugin = loaded as Record<string, unknown>;
  for (const name of OPTIONAL) optionalFunction(plugin, name, label);
  if (plugin.do !== undefined) {
    for (const name of ['create', 'get', 'delete']) {
      if (plugin[name] !== undefined)
        throw wrong(label, name, plugin[name], 'nothing beside do: a plugin is sync or async');
    }
    requireFunction(plugin, 'do', label);
    const none = {
      getMany: undefined,
      getLogs: false,
      getMetrics: false,
      resourceRequirements: false,
      adoptMeta: false,
    };
    return { kind: 'sync', features: none };
  }
  for (const name of ['create', 'get', 'delete']) requireFunction(plugin, name, label);
  checkCodec(plugin.metaCodec, label);
  return {
    kind: 'async',
    features: {
      getMany: checkBatch(plugin.getMany, label),
      getLogs: plugin.getLogs !== undefined,
      getMetrics: plugin.getMetrics !== undefined,
      resourceRequirements: plugin.resourceRequirements !== undefined,
      adoptMeta: plugin.adoptMeta !== undefined,
    },
  };
}

function checkBatch(value: unknown, label: string): PluginFacts['features']['getMany'] {
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || value === null) throw wrong(label, 'getMany', value, 'an object { maxBatch, read }');
  const batch = value as Record<string, unknown>;
  const maxBatch = batch.maxBatch;
  if (!Number.isSafeInteger(maxBatch) || (maxBatch as number) < 1 || (maxBatch as number) > MAX_BATCH) {
    throw wrong(label, 'getMany.maxBatch', maxBatch, `a whole number from 1 to ${MAX_BATCH}`);
  }
  requireFunction(batch, 'read', label, 'getMany.read');
  optionalFunction(batch, 'batchKey', label, 'getMany.batchKey');
  return { maxBatch: maxBatch as number, batchKeys: batch.batchKey !== undefined };
}

function checkCodec(value: unknown, label: string): void {
  if (value === undefined) return;
  if (typeof value !== 'object' || value === null)
    throw wrong(label, 'metaCodec', value, 'an object { encode, decode }');
  requireFunction(value as Record<string, unknown>, 'encode', label, 'metaCodec.encode');
  requireFunction(value as Record<string, unknown>, 'decode', label, 'metaCodec.decode');
}

function requireFunction(from: Record<string, unknown>, name: string, label: string, shown = name): void {
  if (typeof from[name] !== 'function') throw wrong(label, shown, from[name], 'a function');
}

function optionalFunction(from: Record<string, unknown>, name: string, label: string, shown = name): void {
  if (from[name] !== undefined) requireFunction(from, name, label, shown);
}

function wrong(label: string, field: string, seen: unknown, expected: string): HostError {
  return new HostError('PLUGIN_SHAPE_INVALID', `${label}: ${field} is ${show(seen)}; expected ${expected}`);
}
