export { AdminServer } from './server.js';
export type { AdminSource, Liveness, Page, PageQuery, Readiness } from './source.js';
