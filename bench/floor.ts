import { Server, ServerCredentials } from '@grpc/grpc-js';
import { rpcLimits } from '../src/daemon/options.js';
import { loadPluginHost, PLUGIN_HOST_SERVICE } from '../src/idl/load.js';
import { defaultsOf } from '../src/model/options/defaults.js';
import { CONFIG_SCHEMA } from '../src/model/options/schema.js';
import { channelOptions } from '../src/rpc/server.js';
import { serve } from './lib/processes.js';

/** Starts the floor: what every call costs at least, in a process of its own. */
export interface FloorRequest {
  /** The constant answer, of the size and bytes of a real one. */
  readonly answer: Uint8Array;
}

export interface FloorStarted {
  readonly port: number;
  readonly pid: number;
}

type Answer = (error: null, value: Buffer) => void;

/** A bare grpc-js server with the daemon's options: bytes in, one constant answer out, nothing decoded. */
async function start({ answer }: FloorRequest): Promise<FloorStarted> {
  const constant = Buffer.from(answer);
  const server = new Server(channelOptions(rpcLimits(defaultsOf(CONFIG_SCHEMA))));
  const { Status } = loadPluginHost().rawService(PLUGIN_HOST_SERVICE);
  server.addService({ Status: Status! }, { Status: (_call: unknown, callback: Answer) => callback(null, constant) });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { port, pid: process.pid };
}

serve((request: FloorRequest) => start(request));
