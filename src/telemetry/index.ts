export { faultFields, logLoadReport } from './adapters.js';
export { LOG_EVENTS } from './events.js';
export type {
  ClusterFigures,
  DaemonFigures,
  InboxFigures,
  LaneFigures,
  PluginFigures,
  SharedFigures,
} from './figures.js';
export { createLog, type Log, type LogOptions } from './logger.js';
export { METRICS } from './metric-catalogue.js';
export { takeProfile } from './profile.js';
export { createRedactor } from './redact.js';
export { Telemetry } from './telemetry.js';
