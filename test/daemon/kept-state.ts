import type { Client, TaskInput } from '../../src/client/index.js';
import type { JsonObject } from '../../src/lib/json.js';
import { configOf, DEMO_PLUGIN, demoEntry } from './support.js';

/** What a daemon left, and what it had told: a fixture of one release. */
export interface KeptState {
  /** By their paths in the state's folder; base64. */
  readonly files: Readonly<Record<string, string>>;
  /** What was known of each task when the daemon was killed, by its name. */
  readonly tasks: Readonly<Record<string, Told>>;
  readonly owed: number;
}

export interface Told {
  /** Base64. */
  readonly handle: string;
  readonly phase: string;
  readonly code: string;
  /** Of inline outputs; base64. */
  readonly outputs: string;
}

/** The daemon that leaves and reads such states: its quota has room for one, and one plugin runs within the call. */
export const keptConfig = (url: string, dir: string) => {
  const demo = demoEntry(url);
  return configOf(
    {
      demo: { ...demo, callTimeout: '5s', config: { ...(demo.config as object), resourceQuotas: { small: 2 } } },
      'demo-sync': { source: `${DEMO_PLUGIN}/sync.js`, settings: { url } },
    },
    { state: { dir } },
  );
};

type Named = TaskInput & { readonly generatedName: string };

export const task = (name: string, type: string, custom: JsonObject = {}): Named => ({
  generatedName: name,
  template: { type, custom },
});

/** A task with an output, which its job is told. */
export const withOutputs = (name: string, value: string): Named => ({
  generatedName: name,
  template: {
    type: 'demo_sleep',
    custom: { seconds: 0.05, outputs: { said: value } },
    interface: { outputs: { variables: { said: { type: { simple: 'STRING' } } } } },
  },
});

export async function toldOf(client: Client, handle: Uint8Array): Promise<Told> {
  const { phase, error, outputs } = (await client.status(handle)).phaseInfo;
  return {
    handle: Buffer.from(handle).toString('base64'),
    phase,
    code: error?.code ?? '',
    outputs: outputs.kind === 'inline' ? Buffer.from(outputs.literalMap).toString('base64') : outputs.kind,
  };
}
