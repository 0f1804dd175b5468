// The plugin side of the interop remote: one async and one sync plugin, shared by the plugin files beside this one.
// What a job does is steered by the template's custom field `steer`, see ../README.md.
import { createHash } from 'node:crypto';
import { NotFoundError, PermanentError, phases, ThrottledError, TransientError } from 'webapi-plugin-host';

/** Talks to the remote and turns its answers into the contract's errors. */
export async function call(url, path, { method = 'GET', body, signal, plugin = '' }) {
  let response;
  try {
    response = await fetch(new URL(path, url), {
      method,
      signal,
      headers: { 'content-type': 'application/json', 'x-plugin': plugin },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch (cause) {
    throw new TransientError(`the remote at ${url} cannot be reached`, { cause });
  }
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  const said = `the remote answered ${response.status}: ${text}`;
  if (response.status === 429) {
    throw new ThrottledError(said, { retryAfterMs: Number(response.headers.get('retry-after') ?? '1') * 1000 });
  }
  if (response.status === 404) throw new NotFoundError(said);
  if (response.status >= 500) throw new TransientError(said);
  throw new PermanentError(said, { code: `HTTP_${response.status}` });
}

function steerOf(template) {
  return template.custom.steer ?? {};
}

/** What of the task reached the plugin, for the tests to look at. */
function seenOf(template, inputs, ctx) {
  return {
    type: template.type,
    version: template.taskTypeVersion,
    image: template.container?.image,
    args: template.container?.args,
    command: template.container?.command,
    statement: template.sql?.statement,
    inputNames: template.inputNames,
    outputNames: template.outputNames,
    inputBytes: inputs.length,
    inputHash: createHash('sha256').update(inputs).digest('hex'),
    outputPrefix: ctx.outputPrefix,
    execution: ctx.taskExecutionMetadata.taskExecutionId,
    namespace: ctx.taskExecutionMetadata.namespace,
    labels: ctx.taskExecutionMetadata.labels,
    secrets: Object.keys(ctx.connection?.secrets ?? {}),
    configs: ctx.connection?.configs,
  };
}

function failureOf(job) {
  const { outcome, message = 'the job failed', code = 'JobFailed' } = job.steer;
  if (outcome === 'retryable') return phases.retryableFailure(message, { code });
  if (outcome === 'system') return phases.retryableFailure(message, { code, kind: 'SYSTEM' });
  return phases.permanentFailure(message, { code });
}

/** Blocks the plugin's only thread, as a plugin with a runaway loop would. */
function spin(ms) {
  const until = Date.now() + ms;
  while (Date.now() < until);
}

export function jobPlugin(definition) {
  return {
    apiVersion: 1,
    ...definition,
    load({ settings }) {
      const url = settings.url;
      const echoes = new Map();
      const spun = new Set();

      async function outputsOf(job, ctx) {
        const { outputs = 'none', bytes = 0 } = job.steer;
        if (outputs === 'echo') return echoes.get(job.id);
        if (outputs === 'bytes') return { text: 'x'.repeat(bytes) };
        if (outputs === 'missing') return {};
        if (outputs === 'file') await ctx.outputWriter.put({ text: `written by ${job.id}` });
        return outputs === 'file' ? 'at-prefix' : undefined;
      }

      return {
        resourceRequirements: () => ({ namespace: 'default' }),
        async create(ctx) {
          const template = ctx.taskReader.read();
          const inputs = await ctx.inputReader.bytes();
          const steer = steerOf(template);
          const job = await call(url, '/jobs', {
            method: 'POST',
            plugin: definition.id,
            signal: ctx.signal,
            body: { token: ctx.idempotencyKey, label: steer.label, steer, seen: seenOf(template, inputs, ctx) },
          });
          if (steer.outputs === 'echo') echoes.set(job.id, await ctx.inputReader.get());
          return { resourceMeta: { id: job.id } };
        },
        async get(ctx) {
          const job = await call(url, `/jobs/${ctx.resourceMeta.id}`, { plugin: definition.id, signal: ctx.signal });
          if (job.steer.spinMs > 0 && !spun.has(job.id)) {
            spun.add(job.id);
            spin(job.steer.spinMs);
          }
          const logs = [{ name: 'Job log', uri: `${url}/jobs/${job.id}/logs` }];
          const shown = { logs, customInfo: { job: job.id }, remotePhase: job.state };
          switch (job.state) {
            case 'queued':
              return phases.queued({ ...shown, reason: 'in the queue of the remote' });
            case 'running':
              return phases.running({ ...shown, reason: 'running' });
            case 'succeeded':
              return phases.success(await outputsOf(job, ctx), shown);
            case 'cancelled':
              return phases.aborted(job.steer.message ?? 'cancelled at the remote', shown);
            default:
              return failureOf(job);
          }
        },
        async delete(ctx) {
          await call(url, `/jobs/${ctx.resourceMeta.id}`, {
            method: 'DELETE',
            plugin: definition.id,
            signal: ctx.signal,
          });
        },
        async getLogs(ctx) {
          const page = await call(
            url,
            `/jobs/${ctx.resourceMeta.id}/logs?from=${ctx.token || 0}&lines=${ctx.lines || 10}`,
            { plugin: definition.id, signal: ctx.signal },
          );
          return { lines: page.lines.map((message) => ({ message, originator: 'USER' })), token: page.next };
        },
        async getMetrics() {
          return [{ metric: 'cpu', points: [{ timestampMs: 1_700_000_000_000, value: 0.5 }] }];
        },
        // The Python connector of the side-by-side runs keeps `{"id": "job-1"}`.
        adoptMeta(foreign) {
          try {
            const parsed = JSON.parse(Buffer.from(foreign).toString('utf8'));
            return typeof parsed?.id === 'string' ? { id: parsed.id } : undefined;
          } catch {
            return undefined;
          }
        },
      };
    },
  };
}

export function syncPlugin(definition) {
  return {
    apiVersion: 1,
    ...definition,
    load({ settings }) {
      return {
        async do(ctx) {
          const steer = steerOf(ctx.taskReader.read());
          const { message = 'the sync task failed', code = 'SyncFailed' } = steer;
          const ran = await call(settings.url, '/run', {
            method: 'POST',
            plugin: definition.id,
            signal: ctx.signal,
            body: { label: steer.label, steer },
          });
          if (steer.outcome === 'throw') throw new PermanentError(message, { code });
          if (steer.outcome === 'permanent') return phases.permanentFailure(message, { code });
          if (steer.outcome === 'retryable') return phases.retryableFailure(message, { code });
          return phases.success({ times: ran.times });
        },
      };
    },
  };
}
