import type { PluginFacts } from '../channel/messages.js';
import { HostError } from '../errors/index.js';
import { show } from '../lib/show.js';
import { MAX_BATCH } from '../model/plugin-facts.js';
import { featuresOf, methodsOffered, NO_FEATURES, type PluginFeatures } from '../model/plugin-methods.js';

/** Beside the methods that are called over the channel. */
const OPTIONAL = [...methodsOffered('optional'), 'status', 'close'];
const ASYNC = methodsOffered('async');
const SYNC = methodsOffered('sync');

/** Checks what load() answered: a sync plugin has `do`, an async one create, get and delete. Throws PLUGIN_SHAPE_INVALID. */
export function checkPlugin(loaded: unknown, label: string): PluginFacts {
  if (typeof loaded !== 'object' || loaded === null) {
    throw wrong(label, 'what load() answered', loaded, 'a plugin object with create, get and delete, or with do');
  }
  const plugin = loaded as Record<string, unknown>;
  for (const name of OPTIONAL) optionalFunction(plugin, name, label);
  if (SYNC.some((name) => plugin[name] !== undefined)) {
    for (const name of ASYNC) {
      if (plugin[name] !== undefined)
        throw wrong(label, name, plugin[name], `nothing beside ${SYNC.join(', ')}: a plugin is sync or async`);
    }
    for (const name of SYNC) requireFunction(plugin, name, label);
    return { kind: 'sync', features: NO_FEATURES };
  }
  for (const name of ASYNC) requireFunction(plugin, name, label);
  checkCodec(plugin.metaCodec, label);
  const { findsByKey = true } = plugin;
  if (typeof findsByKey !== 'boolean') throw wrong(label, 'findsByKey', findsByKey, 'true or false');
  const features = featuresOf(checkBatch(plugin.getMany, label), findsByKey, (name) => plugin[name] !== undefined);
  return { kind: 'async', features };
}

function checkBatch(value: unknown, label: string): PluginFeatures['getMany'] {
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
