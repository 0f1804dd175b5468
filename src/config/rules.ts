import type { Config } from '../model/options/schema.js';
import { type Effective, pathKey } from './compile.js';
import { type ConfigProblem, keyText } from './problems.js';

type Conflict = (keys: readonly (readonly string[])[], message: string) => void;

/** What an answer holds beside its outputs, in bytes. */
const BESIDE_OUTPUTS = 64 * 1024;

/**
 * Contradictions between options that are each right by themselves. All are found, none is repaired. `config` is
 * complete and checked.
 */
export function conflicts(config: Config, effective: Effective): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const conflict: Conflict = (keys, message) => {
    const origins = keys.map((key) => `${keyText(key)} from ${effective.get(pathKey(key))?.origin ?? 'the defaults'}`);
    problems.push({
      code: 'CONFIG_CONFLICT',
      origin: '',
      key: keys.map(keyText).join(', '),
      message: `${message} (${origins.join('; ')})`,
    });
  };
  lifecycleConflicts(config, conflict);
  serverConflicts(config, conflict);
  pluginConflicts(config, conflict);
  return problems;
}

function lifecycleConflicts({ shutdown, refresh, tasks }: Config, conflict: Conflict): void {
  if (shutdown.forceAfterMs < shutdown.drainDelayMs + shutdown.graceMs) {
    conflict(
      [
        ['shutdown', 'forceAfter'],
        ['shutdown', 'drainDelay'],
        ['shutdown', 'grace'],
      ],
      'the stop would be forced before drainDelay and grace are over; forceAfter must be at least their sum',
    );
  }
  if (refresh.minIntervalMs > refresh.idleMaxIntervalMs) {
    conflict(
      [
        ['refresh', 'minInterval'],
        ['refresh', 'idleMaxInterval'],
      ],
      'the shortest interval is longer than the longest',
    );
  }
  if (tasks.orphanGraceMs < tasks.visibilityGraceMs) {
    conflict(
      [
        ['tasks', 'orphanGrace'],
        ['tasks', 'visibilityGrace'],
      ],
      'an orphan would be deleted before it must be visible; orphanGrace must be at least visibilityGrace',
    );
  }
}

function serverConflicts({ grpc, admin, dataStore, tasks }: Config, conflict: Conflict): void {
  if (grpc.defaultDeadlineMs > grpc.maxDeadlineMs) {
    conflict(
      [
        ['grpc', 'defaultDeadline'],
        ['grpc', 'maxDeadline'],
      ],
      'the default deadline is longer than the longest that is honoured',
    );
  }
  if (grpc.maxUnfinishedRequestBytes !== undefined && grpc.maxUnfinishedRequestBytes <= grpc.maxReceiveMessageBytes) {
    conflict(
      [
        ['grpc', 'maxUnfinishedRequestBytes'],
        ['grpc', 'maxReceiveMessageBytes'],
      ],
      'the largest request would never come as a whole; maxUnfinishedRequestBytes must be more than maxReceiveMessageBytes',
    );
  }
  if (tasks.maxInlineOutputBytes + BESIDE_OUTPUTS > grpc.maxSendMessageBytes) {
    conflict(
      [
        ['tasks', 'maxInlineOutputBytes'],
        ['grpc', 'maxSendMessageBytes'],
      ],
      'an answer with the largest inline outputs could not be sent; maxSendMessageBytes must be 64 KiB more than maxInlineOutputBytes',
    );
  }
  const shared =
    grpc.host === admin.host || [grpc.host, admin.host].some((host) => host === '0.0.0.0' || host === '::');
  if (grpc.port !== 0 && grpc.port === admin.port && shared) {
    conflict(
      [
        ['grpc', 'port'],
        ['admin', 'port'],
      ],
      `both servers would listen on port ${grpc.port}`,
    );
  }
  if ((dataStore.s3.accessKeyId === undefined) !== (dataStore.s3.secretAccessKey === undefined)) {
    conflict(
      [
        ['dataStore', 's3', 'accessKeyId'],
        ['dataStore', 's3', 'secretAccessKey'],
      ],
      'only one of the two is set; they go together',
    );
  }
}

function pluginConflicts(config: Config, conflict: Conflict): void {
  for (const [id, plugin] of Object.entries(config.plugins)) {
    for (const name of plugin.environment.pass) {
      if (Object.hasOwn(plugin.environment.set, name)) {
        conflict(
          [
            ['plugins', id, 'environment', 'pass'],
            ['plugins', id, 'environment', 'set', name],
          ],
          `${name} is both passed on and set`,
        );
      }
    }
    if (plugin.nodeOptions.length > 0 && plugin.isolation === 'worker') {
      conflict(
        [
          ['plugins', id, 'nodeOptions'],
          ['plugins', id, 'isolation'],
        ],
        'a thread of the daemon takes no options of its own',
      );
    }
    if (plugin.required && !plugin.enabled) {
      conflict(
        [
          ['plugins', id, 'required'],
          ['plugins', id, 'enabled'],
        ],
        'a plugin that is not loaded cannot be required',
      );
    }
  }
  for (const [taskType, id] of Object.entries(config.defaultForTaskTypes)) {
    if (config.plugins[id]?.enabled !== true) {
      conflict([['defaultForTaskTypes', taskType]], `no enabled plugin has the id ${JSON.stringify(id)}`);
    }
  }
}

/** What is allowed, but probably not meant, in words for the operator. */
export function configWarnings({ grpc, plugins }: Config): string[] {
  const warnings: string[] = [];
  if (!/^(localhost|127(\.\d{1,3}){3}|::1)$/.test(grpc.host)) {
    warnings.push(
      `grpc.host is ${grpc.host}: the port has no authentication, so that whoever reaches it can run, read and delete tasks; listen on 127.0.0.1, or keep others off by the network`,
    );
  }
  if (!Object.values(plugins).some(({ enabled }) => enabled)) {
    warnings.push('no plugin is configured, so no task type is served; add one under plugins');
  }
  return warnings;
}
