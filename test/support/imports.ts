/** One import as it stands in a source file. */
export interface FoundImport {
  /** The module asked for; undefined for an `import()` whose argument is computed at run time. */
  readonly specifier: string | undefined;
  readonly line: number;
}

/**
 * Blanks comments and the insides of template literals, keeping line breaks, so that text which only mentions an import
 * is not taken for one. Strings stay, since specifiers are strings.
 */
export function withoutCommentsAndTemplates(source: string): string {
  const token = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g;
  return source.replace(token, (text) => (/^['"]/.test(text) ? text : text.replace(/[^\n]/g, ' ')));
}

const statement =
  /^[ \t]*(?:import|export)\b(?:[^'"();]*?\bfrom)?\s*(['"])([^'"\n]+)\1|\b(?:import|require)\s*\(\s*(?:(['"])([^'"\n]+)\3)?/gm;

/**
 * Every import of a TypeScript file: statements, re-exports, types in `import('…')`, and dynamic ones. A dependency-free
 * scan, because TypeScript 7 has no parser that scripts can call.
 */
export function importsOf(source: string): FoundImport[] {
  const text = withoutCommentsAndTemplates(source);
  return [...text.matchAll(statement)].map((match) => ({
    specifier: match[2] ?? match[4],
    line: text.slice(0, match.index).split('\n').length,
  }));
}
