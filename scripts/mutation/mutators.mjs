// The mutations that `npm run mutate` plants in compiled JavaScript: one changed operator, constant, condition or statement.
// Texts are left alone, since tests must not hold messages to the letter; so are imports and declarations of constants'
// names.
import { parse } from 'acorn';
import { fullAncestor } from 'acorn-walk';

/** What each operator becomes; the neighbour that a slip of the hand would write. */
const BINARY = new Map([
  ['<', ['<=', '>']],
  ['<=', ['<', '>']],
  ['>', ['>=', '<']],
  ['>=', ['>', '<']],
  ['===', ['!==']],
  ['!==', ['===']],
  ['+', ['-']],
  ['-', ['+']],
  ['*', ['/']],
  ['/', ['*']],
  ['%', ['*']],
]);
const ASSIGNED = new Map([
  ['+=', '-='],
  ['-=', '+='],
  ['*=', '/='],
  ['/=', '*='],
  ['??=', '='],
  ['||=', '='],
]);
const METHODS = new Map([
  ['min', 'max'],
  ['max', 'min'],
  ['floor', 'ceil'],
  ['ceil', 'floor'],
  ['some', 'every'],
  ['every', 'some'],
]);

/**
 * Every mutation of a module, as `{ start, end, text, what, within, was, line, source }`: replacing `start` to `end` by `text`
 * plants it. `line` counts from 1, `source` is that line, trimmed. `within` names the class and function, `was` is the
 * expression or statement that is changed, on one line: with `what` they name a mutation over changes of the code around it.
 */
export function mutationsOf(code) {
  const found = [];
  const lines = code.split('\n');
  const textOf = (node) => code.slice(node.start, node.end);
  fullAncestor(parse(code, { ecmaVersion: 'latest', sourceType: 'module', locations: true }), (node, _, ancestors) => {
    const add = (changed, text, what) => {
      const line = changed.loc.start.line;
      const named = changed.type === 'Literal' ? ancestors.at(-2) : changed;
      found.push({
        start: changed.start,
        end: changed.end,
        text,
        what,
        within: ancestors.map(nameOf).filter(Boolean).join('.'),
        was: textOf(named).replace(/\s+/g, ' ').slice(0, 200),
        line,
        source: lines[line - 1].trim(),
      });
    };
    PLANTS[node.type]?.(node, add, textOf);
  });
  return found;
}

/** Whether both are the same mutation of the same file. */
export function isSame(one, other) {
  return one.what === other.what && one.within === other.within && one.was === other.was;
}

/** The name that a class, a function or a member gives to what stands in it. */
function nameOf(node) {
  switch (node.type) {
    case 'ClassDeclaration':
    case 'FunctionDeclaration':
      return node.id?.name;
    case 'MethodDefinition':
      return node.key.name;
    default:
      return undefined;
  }
}

function condition(node, add, textOf) {
  if (node.test === null || node.test === undefined) return;
  add(node.test, `!(${textOf(node.test)})`, 'condition negated');
}

const PLANTS = {
  IfStatement: condition,
  ConditionalExpression: condition,
  WhileStatement(node, add) {
    if (node.test.type !== 'Literal') add(node.test, 'false', 'loop never entered');
  },
  BinaryExpression(node, add, textOf) {
    if (isText(node.left) || isText(node.right)) return;
    for (const other of BINARY.get(node.operator) ?? []) {
      add(node, `(${withOperator(node, other, textOf)})`, `${node.operator} became ${other}`);
    }
  },
  LogicalExpression(node, add, textOf) {
    const [left, right] = [textOf(node.left), textOf(node.right)];
    if (node.operator === '??') {
      if (!isText(node.right) && !isFalsy(node.right)) add(node, `(${left})`, '?? lost its right side');
    } else {
      const other = node.operator === '&&' ? '||' : '&&';
      add(node, `((${left}) ${other} (${right}))`, `${node.operator} became ${other}`);
    }
  },
  UnaryExpression(node, add, textOf) {
    if (node.operator === '!') add(node, `(${textOf(node.argument)})`, '! removed');
    if (node.operator === '-') add(node, `(${textOf(node.argument)})`, 'minus removed');
  },
  UpdateExpression(node, add, textOf) {
    const other = node.operator === '++' ? '--' : '++';
    const argument = textOf(node.argument);
    add(node, node.prefix ? `${other}${argument}` : `${argument}${other}`, `${node.operator} became ${other}`);
  },
  AssignmentExpression(node, add, textOf) {
    const other = ASSIGNED.get(node.operator);
    if (other !== undefined) {
      add(node, `${textOf(node.left)} ${other} ${textOf(node.right)}`, `${node.operator} became ${other}`);
    }
  },
  Literal(node, add) {
    if (node.value === true || node.value === false)
      add(node, String(!node.value), `${node.value} became ${!node.value}`);
    if (typeof node.value === 'number') {
      add(node, `${node.value + 1}`, `${node.raw} became ${node.value + 1}`);
    }
  },
  ReturnStatement(node, add) {
    if (node.argument !== null && !isFalsy(node.argument)) add(node, 'return undefined;', 'return without its value');
  },
  ExpressionStatement(node, add) {
    if (node.directive !== undefined) return;
    const { type } = node.expression;
    if (type === 'CallExpression' && node.expression.callee.type !== 'Super') add(node, ';', 'call removed');
    if (type === 'AwaitExpression' || type === 'ChainExpression') add(node, ';', 'call removed');
    if (type === 'AssignmentExpression') add(node, ';', 'assignment removed');
  },
  BreakStatement(node, add) {
    if (node.label === null) add(node, ';', 'break removed');
  },
  ContinueStatement(node, add) {
    if (node.label === null) add(node, ';', 'continue removed');
  },
  MemberExpression(node, add, textOf) {
    if (node.computed || node.property.type !== 'Identifier') return;
    const other = METHODS.get(node.property.name);
    if (other !== undefined) add(node, `${textOf(node.object)}.${other}`, `${node.property.name} became ${other}`);
  },
};

/** Both sides as they stand, with their parentheses. */
function withOperator(node, other, textOf) {
  const before = { start: node.start, end: node.left.end };
  const between = textOf({ start: node.left.end, end: node.right.start }).replace(node.operator, other);
  return textOf(before) + between + textOf({ start: node.right.start, end: node.end });
}

function isText(node) {
  return node.type === 'TemplateLiteral' || (node.type === 'Literal' && typeof node.value === 'string');
}

/** What nobody can tell from undefined where a truth value is asked for. */
function isFalsy(node) {
  return (node.type === 'Identifier' && node.name === 'undefined') || (node.type === 'Literal' && node.value === false);
}
