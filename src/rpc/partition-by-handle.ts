import type { Codec } from '../idl/codec.js';
import { partitionOfHandle } from '../model/handle.js';
import type { PartitionOf } from './methods.js';
import { peekFields, type Wires } from './peek-fields.js';

/** For requests that hold a handle in a field of bytes, of this name and number. */
export function partitionByHandle(codec: Codec, name: string, number: number, wires: Wires): PartitionOf {
  const wanted = [number];
  return (request) => {
    const [handle] = peekFields(request, wires, wanted) ?? [codec.decode(request)[name] as Buffer];
    return handle === undefined || handle.length === 0 ? undefined : partitionOfHandle(handle);
  };
}
