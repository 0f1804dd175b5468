import { Server, ServerCredentials } from '@grpc/grpc-js';
import { loadPluginHost, PLUGIN_HOST_SERVICE } from '../../src/idl/load.js';
import { StatusEncoder } from '../../src/rpc/native/status-bytes.js';
import { cpuSeconds, serve } from '../lib/processes.js';
import type { ServerRequest, ServerStarted } from './messages.js';
import { makeTasks } from './tasks.js';

/**
 * A bare grpc-js server: passes bytes through and answers one constant message, of the size of a real one. With its
 * default options; `tuned` switches channelz off, as the daemon does.
 */
async function start(tuned: boolean): Promise<ServerStarted> {
  const idl = loadPluginHost();
  const { records } = makeTasks(1);
  const constant = Buffer.from(new StatusEncoder(idl).response(records[0]!, false));
  const server = new Server(tuned ? { 'grpc.enable_channelz': 0 } : {});
  const { Status } = idl.rawService(PLUGIN_HOST_SERVICE);
  server.addService({ Status: Status! }, { Status: (_call: unknown, callback: Answer) => callback(null, constant) });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { port, requests: [], answerBytes: constant.length };
}

type Answer = (error: null, value: Buffer) => void;

serve((request: ServerRequest) => (request.kind === 'start' ? start(request.tuned) : cpuSeconds()));
