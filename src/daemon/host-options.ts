import type { Config } from '../config/index.js';
import type { DataOptions } from '../data/options.js';
import { S3_BOUNDS } from '../data/stores/s3-store.js';
import { DEFAULT_HOST_LIMITS } from '../host/limits.js';
import type { HostLimits } from '../host/types.js';
import type { PluginEntry } from '../model/options/plugin.js';

/** The enabled entries of the config, as the plugin host takes them. */
export function pluginEntries(config: Config): PluginEntry[] {
  return Object.entries(config.plugins)
    .filter(([, entry]) => entry.enabled)
    .map(([id, entry]) => ({ ...entry, id }));
}

/** Data store and secrets, for the plugin processes and for outputs that the daemon writes itself. */
export function dataOptions(config: Config): DataOptions {
  const { localRoots, maxObjectBytes, s3 } = config.dataStore;
  return {
    dataStore: {
      localRoots,
      maxObjectBytes,
      s3: {
        enabled: s3.enabled,
        region: s3.region,
        forcePathStyle: s3.forcePathStyle,
        ...S3_BOUNDS,
        ...(s3.endpoint === undefined ? {} : { endpoint: s3.endpoint }),
        ...(s3.accessKeyId === undefined ? {} : { accessKeyId: s3.accessKeyId }),
        ...(s3.secretAccessKey === undefined ? {} : { secretAccessKey: s3.secretAccessKey }),
      },
    },
    secrets: { envPrefixes: config.secrets.envPrefixes, dir: config.secrets.dir },
    maxOutputBytes: maxObjectBytes,
  };
}

/** What is added on the way from a request to the message to a plugin: names, numbers, a frame; secrets are in the request. */
const MESSAGE_ROOM_BYTES = 16 * 1024 * 1024;

/** Bounds of plugin processes: what the gRPC port takes fits into a message to one. */
export function hostLimits({ grpc }: Config): Pick<HostLimits, 'maxRequestBytes' | 'maxQueuedBytes'> {
  const { maxRequestBytes, maxQueuedBytes } = DEFAULT_HOST_LIMITS;
  const needed = grpc.maxReceiveMessageBytes + MESSAGE_ROOM_BYTES;
  return { maxRequestBytes: Math.max(maxRequestBytes, needed), maxQueuedBytes: Math.max(maxQueuedBytes, 2 * needed) };
}
