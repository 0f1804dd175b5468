/** Asked of a server process: `start` once, then `cpu` at will. `tuned` makes the floor leave out what the daemon does. */
export type ServerRequest =
  | { readonly kind: 'start'; readonly tasks: number; readonly tuned: boolean }
  | { readonly kind: 'cpu' };

export interface ServerStarted {
  readonly port: number;
  /** Encoded StatusRequests, one a task; empty for the floor, which is asked the same as the other one. */
  readonly requests: readonly Uint8Array[];
  /** Size of an answer in bytes. */
  readonly answerBytes: number;
}

/** Asked of the generator: `load` once for each server, then `round` at will. */
export type GeneratorRequest =
  | {
      readonly kind: 'load';
      readonly port: number;
      readonly path: string;
      readonly requests: readonly Uint8Array[];
      readonly connections: number;
      readonly streams: number;
    }
  | { readonly kind: 'round'; readonly port: number; readonly seconds: number };

export interface RoundResult {
  readonly calls: number;
  readonly errors: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

export const STATUS_PATH = '/pluginhost.v1.PluginHost/Status';
