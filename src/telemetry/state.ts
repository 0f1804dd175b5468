import type { ErrorCode } from '../errors/index.js';
import type { AdapterParts } from './adapters.js';

/** What the state's writer tells, as metrics and log lines. */
export function stateAdapter({ set, log }: Pick<AdapterParts, 'set' | 'log'>) {
  const seconds = set.histogram('pluginhost_state_commit_seconds');
  const failures = set.counter('pluginhost_state_commit_failures_total');
  return {
    committed: (tookMs: number) => seconds.observe({}, tookMs / 1000),
    failed: (code: ErrorCode) => failures.inc({ code }),
    degraded: ({ code, message }: { readonly code: ErrorCode; readonly message: string }) =>
      log.emit('state.degraded', { code, error: message }),
    mended: (downMs: number) => log.emit('state.mended', { downMs: Math.round(downMs) }),
    endsForgotten: () => log.emit('state.ends_forgotten', {}),
    fault: (key: string, error: unknown) =>
      log.emit('daemon.fault', {
        where: `writing ${key}`,
        error: error instanceof Error ? error.message : String(error),
      }),
  };
}
