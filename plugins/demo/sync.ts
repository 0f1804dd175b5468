import { createHttpClient, definePlugin, type LiteralInput, phases } from 'webapi-plugin-host';
import { type DemoSettings, demoSettings } from './settings.js';

/** The sync sibling of the demo plugin: one call that computes and answers. */
export default definePlugin<DemoSettings>({
  id: 'demo-sync',
  apiVersion: 1,
  version: '1.0.0',
  taskTypes: ['demo_sync'],
  settings: demoSettings,
  load({ settings }) {
    const api = createHttpClient({ baseUrl: settings.url });
    return {
      async do(ctx) {
        const template = ctx.taskReader.read();
        const inputs = await ctx.inputReader.get();
        const outputs = Object.fromEntries(
          template.outputNames
            .filter((name) => Object.hasOwn(inputs, name))
            .map((name) => [name, inputs[name] as LiteralInput]),
        );
        const json = { spec: template.custom, name: ctx.taskExecutionMetadata.generatedName };
        const { ok, message } = await api.post<{ ok: boolean; message: string }>(ctx, '/v1/run', { json });
        return ok ? phases.success(outputs) : phases.permanentFailure(message, { code: 'DemoFailure' });
      },
      close: () => api.close(),
    };
  },
});
