import type { Codec, Message } from '../../idl/codec.js';
import type { Idl } from '../../idl/idl.js';
import { FLYTE1_SERVICES, FLYTE2_SERVICES } from '../../idl/load.js';

/**
 * What sets the two protocols apart; all else is one translation. The messages of both have the same field numbers
 * wherever both have the field, and literals are the same on the wire.
 */
export interface Dialect {
  readonly version: 1 | 2;
  readonly idl: Idl;
  readonly templateType: string;
  readonly asyncService: string;
  readonly metadataService: string;
  /** Encodes a google.protobuf.Struct whose fields are given as an object. */
  readonly struct: Codec;
  /** Of a request or answer message, by its name without package. */
  codec(name: string): Codec;
}

export function flyte1(idl: Idl, struct: Codec): Dialect {
  return {
    version: 1,
    idl,
    templateType: 'flyteidl.core.TaskTemplate',
    asyncService: FLYTE1_SERVICES.asyncAgent,
    metadataService: FLYTE1_SERVICES.metadata,
    struct,
    codec: (name) => idl.codec(`flyteidl.admin.${name}`),
  };
}

export function flyte2(idl: Idl, struct: Codec): Dialect {
  return {
    version: 2,
    idl,
    templateType: 'flyteidl2.core.TaskTemplate',
    asyncService: FLYTE2_SERVICES.asyncConnector,
    metadataService: FLYTE2_SERVICES.metadata,
    struct,
    codec: (name) => idl.codec(`flyteidl2.connector.${name}`),
  };
}

/** A decoded map: descriptors loaded from a set give its entries as a list, those of .proto files an object. */
export function mapOf(decoded: unknown): Record<string, string> {
  if (!Array.isArray(decoded)) return (decoded ?? {}) as Record<string, string>;
  return Object.fromEntries((decoded as Message[]).map(({ key, value }) => [String(key), String(value)]));
}
