import type { Bench } from './lib/bench.js';

/** Name → bench, loaded when asked for. A new bench is a file with a `bench` export, and a line here. */
export const BENCHES: Readonly<Record<string, () => Promise<{ bench: Bench }>>> = {
  status: () => import('./status.js'),
  refresh: () => import('./refresh.js'),
  create: () => import('./create.js'),
  memory: () => import('./memory.js'),
  start: () => import('./start.js'),
  live: () => import('./live.js'),
  hog: () => import('./hog.js'),
  watch: () => import('./watch.js'),
  python: () => import('./python.js'),
  burst: () => import('./burst.js'),
  delete: () => import('./delete.js'),
  detect: () => import('./detect.js'),
  replicas: () => import('./replicas.js'),
  scale: () => import('./scale.js'),
};
