import { Rarely } from '../lib/rarely.js';
import type { AccessEvents } from '../model/events/access.js';
import type { AdapterParts } from './adapters.js';

/** Who is not let in may ask a thousand times a second. */
const REFUSED_PAUSE_MS = 60_000;

/** Who comes in, and who does not, as metrics and log lines. */
export function accessAdapter({ set, log, now }: Pick<AdapterParts, 'set' | 'log' | 'now'>): AccessEvents {
  const refused = set.counter('pluginhost_access_refused_total');
  const rarely = new Rarely({ now, pauseMs: REFUSED_PAUSE_MS, maxKeys: 100 });
  return {
    certificate: ({ port, names, notAfterMs }) =>
      log.emit('tls.certificate', { port, names, expires: new Date(notAfterMs).toISOString() }),
    certificateKept: (event) => log.emit('tls.kept', event),
    certificateExpires: (event) => log.emit('tls.expires', event),
    tokens: (event) => log.emit('tokens.used', event),
    tokensKept: (event) => log.emit('tokens.kept', event),
    refused: ({ port, reason, remote, detail }) => {
      refused.inc({ port, reason });
      if (rarely.allows(`${port} ${reason}`)) log.emit('access.refused', { port, reason, remote, detail });
    },
  };
}
