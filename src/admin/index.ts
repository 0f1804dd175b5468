export { AdminServer, type AdminServerOptions } from './server.js';
export type { AdminSource, Liveness, Page, PageQuery, Readiness, TaskQuery } from './source.js';
