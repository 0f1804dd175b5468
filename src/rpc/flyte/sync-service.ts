import { HostError } from '../../errors/index.js';
import { FLYTE1_SERVICES } from '../../idl/load.js';
import { lenField } from '../../idl/wire.js';
import type { Tasks } from '../../tasks/types.js';
import { type FieldLimits, fieldInvalid } from '../fields.js';
import type { RpcServiceModule } from '../methods.js';
import { wiresOf } from '../peek-fields.js';
import type { RpcDuplex } from '../stream.js';
import type { Dialect } from './dialect.js';
import type { ResourceEncoder } from './resource.js';
import { CreateReader, peekNaming, RAW_CREATE_FIELDS } from './task-spec.js';

const HEADER = 1;
const HEADER_FIELDS = wiresOf('-LLLV');
const NAMING = { outputPrefix: 2, metadata: 3 };
const RESOURCE = 1;

export interface SyncServiceOptions {
  readonly tasks: Pick<Tasks, 'do'>;
  /** Flyte 1's; Flyte 2 has no such service. */
  readonly dialect: Dialect;
  readonly encoder: ResourceEncoder;
  readonly limits: FieldLimits;
}

/** The next message of the stream, or undefined at its end. Throws DEADLINE_EXCEEDED and CALL_CANCELLED. */
async function next(messages: AsyncIterator<Buffer>, stream: RpcDuplex): Promise<Buffer | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new HostError('DEADLINE_EXCEEDED', 'the deadline passed before the stream was complete')),
      stream.call.leftMs,
    );
  });
  try {
    const result = await Promise.race([messages.next(), late]);
    return result.done === true ? undefined : result.value;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * SyncAgentService: header, then inputs, then one header back that holds the result in a terminal phase. An engine that
 * gets another phase loses one of its workers for good (FIELD 19); the use case rules that out.
 */
export function createSyncService(options: SyncServiceOptions): RpcServiceModule {
  const { tasks, dialect, encoder, limits } = options;
  const specs = new CreateReader(dialect, limits);
  const request = dialect.codec('ExecuteTaskSyncRequest');
  const header = dialect.codec('CreateRequestHeader');

  const part = async (messages: AsyncIterator<Buffer>, stream: RpcDuplex, wanted: 'header' | 'inputs') => {
    const bytes = await next(messages, stream);
    if (bytes === undefined) throw fieldInvalid(wanted, 'the stream ended before it; send header, then inputs');
    const message = request.decode(bytes, { raw: ['header', 'inputs'] });
    const found = message[wanted] as Buffer | null;
    if (found !== null) return found;
    const seen = wanted === 'header' ? 'inputs' : 'header';
    const got = message[seen] === null ? 'an empty message' : `a message with ${seen}`;
    throw fieldInvalid(wanted, `${got} came in its place; send header, then inputs`);
  };

  const partition = (first: Buffer): number | undefined => {
    const fields = request.decode(first, { raw: ['header', 'inputs'] }).header as Buffer | null;
    if (fields === null) return undefined;
    return specs.partition(
      peekNaming(fields, HEADER_FIELDS, NAMING) ?? (header.decode(fields, { raw: [...RAW_CREATE_FIELDS] }) as never),
    );
  };

  const execute = async (stream: RpcDuplex): Promise<void> => {
    const messages = stream.messages();
    const fields = header.decode(await part(messages, stream, 'header'), { raw: [...RAW_CREATE_FIELDS] });
    const inputs = await part(messages, stream, 'inputs');
    const state = await tasks.do(specs.read(fields as never, inputs), stream.call);
    await stream.write(lenField(HEADER, lenField(RESOURCE, encoder.resource(state))));
  };

  return {
    name: FLYTE1_SERVICES.syncAgent,
    definition: dialect.idl.rawService(FLYTE1_SERVICES.syncAgent),
    handlers: { ExecuteTaskSync: { kind: 'bidi', partition, handle: execute } },
  };
}
