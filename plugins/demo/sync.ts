import { definePlugin, type LiteralInput, phases } from 'webapi-plugin-host';
import { callRemote } from './client.js';
import { type DemoSettings, demoSettings } from './settings.js';

/** The sync sibling of the demo plugin: one call that computes and answers. */
export default definePlugin<DemoSettings>({
  id: 'demo-sync',
  apiVersion: 1,
  version: '1.0.0',
  taskTypes: ['demo_sync'],
  settings: demoSettings,
  load: ({ settings }) => ({
    async do(ctx) {
      const template = ctx.taskReader.read();
      const inputs = await ctx.inputReader.get();
      const outputs = Object.fromEntries(template.outputNames.map((name) => [name, inputs[name] as LiteralInput]));
      const { ok, message } = (await callRemote(settings.url, 'POST', '/v1/run', ctx.signal, {
        spec: template.custom,
        name: ctx.taskExecutionMetadata.generatedName,
      })) as { ok: boolean; message: string };
      return ok ? phases.success(outputs) : phases.permanentFailure(message, { code: 'DemoFailure' });
    },
  }),
});
