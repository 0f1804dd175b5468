import pb from 'protobufjs';
import { FLYTE2_TYPES } from '../generated/flyte2-types.js';
import { SERVED_TYPES } from '../generated/served-types.js';
import { type Idl, makeIdl } from './idl.js';

export const FLYTE1_SERVICES = {
  asyncAgent: 'flyteidl.service.AsyncAgentService',
  syncAgent: 'flyteidl.service.SyncAgentService',
  metadata: 'flyteidl.service.AgentMetadataService',
} as const;

export const FLYTE2_SERVICES = {
  asyncConnector: 'flyteidl2.connector.AsyncConnectorService',
  metadata: 'flyteidl2.connector.ConnectorMetadataService',
} as const;

export const PLUGIN_HOST_SERVICE = 'pluginhost.v1.PluginHost';

let served: Idl | undefined;
let flyteidl2: Idl | undefined;

/**
 * Our API with flyteidl (Flyte 1) beside it, whose messages it reuses, health and reflection: as `npm run gen` read their .proto
 * files. The same object each time.
 */
export function loadPluginHost(): Idl {
  served ??= makeIdl(pb.Root.fromJSON(JSON.parse(SERVED_TYPES)));
  return served;
}

/** flyteidl2 (Flyte 2), of the descriptor set that `npm run gen` makes of `@flyteorg/flyteidl2`. The same object each time. */
export function loadFlyteidl2(): Idl {
  flyteidl2 ??= makeIdl(pb.Root.fromJSON(JSON.parse(FLYTE2_TYPES)));
  return flyteidl2;
}
