import type { Idl } from '../../idl/idl.js';
import type { Tasks } from '../../tasks/types.js';
import type { FieldLimits } from '../fields.js';
import type { RpcServiceModule } from '../methods.js';
import { createAsyncService } from './async-service.js';
import { flyte1, flyte2 } from './dialect.js';
import { createMetadataService } from './metadata-service.js';
import { ResourceEncoder } from './resource.js';
import { createSyncService } from './sync-service.js';

export interface FlyteServicesOptions {
  readonly tasks: Tasks;
  /** With the descriptors of flyteidl (`loadPluginHost`, which has them too). */
  readonly flyteidl: Idl;
  /** With those of flyteidl2 (`loadFlyteidl2`). */
  readonly flyteidl2: Idl;
  readonly limits: FieldLimits;
  /** See `AsyncServiceOptions`. */
  readonly maxStalenessMs: number;
}

/** All services that engines of Flyte 1 and Flyte 2 call, for `createRpcServer`. */
export function createFlyteServices(options: FlyteServicesOptions): RpcServiceModule[] {
  const { tasks, limits, maxStalenessMs } = options;
  // One codec for both: descriptors loaded from a set know a Struct's fields as a list of entries only.
  const struct = options.flyteidl.codec('google.protobuf.Struct');
  const one = flyte1(options.flyteidl, struct);
  const two = flyte2(options.flyteidl2, struct);
  const encoder1 = new ResourceEncoder(one);
  return [
    createAsyncService({ tasks, dialect: one, encoder: encoder1, limits, maxStalenessMs }),
    createSyncService({ tasks, dialect: one, encoder: encoder1, limits }),
    createMetadataService(tasks, one, limits),
    createAsyncService({ tasks, dialect: two, encoder: new ResourceEncoder(two), limits, maxStalenessMs }),
    createMetadataService(tasks, two, limits),
  ];
}
