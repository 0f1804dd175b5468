export { AdminServer } from './server.js';
export type { AdminSource, Liveness, Readiness } from './source.js';
