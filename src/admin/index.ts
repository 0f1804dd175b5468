export { ADMIN_BOUNDS, AdminServer, type AdminServerOptions } from './server.js';
export type { AdminSource, Liveness, Readiness } from './source.js';
