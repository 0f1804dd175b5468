import type { PluginDefinition } from 'webapi-plugin-host';

export interface DemoSettings {
  /** Base URL of the demo remote. */
  readonly url: string;
  /** Read many jobs with one call. Default true. */
  readonly batch: boolean;
}

/** A Standard Schema by hand, since a plugin needs no library for two options. */
export const demoSettings: NonNullable<PluginDefinition<DemoSettings>['settings']> = {
  '~standard': {
    version: 1,
    vendor: 'webapi-plugin-host-demo',
    validate(value) {
      const { url, batch = true, ...rest } = (value ?? {}) as Record<string, unknown>;
      const unknown = Object.keys(rest).map((key) => ({ message: 'no such setting', path: [key] }));
      if (unknown.length > 0) return { issues: unknown };
      if (typeof url !== 'string' || !URL.canParse(url)) {
        return { issues: [{ message: 'expected the URL of the demo remote', path: ['url'] }] };
      }
      if (typeof batch !== 'boolean') return { issues: [{ message: 'expected true or false', path: ['batch'] }] };
      return { value: { url, batch } };
    },
  },
};
