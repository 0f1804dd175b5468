import type { StandardSchemaV1 } from '@standard-schema/spec';
import { HostError } from '../errors/index.js';
import type { JsonObject } from '../lib/json.js';
import { bounded } from './plain-fields.js';
import { Redactor } from './redactor.js';

const MAX_ISSUES = 20;
const MAX_ISSUE_TEXT = 300;

/**
 * The settings as the plugin's schema gives them back; as they are without a schema. Throws PLUGIN_SETTINGS_INVALID
 * with the path of each issue. The schema's words are shown, but never a value of the settings: it may be a secret.
 */
export async function checkSettings(
  schema: StandardSchemaV1 | undefined,
  settings: JsonObject,
  label: string,
): Promise<unknown> {
  if (schema === undefined) return settings;
  const result = await schema['~standard'].validate(settings);
  if (result.issues === undefined) return result.value;
  const redactor = new Redactor();
  for (const text of textsOf(settings)) redactor.add(text);
  const issues = result.issues.slice(0, MAX_ISSUES).map((issue) => {
    return `settings${pathOf(issue.path)}: ${bounded(redactor.redact(String(issue.message)), MAX_ISSUE_TEXT)}`;
  });
  const more = result.issues.length > MAX_ISSUES ? `; and ${result.issues.length - MAX_ISSUES} more` : '';
  throw new HostError('PLUGIN_SETTINGS_INVALID', `${label}: ${issues.join('; ')}${more}`);
}

function pathOf(path: StandardSchemaV1.Issue['path']): string {
  return (path ?? [])
    .map((segment) => (typeof segment === 'object' ? segment.key : segment))
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('');
}

function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(textsOf);
}
