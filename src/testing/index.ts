/**
 * The kit for tests of plugins, whatever runs those tests.
 *
 * - `PluginBench.load(definition)`: the plugin in this process, with contexts over a data store in memory.
 * - `testPlugin`, `assertPlugin`: what the contract demands of every plugin.
 * - `startPluginFile`: the plugin's file in a process of its own, as the daemon runs it.
 */

export type { HostedPlugin } from '../host/types.js';
export type { PluginLogEvent, PluginMetricEvent } from '../model/events/host.js';
export type { WrittenPluginEntry } from '../model/options/plugin.js';
export type { Outputs, PhaseState } from '../model/phase-state.js';
export type { FailureKind, PluginFailure, PluginOutcome } from '../model/plugin-call.js';
export { MemoryStore } from './memory-store.js';
export { type BenchOptions, type LoggedLine, PluginBench, type ResourceOptions } from './plugin-bench.js';
export { type StartedPlugin, type StartPluginFileOptions, startPluginFile } from './plugin-file.js';
export { createArgsOf, readLiteralMap, type TestTask } from './task.js';
export {
  assertPlugin,
  type ContractCheck,
  type ContractReport,
  type TestPluginOptions,
  testPlugin,
} from './test-plugin.js';
