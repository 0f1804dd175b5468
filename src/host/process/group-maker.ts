import { LOG_BYTES_PER_SECOND, MEASUREMENTS_PER_SECOND } from '../../channel/measurements.js';
import type { DataOptions } from '../../data/options.js';
import type { Clock } from '../../lib/clock.js';
import { createDeferred } from '../../lib/deferred.js';
import type { SecretMasks } from '../../lib/secrets.js';
import type { HostEvents } from '../../model/events/host.js';
import type { Candidate } from '../candidate.js';
import { NETWORK_VARIABLES, pickVariables } from '../load/environment.js';
import type { HostLimits } from '../types.js';
import { Group, type GroupOptions, Member } from './group.js';
import { PluginProcess } from './plugin-process.js';
import type { StartedProcesses } from './started.js';

const MIB = 1024 * 1024;

export interface GroupMakerOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly events: HostEvents;
  readonly data: DataOptions;
  readonly limits: HostLimits;
  readonly configOf: GroupOptions['configOf'];
  readonly redescribe: GroupOptions['redescribe'];
  readonly baseDir: string;
  readonly masks: SecretMasks;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly started: StartedProcesses;
}

/** Makes the groups of entries that share a process, and starts their processes. */
export class GroupMaker {
  readonly #options: GroupMakerOptions;

  constructor(options: GroupMakerOptions) {
    this.#options = options;
  }

  /** One group for each candidate whose module was found, but for those that share. Sets their group and member. */
  make(candidates: readonly Candidate[]): Group[] {
    const byName = new Map<string, Candidate[]>();
    for (const [index, candidate] of candidates.entries()) {
      if (candidate.resolved === undefined) continue;
      const { isolation } = candidate.resolved;
      const name = isolation.startsWith('shared:') ? isolation : `${isolation}#${index}`;
      byName.set(name, [...(byName.get(name) ?? []), candidate]);
    }
    return [...byName].map(([name, sharing]) => this.#makeGroup(name, sharing));
  }

  #makeGroup(name: string, sharing: readonly Candidate[]): Group {
    const members = sharing.map((candidate, p) => {
      const member = new Member(candidate.resolved!, p);
      candidate.member = member;
      return member;
    });
    const { clock, random, data, env, limits, events, configOf, redescribe } = this.#options;
    const supervision = { ...limits, clock, random };
    const launch = () => this.#launch(name, members);
    const changed = events.changed.bind(events);
    const group = new Group({ name, members, launch, configOf, redescribe, changed, data, env, supervision });
    for (const candidate of sharing) candidate.group = group;
    return group;
  }

  #launch(name: string, members: readonly Member[]): PluginProcess {
    const { clock, events, limits, baseDir, env: from, started, masks } = this.#options;
    const entries = members.map((member) => member.entry);
    const env = pickVariables(NETWORK_VARIABLES, from);
    for (const { environment } of entries) Object.assign(env, pickVariables(environment.pass, from), environment.set);
    const { maxRequestBytes, maxAnswerBytes, highWaterBytes } = limits;
    return new PluginProcess({
      launch: {
        isolation: name.startsWith('worker') ? 'worker' : 'process',
        env,
        memoryLimitMb: Math.max(...entries.map((entry) => entry.memoryLimitBytes)) / MIB,
        nodeOptions: [...new Set(entries.flatMap((entry) => entry.nodeOptions))],
        bounds: { maxInBytes: maxRequestBytes, maxOutBytes: maxAnswerBytes, highWaterBytes },
        plain: [...new Set(entries.flatMap(({ environment }) => environment.plain))],
        cwd: baseDir,
        started,
      },
      masks,
      limits,
      clock,
      // Each plugin has its own bound within the process; as much again is left for stack traces of what they throw.
      channelLinesPerSecond: 2 * members.length * limits.logLinesPerSecond,
      channelLineBytesPerSecond: 2 * members.length * LOG_BYTES_PER_SECOND,
      measurementsPerSecond: members.length * MEASUREMENTS_PER_SECOND,
      onLog: (p, event) => events.log({ pluginId: nameOf(name, members, p), ...event }),
      onMetric: (p, event) => events.metric({ pluginId: nameOf(name, members, p), ...event }),
    });
  }
}

/** The id of plugin number `p` as far as it is known; the group's name where the process as a whole speaks. */
function nameOf(group: string, members: readonly Member[], p: number | undefined): string {
  const member = p === undefined && members.length === 1 ? members[0] : members[p ?? -1];
  return member?.admitted?.slot.id ?? member?.definition?.id ?? member?.entry.label ?? group;
}

const DRAIN_LOOK_MS = 50;

/** Waits until none of these has calls in flight, at most `graceMs`. */
export async function drain(groups: readonly Group[], graceMs: number, clock: Clock): Promise<void> {
  const end = clock.now() + graceMs;
  while (groups.some((group) => group.inFlight > 0) && clock.now() < end) {
    const look = createDeferred<void>();
    clock.setTimer(DRAIN_LOOK_MS, () => look.resolve());
    await look.promise;
  }
}
