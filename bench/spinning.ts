import { existsSync } from 'node:fs';
import { definePlugin, phases } from 'webapi-plugin-host';

/** How often a plugin of the bench `hog` looks whether it may begin. Milliseconds. */
const LOOK_MS = 20;

/** Spins for as long as the file `flag` is there, and never comes back to its event loop meanwhile. */
export default definePlugin<{ readonly flag: string }, Record<string, never>>({
  id: 'spinning',
  apiVersion: 1,
  taskTypes: ['spinning'],
  load({ settings }) {
    setInterval(() => {
      while (existsSync(settings.flag)) {
        // The look itself takes a few microseconds; most of the time goes to nothing at all.
        for (let until = performance.now() + LOOK_MS; performance.now() < until; );
      }
    }, LOOK_MS);
    return {
      create: () => Promise.resolve({ resourceMeta: {} }),
      get: () => Promise.resolve(phases.running()),
      delete: () => Promise.resolve(),
    };
  },
});
