import { randomBytes } from 'node:crypto';
import { definePlugin, phases, TransientError } from 'webapi-plugin-host';

/** Runs a task within the call; each run has outputs of its own, so that a second one shows. */
export default definePlugin<{ readonly url: string }>({
  id: 'sync',
  apiVersion: 1,
  taskTypes: ['chaos_sync'],
  load({ settings }) {
    let calls = 0;
    return {
      async do(ctx) {
        calls += 1;
        const response = await fetch(`${settings.url}/sync/run`, {
          method: 'POST',
          headers: {
            'x-call': `${process.pid}.${calls}`,
            'x-lane': 'write',
            'x-sent-at': String(ctx.sentAtMs),
            'x-book-key': ctx.idempotencyKey,
          },
          signal: ctx.signal,
        }).catch((error: unknown) => {
          throw new TransientError(`the remote cannot be reached: ${String(error)}`);
        });
        const sent = ctx.connection?.secrets.key;
        if (!response.ok) throw new TransientError(`the remote answered ${response.status} to ${sent}`);
        return phases.success({ job: randomBytes(8).toString('hex') });
      },
    };
  },
});
