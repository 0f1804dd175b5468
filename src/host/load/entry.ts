import { HostError } from '../../errors/index.js';
import { show } from '../../lib/show.js';
import {
  PLUGIN_ENTRY_SCHEMA,
  PLUGIN_ID,
  type PluginEntry,
  type WrittenPluginEntry,
} from '../../model/options/plugin.js';
import { readSection } from '../../model/options/read.js';
import { type ResolvedSource, sourceLabel } from './source.js';

/** An entry whose module was found. */
export interface ResolvedEntry extends PluginEntry {
  /** The source as configured, for messages. */
  readonly label: string;
  readonly resolved: ResolvedSource;
}

/** Checks an entry that stands in code and fills its defaults in. Throws CONFIG_VALUE_INVALID, naming the key. */
export function completeEntry(written: WrittenPluginEntry): PluginEntry {
  const { id, source, ...options } = written;
  const label = sourceLabel(source);
  const fail = (problem: string) => new HostError('CONFIG_VALUE_INVALID', `plugin ${label}: ${problem}`);
  if (id !== undefined && !PLUGIN_ID.pattern.test(id)) throw fail(`id is ${show(id)}; expected ${PLUGIN_ID.expected}`);
  const entry = readSection(PLUGIN_ENTRY_SCHEMA, { ...options, source: label }, '', fail);
  if (entry.isolation === 'worker' && entry.nodeOptions.length > 0) {
    throw fail('nodeOptions are given; expected none: a worker thread takes no options of the Node binary');
  }
  return { ...entry, id, source };
}
