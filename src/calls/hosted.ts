import type { HostedPlugin } from '../host/types.js';
import type { GatePlugin } from './types.js';

/** States that last: whoever cannot wait is told at once. `starting` and `restarting` pass within seconds. */
const LASTING: ReadonlySet<string> = new Set(['quarantined', 'failed', 'skipped', 'stopped']);

/**
 * The gate's view of a hosted plugin. A plugin that does not serve counts as not writable, so that no token is spent
 * on a call that cannot be sent.
 */
export function gatePlugin(hosted: HostedPlugin): GatePlugin {
  return {
    id: hosted.id,
    get writable() {
      return hosted.state === 'serving' && hosted.writable;
    },
    get refusal(): GatePlugin['refusal'] {
      if (!LASTING.has(hosted.state)) return undefined;
      const reason = hosted.stateReason === '' ? '' : `: ${hosted.stateReason}`;
      return {
        code: hosted.state === 'quarantined' ? 'PLUGIN_QUARANTINED' : 'PLUGIN_NOT_SERVING',
        message: `plugin ${hosted.id} is ${hosted.state}${reason}`,
      };
    },
    awaitWritable: () => (hosted.state === 'serving' ? hosted.drained() : nextState(hosted)),
    call: (method, args, options) => hosted.call(method, args, options),
  };
}

function nextState(hosted: HostedPlugin): Promise<void> {
  return new Promise((resolve) => {
    const stop = hosted.onStateChange(() => {
      stop();
      resolve();
    });
  });
}
