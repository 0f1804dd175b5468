import type { Command } from 'commander';
import { rangesOf } from '../../lib/ranges.js';
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
  /** These where tasks are spread. */
  readonly parts?: readonly number[];
  readonly leaving?: boolean;
  readonly unreachable?: readonly string[];
}

interface Part {
  readonly part: number;
  readonly owner: string | null;
  /** Where it is the asked one's. */
  readonly state?: string;
  readonly inbox?: Inbox;
}

/** What waits for the asked one, and what others still run for it. */
interface Inbox {
  readonly waiting: number;
  readonly running: number;
  readonly oldestMs: number;
}

interface Limits {
  readonly plugin: string;
  readonly part: number;
  readonly owner: string | null;
  /** Where it does not serve at its owner, and does elsewhere. */
  readonly rests?: { readonly servedBy: readonly { readonly epoch: string; readonly lacks: readonly string[] }[] };
}

interface One {
  readonly enabled: true;
  readonly epoch: string;
  readonly role: string;
  readonly members: readonly Member[];
  readonly inbox?: Inbox;
}

/** Of a cluster whose tasks are spread. */
interface Spread extends One {
  readonly parts: readonly Part[];
  readonly limits: readonly Limits[];
}

type Shown = { readonly enabled: false } | One | Spread;

/** What a line of a list may take, so that a table of three columns stays within 80 columns. */
const LIST_WIDTH = 22;

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  addDaemonOptions(command)
    .option('--json', 'print what the daemon answers')
    .addHelpText('after', '\nAny replica is asked; each sees all of them. docs/scaling.md has the roles.')
    .action((options: Options) => run((io) => show(options, io)));
}

async function show(options: Options, io: CliIo): Promise<ExitCode> {
  const cluster = await callAdmin<Shown>(options, io, 'GET', '/v1/cluster');
  if (options.json === true) print(io, JSON.stringify(cluster));
  else print(io, textOf(cluster));
  return 0;
}

function textOf(cluster: Shown): string {
  if (!cluster.enabled) return 'This daemon is the only one: cluster.enabled is not set.';
  return 'parts' in cluster ? spreadText(cluster) : tableOf(cluster);
}

function tableOf({ members, epoch, role, inbox }: One): string {
  const rows = members.map((member) => [
    `${printable(member.name)}${member.epoch === epoch ? ' (asked)' : ''}`,
    member.epoch === epoch ? role : member.owner ? 'owner' : 'standby',
    printable(member.address ?? '-'),
    printable(member.version ?? '-'),
    member.owner ? (member.ownerSince ?? '-') : '-',
    silence(member),
  ]);
  const table = plainTable(['REPLICA', 'ROLE', 'ADDRESS', 'VERSION', 'OWNER SINCE', 'SILENT FOR'], rows);
  return [table, ...inboxLines(inbox === undefined ? [] : [inbox])].join('\n');
}

/** Who is there, and who has what; then what keeps a replica from having its share. */
function spreadText(cluster: Spread): string {
  const { members, epoch, role } = cluster;
  const nameOf = namesOf(cluster);
  const replicas = members.map((member) => [
    nameOf(member.epoch),
    member.epoch === epoch ? role : roleOf(member),
    member.parts?.length ?? 0,
    printable(member.address ?? '-'),
    printable(member.version ?? '-'),
    silence(member),
  ]);
  const unreached = members
    .filter(({ unreachable = [] }) => unreachable.length > 0)
    .map(
      ({ epoch, unreachable = [] }) =>
        `${nameOf(epoch)} cannot reach the remote of ${printable(unreachable.join(', '))}.`,
    );
  return [
    plainTable(['REPLICA', 'ROLE', 'PARTS', 'ADDRESS', 'VERSION', 'SILENT'], replicas),
    '',
    plainTable(['PARTS', 'LIMITS OF', 'OWNER'], ownerRows(cluster, nameOf)),
    ...(unreached.length > 0 ? ['', ...unreached] : []),
    ...cluster.limits.flatMap((limits) => restText(limits, nameOf)),
    ...inboxLines(cluster.parts.flatMap(({ inbox }) => inbox ?? [])),
    '',
    `Asked was ${nameOf(epoch)}.`,
  ].join('\n');
}

