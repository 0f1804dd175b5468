import { Server, ServerCredentials } from '@grpc/grpc-js';
import { rpcLimits } from '../src/daemon/options.js';
import { defaultsOf } from '../src/model/options/defaults.js';
import { CONFIG_SCHEMA } from '../src/model/options/schema.js';
import { channelOptions } from '../src/rpc/server.js';
import { serve } from './lib/processes.js';
import { PROTOCOLS, type ProtocolName } from './lib/protocols.js';

/** Starts the floor: what every call costs at least, in a process of its own. */
export interface FloorRequest {
  /** The constant answer in each protocol, of the size and bytes of a real one. */
  readonly answers: Readonly<Record<ProtocolName, Uint8Array>>;
}

export interface FloorStarted {
  readonly port: number;
  readonly pid: number;
}

type Answer = (error: null, value: Buffer) => void;

/** A bare grpc-js server with the daemon's options: bytes in, one constant answer out, nothing decoded. */
async function start({ answers }: FloorRequest): Promise<FloorStarted> {
  const server = new Server(channelOptions(rpcLimits(defaultsOf(CONFIG_SCHEMA))));
  for (const [name, answer] of Object.entries(answers)) {
    const { idl, service, method } = PROTOCOLS[name as ProtocolName]();
    const constant = Buffer.from(answer);
    const handler = (_call: unknown, callback: Answer) => callback(null, constant);
    server.addService({ [method]: idl.rawService(service)[method]! }, { [method]: handler });
  }
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { port, pid: process.pid };
}

serve((request: FloorRequest) => start(request));
