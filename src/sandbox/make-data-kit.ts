import { makeInputReader } from '../data/input-reader.js';
import { makeLiteralCodec } from '../data/literal-codec.js';
import type { DataOptions } from '../data/options.js';
import { makeOutputWriter } from '../data/output-writer.js';
import { makeSecretManager } from '../data/secrets.js';
import { bindDataStore, makeDataStore } from '../data/stores/data-store.js';
import { readTaskInterface } from '../data/task-interface.js';
import { loadFlyteidlCore } from '../idl/load-core.js';
import { systemClock } from '../lib/clock.js';
import type { DataStore } from '../plugin-api/data.js';
import type { DataKit } from './data-kit.js';
import { makeTaskReader } from './task-template.js';

export interface DataKitSources {
  /** The environment in which secrets are looked up. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** In place of a store made from the options; for tests of plugins. */
  readonly store?: DataStore;
}

function untyped(names: readonly string[] | undefined): ReadonlyMap<string, undefined> | undefined {
  return names === undefined ? undefined : new Map(names.map((name) => [name, undefined]));
}

/** The data room for one plugin. The descriptors are loaded once here (some 10 ms), not at the first call. */
export function makeDataKit(options: DataOptions, sources: DataKitSources): DataKit {
  const idl = loadFlyteidlCore();
  const codec = makeLiteralCodec(idl);
  const templateCodec = idl.codec('flyteidl.core.TaskTemplate');
  const store = sources.store ?? makeDataStore(options.dataStore);
  const outputsOf = (template: Buffer | undefined) =>
    template === undefined ? undefined : readTaskInterface(codec, template).outputs;
  return {
    dataStore: (signal) => bindDataStore(store, signal),
    taskReader: (template) => makeTaskReader(template, templateCodec, (bytes) => readTaskInterface(codec, bytes)),
    inputReader: ({ inputs, inputPrefix }, signal) =>
      makeInputReader({ codec, inline: inputs, inputPrefix, store: bindDataStore(store, signal) }),
    outputWriter: ({ outputPrefix, maxBytes, declaredBy, declaredNames, signal }) => {
      const { maxOutputBytes } = options;
      const writer = makeOutputWriter({
        idl,
        codec,
        store: bindDataStore(store, signal),
        outputPrefix,
        declared: outputsOf(declaredBy) ?? untyped(declaredNames),
        maxOutputBytes: maxBytes > 0 ? Math.min(maxBytes, maxOutputBytes) : maxOutputBytes,
        clock: systemClock,
      });
      return { writer, used: () => writer.written.outputs };
    },
    secretManager: (connection) =>
      makeSecretManager(options.secrets, { environment: sources.env, requestSecrets: connection?.secrets }),
    encodeOutputs: (values, declaredBy) => codec.writeMap(values, outputsOf(declaredBy)),
  };
}
