import { sandboxOf } from '../model/options/sandbox.js';
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
  stateConflicts(config, conflict);
  clusterConflicts(config, conflict);
  serverConflicts(config, conflict);
  tlsConflicts(config, conflict);
  tokenConflicts(config, conflict);
  pluginConflicts(config, conflict);
  sandboxConflicts(config, conflict);
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

function stateConflicts({ state: { postgres, parts } }: Config, conflict: Conflict): void {
  if ((parts & (parts - 1)) !== 0) {
    conflict([['state', 'parts']], 'it is no power of two, so that parts could not be halved');
  }
  if ((postgres.certFile === undefined) !== (postgres.keyFile === undefined)) {
    conflict(
      [
        ['state', 'postgres', 'certFile'],
        ['state', 'postgres', 'keyFile'],
      ],
      'only one of the two is set; they go together',
    );
  }
  if (postgres.lockTimeoutMs >= postgres.statementTimeoutMs) {
    conflict(
      [
        ['state', 'postgres', 'lockTimeout'],
        ['state', 'postgres', 'statementTimeout'],
      ],
      'a statement would be given up while it may still wait for a lock, and then be done after all; lockTimeout must be less than statementTimeout',
    );
  }
}

/** What would start, and never pass a call on. */
function clusterConflicts({ cluster, state, grpc }: Config, conflict: Conflict): void {
  if (!cluster.enabled) return;
  const enabled = ['cluster', 'enabled'];
  if (state.engine !== 'postgres') {
    conflict([enabled, ['state', 'engine']], 'replicas share their state in a database; set state.engine to postgres');
  }
  if (grpc.tls.certFile !== undefined && grpc.tls.clientCaFile === undefined) {
    conflict(
      [enabled, ['grpc', 'tls', 'clientCaFile']],
      'replicas know each other by certificates; with grpc.tls name the authorities that they all have theirs from',
    );
  }
  if (cluster.loopback !== 'refused') return;
  if (isLoopbackHost(grpc.host)) {
    conflict([enabled, ['grpc', 'host']], 'other replicas do not reach a port that listens on loopback');
  }
  if (grpc.tls.certFile === undefined && grpc.plaintext === 'loopback') {
    conflict(
      [enabled, ['grpc', 'plaintext']],
      'what other replicas pass on comes in plain text and from elsewhere; set grpc.plaintext to anywhere, and keep others off by the network',
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

function tlsConflicts(config: Config, conflict: Conflict): void {
  for (const port of ['grpc', 'admin'] as const) {
    const { certFile, keyFile, clientCaFile, clientNames } = config[port].tls;
    const key = (name: string) => [port, 'tls', name];
    if ((certFile === undefined) !== (keyFile === undefined)) {
      conflict([key('certFile'), key('keyFile')], 'only one of the two is set; they go together');
    }
    if (clientCaFile !== undefined && certFile === undefined) {
      conflict([key('clientCaFile'), key('certFile')], 'clients are asked for a certificate only where TLS is spoken');
    }
    if (clientNames.length > 0 && clientCaFile === undefined) {
      conflict([key('clientNames'), key('clientCaFile')], 'without an authority no name can be trusted');
    }
    if (certFile !== undefined && config[port].plaintext === 'anywhere') {
      conflict([[port, 'plaintext'], key('certFile')], 'the port speaks TLS, and no plain text');
    }
  }
}

function tokenConflicts({ tokens, flyte }: Config, conflict: Conflict): void {
  if (flyte.requireToken && Object.keys(tokens).length === 0) {
    conflict([['flyte', 'requireToken'], ['tokens']], 'there is no token that a call could carry');
  }
  for (const [name, { may }] of Object.entries(tokens)) {
    if (may.length === 0) conflict([['tokens', name, 'may']], 'a token that may do nothing lets nobody in');
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

/** Each entry is judged with what is in force for it, which may come from two places. */
function sandboxConflicts({ sandbox: all, plugins }: Config, conflict: Conflict): void {
  for (const [id, { enabled, isolation, sandbox: own }] of Object.entries(plugins)) {
    if (!enabled) continue;
    const held = sandboxOf(all, own);
    const key = (name: keyof typeof held) =>
      own[name] === undefined ? ['sandbox', name] : ['plugins', id, 'sandbox', name];
    if ((held.user === undefined) !== (held.group === undefined)) {
      conflict([key('user'), key('group')], `only one of the two is set for plugin ${id}; they go together`);
    }
    if (!held.network && !held.permissions) {
      conflict([key('network'), key('permissions')], `without permissions nothing keeps plugin ${id} from the network`);
    }
    if (isolation === 'worker' && held.permissions) {
      conflict(
        [key('permissions'), ['plugins', id, 'isolation']],
        'a thread of the daemon may do what the daemon may; set isolation to process, or permissions to false for this plugin',
      );
    }
  }
}

/** What is allowed, but probably not meant, in words for the operator. */
export function configWarnings({ grpc, admin, plugins }: Config): string[] {
  const warnings: string[] = [];
  const plain = grpc.tls.certFile === undefined;
  if (plain && !isLoopbackHost(grpc.host)) warnings.push(plainWarning(grpc));
  if (admin.tls.certFile === undefined && admin.plaintext === 'anywhere' && !isLoopbackHost(admin.host)) {
    warnings.push(
      'admin.plaintext is anywhere: the operator’s token, and what it shows, can be read on the way; set admin.tls',
    );
  }
  if (!Object.values(plugins).some(({ enabled }) => enabled)) {
    warnings.push('no plugin is configured, so no task type is served; add one under plugins');
  }
  return warnings;
}

const isLoopbackHost = (host: string) => /^(localhost|127(\.\d{1,3}){3}|::1)$/.test(host);

function plainWarning({ host, plaintext }: Config['grpc']): string {
  const address = `grpc.host is ${host} and grpc.tls is not set`;
  return plaintext === 'anywhere'
    ? `${address}: grpc.plaintext lets whoever reaches the port run, read and delete tasks with no authentication, and whoever is on the way read and change them; set grpc.tls, listen on 127.0.0.1, or keep others off by the network`
    : `${address}: plain text has no authentication, so that only health is answered to other machines; set grpc.tls, or grpc.plaintext to anywhere where the network keeps others off`;
}
