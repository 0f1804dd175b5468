import type { Idl } from '../../src/idl/idl.js';
import {
  FLYTE1_SERVICES,
  FLYTE2_SERVICES,
  loadFlyteidl2,
  loadPluginHost,
  PLUGIN_HOST_SERVICE,
} from '../../src/idl/load.js';

/** How the state of a task is asked for in one protocol. */
export interface Protocol {
  readonly service: string;
  readonly method: string;
  readonly idl: Idl;
  /** A request as engines of this protocol send it. */
  request(handle: Buffer): Buffer;
  /** The name of the phase in an answer. */
  phaseOf(answer: Uint8Array): string;
}

const OUTPUT_PREFIX = 's3://flyte-metadata/propeller/flytesnacks-development-f3a9c0d1e2b4/n0/data/0';

function native(): Protocol {
  const idl = loadPluginHost();
  const request = idl.codec('pluginhost.v1.StatusRequest');
  const response = idl.codec('pluginhost.v1.StatusResponse');
  return {
    service: PLUGIN_HOST_SERVICE,
    method: 'Status',
    idl,
    request: (handle) => request.encode({ handle }),
    phaseOf: (answer) => response.decode(answer).status.phaseInfo.phase,
  };
}

function flyte1(): Protocol {
  const idl = loadPluginHost();
  const request = idl.codec('flyteidl.admin.GetTaskRequest');
  const response = idl.codec('flyteidl.admin.GetTaskResponse');
  const taskCategory = { name: 'bench', version: 0 };
  return {
    service: FLYTE1_SERVICES.asyncAgent,
    method: 'GetTask',
    idl,
    request: (handle) =>
      request.encode({ taskType: 'bench', taskCategory, resourceMeta: handle, outputPrefix: OUTPUT_PREFIX }),
    phaseOf: (answer) => response.decode(answer).resource.phase,
  };
}

/** Its engine sends a connection with every call, an empty one where none is set. */
function flyte2(): Protocol {
  const idl = loadFlyteidl2();
  const request = idl.codec('flyteidl2.connector.GetTaskRequest');
  const response = idl.codec('flyteidl2.connector.GetTaskResponse');
  const taskCategory = { name: 'bench', version: 0 };
  return {
    service: FLYTE2_SERVICES.asyncConnector,
    method: 'GetTask',
    idl,
    request: (handle) =>
      request.encode({ taskCategory, resourceMeta: handle, outputPrefix: OUTPUT_PREFIX, connection: {} }),
    phaseOf: (answer) => response.decode(answer).resource.phase,
  };
}

export type ProtocolName = 'native' | 'flyte1' | 'flyte2';

/** Made when asked for: each loads descriptors. */
export const PROTOCOLS: Readonly<Record<ProtocolName, () => Protocol>> = { native, flyte1, flyte2 };
