/** The typed client of the native API, for engines, tools and tests. */
export { type ClientOptions, createClient } from './client.js';
export type { ChangingTls, ClientTls } from './credentials.js';
export { PluginHostError } from './error.js';
export type {
  CallOptions,
  Client,
  Connection,
  CreateResult,
  ExternalResource,
  HandleOptions,
  MessageInput,
  PhaseInfo,
  PluginLimits,
  PluginReport,
  PluginState,
  TaskInput,
  TaskStatus,
  WaitOptions,
  WatchFilter,
  WatchUpdate,
} from './types.js';
