import { WIRE_LEN } from '../../idl/wire.js';
import { wiresOf } from '../peek-fields.js';

/** `resource_meta` has this number in every request of both protocols. */
export const REQUEST_RESOURCE_META = 2;
/** The fields of requests about a task, in either protocol. */
export const ABOUT_TASK = {
  GetTaskRequest: wiresOf('-LLLLL'),
  DeleteTaskRequest: wiresOf('-LLLLL'),
  GetTaskMetricsRequest: wiresOf('-LLLLLLL'),
  GetTaskLogsRequest: wiresOf('-LLVLL'),
};
/** `connection`, in Flyte 2 only. */
const CONNECTION = 5;

/**
 * The resource meta of a GetTaskRequest, found without decoding the rest: the hot path. Undefined where the bytes are
 * not as engines send them (or bring a connection with something in it, which has to be kept); the codec then reads them and
 * complains. Flyte 2 sends an empty connection with every call.
 */
export function peekResourceMeta(request: Buffer): Buffer | undefined {
  let found: Buffer | undefined;
  let at = 0;
  while (at < request.length) {
    const tag = request[at]!;
    const wire = tag & 7;
    const number = tag >> 3;
    // Every field of these messages has a length, and a number below 16, which takes one byte.
    if (tag >= 0x80 || number === 0 || wire !== WIRE_LEN) return undefined;
    let value = 0;
    let factor = 1;
    let byte = 0x80;
    for (at += 1; byte >= 0x80; at += 1, factor *= 128) {
      if (at >= request.length || factor > 0x1000_0000) return undefined;
      byte = request[at]!;
      value += (byte & 0x7f) * factor;
    }
    if (at + value > request.length || (number === CONNECTION && value > 0)) return undefined;
    if (number === REQUEST_RESOURCE_META) {
      if (found !== undefined) return undefined;
      found = request.subarray(at, at + value);
    }
    at += value;
  }
  return found === undefined || found.length === 0 ? undefined : found;
}
