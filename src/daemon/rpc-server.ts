import type { Config } from '../config/index.js';
import type { PluginHost } from '../host/types.js';
import { loadFlyteidl2, loadPluginHost } from '../idl/load.js';
import type { Clock } from '../lib/clock.js';
import type { Elsewhere } from '../model/forwarding.js';
import type { LinkAcceptor } from '../model/replica-link.js';
import { createFlyteServices } from '../rpc/flyte/services.js';
import { passedOn } from '../rpc/forwarding.js';
import { createNativeService, NATIVE_BOUNDS } from '../rpc/native/service.js';
import { createReplicaLinkService } from '../rpc/replica-link.js';
import { createRpcServer, type RpcServer } from '../rpc/server.js';
import type { ShownTasks } from '../tasks/joined-tasks.js';
import type { Tasks } from '../tasks/types.js';
import type { Telemetry } from '../telemetry/index.js';
import type { PortAccess } from './access.js';
import { readinessOf } from './admin-source.js';
import type { Lifecycle } from './lifecycle.js';
import { fieldLimits, rpcLimits } from './options.js';

export interface RpcParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly tasks: ShownTasks;
  readonly host: PluginHost;
  readonly telemetry: Telemetry;
  readonly lifecycle: Lifecycle;
  readonly access: PortAccess;
  /** Where another replica may have the tasks. */
  readonly elsewhere: Elsewhere | undefined;
  /** Answers in the place of owners that are away; undefined where nobody does. */
  readonly standIn: Tasks | undefined;
  /** Takes the streams of other replicas; undefined where none come. */
  readonly replicas: LinkAcceptor | undefined;
}

/** The gRPC port: the native API and both generations of Flyte's, over the same use cases. Nothing is bound yet. */
export function buildRpcServer({
  config,
  clock,
  tasks,
  host,
  telemetry,
  lifecycle,
  access,
  elsewhere,
  standIn,
  replicas,
}: RpcParts): RpcServer {
  const { grpc } = config;
  const { enabled, maxStalenessMs } = config.flyte;
  const limits = fieldLimits(config);
  const idl = loadPluginHost();
  const flyteidl2 = enabled ? loadFlyteidl2() : undefined;
  const servicesOver = (over: ShownTasks | Tasks) => [
    createNativeService({ tasks: over, idl, limits, ...NATIVE_BOUNDS }),
    ...(flyteidl2 ? createFlyteServices({ tasks: over, limits, flyteidl: idl, flyteidl2, maxStalenessMs }) : []),
  ];
  const services = servicesOver(tasks);
  const instead = standIn && servicesOver(standIn);
  return createRpcServer({
    host: grpc.host,
    port: grpc.port,
    ...rpcLimits(config),
    services: [
      ...(elsewhere === undefined
        ? services
        : services.map((service, at) => passedOn(service, elsewhere, instead?.[at]))),
      ...(replicas === undefined ? [] : [createReplicaLinkService(replicas)]),
    ],
    health: {
      ready: () => readinessOf(lifecycle.state, host).ready,
      plugins: () => host.plugins().map(({ id, state }) => ({ id, serving: state === 'serving' })),
      onChange: (listener) => lifecycle.onChange(listener),
    },
    reflection: grpc.reflection,
    metrics: telemetry.rpcMetrics,
    connectionCut: telemetry.connectionCut,
    log: telemetry.rpcLog,
    access,
    clock,
  });
}
