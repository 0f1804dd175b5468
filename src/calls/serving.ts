import type { ErrorCode } from '../errors/index.js';
import type { HostedPlugin } from '../host/types.js';

/** As much of a plugin as the gate looks at. */
export type GatePlugin = Pick<
  HostedPlugin,
  'id' | 'state' | 'stateReason' | 'writable' | 'drained' | 'call' | 'onStateChange'
>;

/** States that last: whoever cannot wait is told at once. `starting` and `restarting` pass within seconds. */
const LASTING: ReadonlySet<GatePlugin['state']> = new Set(['quarantined', 'failed', 'skipped', 'stopped']);

/** Whether a call made now is sent now. While it is not, nothing takes a token. */
export function takesCalls({ state, writable }: GatePlugin): boolean {
  return state === 'serving' && writable;
}

/** Set while the plugin is known not to serve for a while (quarantine, failed load): whoever cannot wait fails at once. */
export function refusalOf({ id, state, stateReason }: GatePlugin): { code: ErrorCode; message: string } | undefined {
  if (!LASTING.has(state)) return undefined;
  const reason = stateReason === '' ? '' : `: ${stateReason}`;
  return {
    code: state === 'quarantined' ? 'PLUGIN_QUARANTINED' : 'PLUGIN_NOT_SERVING',
    message: `plugin ${id} is ${state}${reason}`,
  };
}

/** Resolves when the plugin may take calls again, or is in another state. */
export function untilChanged(plugin: GatePlugin): Promise<void> {
  if (plugin.state === 'serving') return plugin.drained();
  return new Promise((resolve) => {
    const stop = plugin.onStateChange(() => {
      stop();
      resolve();
    });
  });
}
