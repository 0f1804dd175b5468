import type { Command } from 'commander';
import { callAdmin } from '../admin-call.js';
import type { ExitCode } from '../exit-codes.js';
import { addDaemonOptions, type DaemonOptions } from '../find-daemon.js';
import { type CliIo, print, printable } from '../io.js';
import { plainTable } from '../plain-table.js';

interface Options extends DaemonOptions {
  readonly json?: boolean;
}

interface Member {
  readonly epoch: string;
  readonly name: string;
  readonly address: string | null;
  readonly version: string | null;
  readonly owner: boolean;
  readonly ownerSince: string | null;
  readonly silentMs: number | null;
}

type Shown =
  | { readonly enabled: false }
  | {
      readonly enabled: true;
      readonly epoch: string;
      readonly role: string;
      /** Of the replica that was asked, where tasks are divided. */
      readonly covers?: string;
      readonly members: readonly Member[];
    };

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  addDaemonOptions(command)
    .option('--json', 'print what the daemon answers')
    .addHelpText('after', '\nAny replica is asked; each sees all of them. docs/scaling.md has the roles.')
    .action((options: Options) => run((io) => show(options, io)));
}

async function show(options: Options, io: CliIo): Promise<ExitCode> {
  const cluster = await callAdmin<Shown>(options, io, 'GET', '/v1/cluster');
  if (options.json === true) print(io, JSON.stringify(cluster));
  else print(io, cluster.enabled ? tableOf(cluster) : 'This daemon is the only one: cluster.enabled is not set.');
  return 0;
}

function tableOf({ members, epoch, role, covers }: Extract<Shown, { enabled: true }>): string {
  const rows = members.map((member) => [
    `${printable(member.name)}${member.epoch === epoch ? ' (asked)' : ''}`,
    member.epoch === epoch ? role : member.owner ? 'owner' : 'standby',
    printable(member.address ?? '-'),
    printable(member.version ?? '-'),
    member.owner ? (member.ownerSince ?? '-') : '-',
    member.silentMs === null ? '-' : `${(member.silentMs / 1000).toFixed(1)} s`,
  ]);
  const table = plainTable(['REPLICA', 'ROLE', 'ADDRESS', 'VERSION', 'OWNER SINCE', 'SILENT FOR'], rows);
  return covers === undefined ? table : `${table}\nThe one that was asked has ${printable(covers)}.`;
}
