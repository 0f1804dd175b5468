import type { RpcService } from '../idl/idl.js';
import type { Elsewhere } from '../model/forwarding.js';
import type { RpcCall } from './call.js';
import type { RpcDuplex, RpcStream } from './stream.js';

/**
 * The partition of the task that a request is about, found with as little as that takes; the one that the handler comes to. Undefined, or a
 * throw, for a request that the handler refuses.
 */
export type PartitionOf = (request: Buffer) => number | undefined;

/**
 * One RPC, over bytes. What it throws becomes the status of the call (`status.ts`).
 *
 * - `unary`: `ready` is asked first, where there is one, for an answer that memory has; undefined, or a throw, leaves the call
 *   to `handle`. That is the hot path, and gets the bytes alone.
 * - `serverStream`: the call ends when the promise does, and at its deadline at the latest; `bounded` ones have none of ours,
 *   and count against the bound of open streams instead.
 * - `bidi`: the call ends likewise, with requests to iterate over; `bounded` ones as above.
 *
 * `partition` has the request, of `bidi` the first; a method without it is about no single task.
 */
export type RpcMethodHandler =
  | {
      readonly kind: 'unary';
      readonly partition?: PartitionOf;
      ready?(request: Buffer): Buffer | undefined;
      handle(request: Buffer, call: RpcCall): Buffer | Promise<Buffer>;
    }
  | {
      readonly kind: 'serverStream';
      readonly bounded: boolean;
      readonly partition?: PartitionOf;
      handle(request: Buffer, stream: RpcStream): Promise<void>;
      /** Takes its place where the tasks are divided among replicas, and it is about tasks of several parts. */
      parted?(request: Buffer, stream: RpcStream, elsewhere: Elsewhere, path: string): Promise<void>;
    }
  | {
      readonly kind: 'bidi';
      readonly bounded?: boolean;
      readonly partition?: PartitionOf;
      handle(stream: RpcDuplex): Promise<void>;
    };

/** A service to serve: its definition over Buffers (`Idl.rawService`) and a handler for each of its methods. */
export interface RpcServiceModule {
  /** Full name, such as `pluginhost.v1.PluginHost`. */
  readonly name: string;
  readonly definition: RpcService;
  readonly handlers: Readonly<Record<string, RpcMethodHandler>>;
  /** It is for other replicas alone: reflection and health do not name it. */
  readonly internal?: boolean;
}
