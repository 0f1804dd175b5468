import type { TestContext } from 'node:test';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { service } from 'grpc-health-check';

type State = { readonly status: string };
const check = service.Check!;
const decode = check.responseDeserialize as (bytes: Buffer) => State;

function connect(t: TestContext, address: string): Client {
  const client = new Client(address, credentials.createInsecure());
  t.after(() => client.close());
  return client;
}

/** A health Watch stream on the whole server: what it told, and its end, however it ends. */
export function watchHealth(t: TestContext, address: string): { states: string[]; ended: Promise<void> } {
  const stream = connect(t, address).makeServerStreamRequest(
    '/grpc.health.v1.Health/Watch',
    check.requestSerialize,
    decode,
    { service: '' },
    new Metadata(),
  );
  const states: string[] = [];
  stream.on('data', ({ status }: State) => states.push(status));
  const ended = new Promise<void>((resolve) => {
    stream.once('end', resolve);
    stream.once('error', () => resolve());
  });
  return { states, ended };
}

/** Asks for the health of a service, again and again if wanted, over one connection. */
export function healthClient(t: TestContext, address: string): (service: string) => Promise<string> {
  const client = connect(t, address);
  return (name) =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        '/grpc.health.v1.Health/Check',
        check.requestSerialize,
        decode,
        { service: name },
        new Metadata(),
        { deadline: Date.now() + 60_000 },
        (error, answer) => (error ? reject(error) : resolve((answer as State).status)),
      );
    });
}