/** None where nothing waits. */
function inboxLines(all: readonly Inbox[]): string[] {
  const sum = (of: 'waiting' | 'running') => all.reduce((total, one) => total + one[of], 0);
  const oldestS = Math.max(0, ...all.map(({ oldestMs }) => oldestMs)) / 1000;
  const lines = [
    ...(sum('waiting') > 0
      ? [`Promises that wait in the inbox: ${sum('waiting')}, the oldest for ${oldestS.toFixed(1)} s.`]
      : []),
    ...(sum('running') > 0 ? [`Runs of Do that go on at others: ${sum('running')}.`] : []),
  ];
  return lines.length > 0 ? ['', ...lines] : [];
}

/** What each has, and last what nobody is seen to have. */
function ownerRows({ members, parts, limits }: Spread, nameOf: (epoch: string) => string): string[][] {
  const known = new Set([...members.map(({ epoch }) => epoch), ...parts.flatMap(({ owner }) => owner ?? [])]);
  return [...known, null].flatMap((epoch) => {
    const own = parts.filter(({ owner }) => owner === epoch);
    if (own.length === 0) return [];
    const settled = own.filter(({ state = 'owned' }) => state === 'owned');
    const moving = own.filter(({ state = 'owned' }) => state !== 'owned');
    const has = [
      ...rangesOf(settled.map(({ part }) => part)),
      ...moving.map(({ part, state }) => `${part} (${printable(state ?? '')})`),
    ];
    const plugins = limits.filter(({ owner }) => owner === epoch).map(({ plugin }) => printable(plugin));
    return [[listed(has), listed(plugins) || '-', epoch === null ? 'nobody' : nameOf(epoch)]];
  });
}

/** Why a plugin rests: it would not where the part of its limits lay with one that lacks nothing. */
function restText({ plugin, part, owner, rests }: Limits, nameOf: (epoch: string) => string): string[] {
  if (rests === undefined || owner === null) return [];
  const serving = rests.servedBy.map(({ epoch, lacks }) =>
    lacks.length === 0 ? `  ${nameOf(epoch)}` : `  ${nameOf(epoch)}, which lacks ${printable(lacks.join(', '))}`,
  );
  return [
    '',
    `${printable(plugin)} rests: it does not serve at the owner of part ${part}, which has its limits,`,
    `  ${nameOf(owner)}. It serves at`,
    ...serving,
  ];
}

/** Short names: by the host alone where no other replica runs on it. */
function namesOf({ members }: Spread): (epoch: string) => string {
  const hostOf = (name: string) => name.split(',', 1)[0] as string;
  const hosts = members.map(({ name }) => hostOf(name));
  const isAlone = (host: string) => hosts.indexOf(host) === hosts.lastIndexOf(host);
  return (epoch) => {
    const name = members.find((member) => member.epoch === epoch)?.name ?? epoch;
    return printable(isAlone(hostOf(name)) ? hostOf(name) : name);
  };
}

function roleOf({ leaving = false, owner }: Member): string {
  // One that only starts takes nothing either, and says so in the same way.
  if (leaving && owner) return 'leaving';
  return owner ? 'owner' : 'standby';
}

function silence({ silentMs }: Member): string {
  return silentMs === null ? '-' : `${(silentMs / 1000).toFixed(1)} s`;
}

/** In as many lines as it takes. */
function listed(items: readonly string[]): string {
  const lines: string[] = [];
  for (const item of items) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 2 + item.length > LIST_WIDTH) lines.push(item);
    else lines[lines.length - 1] = `${last}, ${item}`;
  }
  return lines.join(',\n');
}
