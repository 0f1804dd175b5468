import type { FailureKind, PluginMethod } from '../plugin-call.js';
import type { Lane } from '../plugin-methods.js';

/** Told of everything that metrics and logs show; all optional, none may throw. */
export interface GateEvents {
  callEnded?(event: {
    readonly plugin: string;
    readonly method: PluginMethod;
    readonly outcome: 'ok' | FailureKind;
    /** Milliseconds between the call to the gate and the send. */
    readonly waitMs: number;
    /** Milliseconds between the send and the outcome. */
    readonly durationMs: number;
    /** Items of a `getMany`, else 1. */
    readonly batchSize: number;
  }): void;
  /** The remote throttled; the lane rests for `pauseMs`. */
  throttled?(event: { readonly plugin: string; readonly lane: Lane; readonly pauseMs: number }): void;
  /** A call failed without being sent; `code` is of the error catalogue. */
  rejected?(event: { readonly plugin: string; readonly method: PluginMethod; readonly code: string }): void;
}
