import { HostError } from '../../errors/index.js';
import { show } from '../../lib/show.js';
import { isPluginId, PLUGIN_ID } from '../../model/identity-check.js';
import { PLUGIN_ENTRY_SCHEMA, type PluginEntry, type WrittenPluginEntry } from '../../model/options/plugin.js';
import { optionSchema, readOptions } from './option-schema.js';
import { sourceLabel } from './source.js';

const ENTRY = optionSchema(PLUGIN_ENTRY_SCHEMA);

/** Checks an entry that stands in code and fills its defaults in. Throws CONFIG_VALUE_INVALID, naming the key. */
export function completeEntry(written: WrittenPluginEntry): PluginEntry {
  const { id, source, ...options } = written;
  const label = sourceLabel(source);
  const fail = (problem: string) => new HostError('CONFIG_VALUE_INVALID', `plugin ${label}: ${problem}`);
  if (id !== undefined && !isPluginId(id)) throw fail(`id is ${show(id)}; expected ${PLUGIN_ID.expected}`);
  const entry = readOptions(ENTRY, { ...options, source: label }, '', fail);
  if (entry.isolation === 'worker' && entry.nodeOptions.length > 0) {
    throw fail('nodeOptions are given; expected none: a worker thread takes no options of the Node binary');
  }
  return { ...entry, id, source };
}
