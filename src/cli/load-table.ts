import pc from 'picocolors';
import type { PluginReport } from '../client/types.js';
import { type CliIo, mayColor, printable } from './io.js';
import { plainTable } from './plain-table.js';

type Row = Pick<
  PluginReport,
  'id' | 'state' | 'version' | 'kind' | 'taskTypes' | 'isDefault' | 'config' | 'liveTasks' | 'waitingTasks' | 'restarts'
> & { readonly stateReason: string; readonly stateCode: string };

const GOOD = new Set(['SERVING']);
const QUIET = new Set(['SKIPPED', 'PAUSED', 'STARTING', 'STOPPED']);

/** The load report as a table; the reasons of what does not serve stand below it, whole. */
export function loadTable(reports: readonly Row[], io: CliIo): string {
  if (reports.length === 0) return 'No plugins are configured.';
  const colors = pc.createColors(io.stdout.isTTY === true && mayColor(io));
  const paint = (state: string) =>
    GOOD.has(state) ? colors.green(state) : QUIET.has(state) ? colors.yellow(state) : colors.red(state);
  const rows: (string | number)[][] = [];
  for (const report of reports) {
    const { config } = report;
    rows.push([
      printable(report.id),
      paint(report.state),
      printable(report.version || '-'),
      printable(report.taskTypes.map(taskTypeText).join(', ') || '-') + (report.isDefault ? ' (default)' : ''),
      report.liveTasks,
      report.waitingTasks,
      config === undefined ? '-' : rateText(config.readRateLimiter),
      config === undefined ? '-' : rateText(config.writeRateLimiter),
      report.restarts,
    ]);
  }
  const reasons = reports
    .filter(({ stateReason }) => stateReason !== '')
    .map(({ id, stateCode, stateReason }) => {
      const code = stateCode === '' ? '' : `${stateCode}: `;
      return `${printable(id)}: ${code}${printable(stateReason)}`;
    });
  const table = plainTable(
    ['PLUGIN', 'STATE', 'VERSION', 'TASK TYPES', 'LIVE', 'WAITING', 'READS', 'WRITES', 'RESTARTS'],
    rows,
  );
  return [table, ...(reasons.length > 0 ? ['', ...reasons] : [])].join('\n');
}

function taskTypeText({ name, versions }: PluginReport['taskTypes'][number]): string {
  return versions.length === 0 ? name : `${name} (${versions.map((version) => `v${version}`).join(', ')})`;
}

function rateText({ qps, burst }: { readonly qps: number; readonly burst: number }): string {
  return `${qps}/s, ${burst}`;
}
